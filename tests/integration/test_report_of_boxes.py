"""A report of boxes from parts in their places, as a campaign of liquids leaves them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from campaign import Campaign
from campaign.freezing import freeze
from data_store.columns import Column
from data_store.extxyz import write_extxyz
from data_store.parts import write_part
from data_store.runs import Run, runs_to_columns
from data_store.structure_parts import structures_to_columns
from data_store.structures import Structures
from tests.e2e.test_liquid import LIQUID
from tests.unit.test_report import WATER
from tests.unit.test_report_liquid import CELL, NUMBERS, frozen, liquid_frames

Runner = Callable[..., tuple[int, str, str]]


@pytest.fixture
def boxes(tmp_path: Path) -> Campaign:
    """A campaign of which one block was simulated: one run that stays liquid, one that freezes."""
    labels = Structures.from_dense(
        NUMBERS, liquid_frames(200, "labels"), cell=CELL,
        energies=np.zeros(200), forces=np.zeros((200, len(NUMBERS), 3)),
    )  # fmt: skip
    write_extxyz(tmp_path / "boxes.extxyz", labels.slice(0, 2))  # what is read is the part below
    (tmp_path / "campaign.toml").write_text(LIQUID)
    campaign = Campaign.read(tmp_path)
    campaign.workspace.prepare()
    freeze(campaign.workspace, campaign.spec)

    def made(stage: str, columns: dict[str, Column], metadata: dict[str, Any]) -> None:
        part = campaign.plan().of(stage)[0]
        write_part(campaign.workspace.parts, stage, part.fingerprint, columns, metadata)

    frames = np.concatenate([liquid_frames(21, "whole"), frozen(21, "whole")])
    runs = [Run(0, 0, "survived", 2.0), Run(1, 1, "failed", 2.0, "close_contact", (80, 3), 0.1)]
    columns, coded = runs_to_columns(runs)
    columns |= {
        "saved_replica": Column(np.repeat(np.arange(2, dtype=np.int32), 21)),
        "saved_time": Column(np.tile(0.1 * np.arange(21), 2), "ps"),
        "saved_positions": Column(frames.astype(np.float32), "Å"),
        "last_frames_replica": Column(np.ones(2, dtype=np.int32)),
        "last_frames_positions": Column(frames[-2:].astype(np.float32), "Å"),
    }
    box = {"numbers": NUMBERS.tolist(), "cell": CELL.tolist(), "pbc": [True] * 3}
    made(
        "prepare",
        {},
        {"molecule": WATER.to_json(), "teacher": "q-spc-fw", "teacher_reason": "asked for"},
    )
    made("simulate", columns, {**coded, **box, "dynamics": {"ensemble": "nve"}})
    made("starts", structures_to_columns(labels.slice(0, 2)), {})
    made("label", structures_to_columns(labels) | {"candidate": Column(np.arange(200))},
         {"left_out": []})  # fmt: skip
    return campaign


def test_the_report_has_what_the_liquid_is_like(run: Runner, boxes: Campaign) -> None:
    folder = str(boxes.file.parent)
    code, out, err = run("report", folder, "--json")
    assert code == 0, err
    found = json.loads(out)
    liquid = found["liquid"]
    assert liquid["reference"]["source"] == "200 labels that are periodic boxes"
    (row,) = liquid["structure"]
    assert row["without_structure"]["causes"] == {"close_contact": 1}
    assert row["with_structure"]["causes"] == {"structure": 1}
    assert (found["results"][0]["causes"], found["distance_reference"]) == (
        {"close_contact": 1},
        None,
    ), "the headline is without structure, and h(r) is not of boxes"
    assert [kind["elements"] for kind in found["failure_kinds"]] == [["H", "O"]]
    page = boxes.workspace.report_html.read_text(encoding="utf-8")
    assert "<h2>Liquid</h2>" in page
    assert "H54O27" in page
    assert (boxes.workspace.figures / "liquid_rdf.svg").exists()


def test_another_reference_is_a_file(run: Runner, boxes: Campaign, tmp_path: Path) -> None:
    folder, table = str(boxes.file.parent), tmp_path / "g.txt"
    table.write_text("r_A O-O\n" + "".join(f"{0.1 * k:.1f} 5.0\n" for k in range(1, 60)))
    code, out, _ = run("report", folder, "--rdf", str(table), "--json")
    liquid = json.loads(out)["liquid"]
    assert (code, liquid["reference"]["source"]) == (0, "the file g.txt")
    (row,) = liquid["structure"]
    assert (list(row["mean_error_A"]), row["runs_beyond"]) == (["O-O"], 2)
    table.write_text("r O-O\n1 1\n2 1\n")
    code, out, err = run("report", folder, "--rdf", str(table))
    assert code == 2
    assert "convert r to Å" in " ".join((out + err).split())
