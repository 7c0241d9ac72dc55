"""Species over time in the report: means over those still watched; a section where asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from campaign.report.gallery import Block
from campaign.report.html import render_html
from campaign.report.inputs import Model
from campaign.report.results import report_json
from campaign.report.species import species_figure, species_rows
from data_store.columns import Column
from data_store.parts import write_part
from data_store.runs import Run
from tests.unit.test_report import inputs

WATER = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
PARTED = WATER + np.array([[0, 0, 0], [2.0, 0, 0], [0, 0, 0]])
NUMBERS = np.array([8, 1, 1])


def block(root: Path, frames: list[tuple[int, float, np.ndarray]], seed: int = 0) -> Block:
    """Saved frames (replica, time, positions)."""
    columns = {
        "saved_replica": Column(np.array([f[0] for f in frames], dtype=np.int32)),
        "saved_time": Column(np.array([f[1] for f in frames]), "ps"),
        "saved_positions": Column(np.stack([f[2] for f in frames]).astype(np.float32), "Å"),
    }
    part = write_part(root, "simulate", f"{seed}" * 64, columns, {})
    return Block(Model("scratch", 25, seed), 500.0, part, [Run(0, 0, "survived", 0.2)])


def test_counts_are_means_over_replicas_still_watched(tmp_path: Path) -> None:
    frames = [
        (0, 0.0, WATER), (1, 0.0, WATER), (0, 0.1, PARTED), (1, 0.1, WATER), (0, 0.2, PARTED),
    ]  # fmt: skip
    (row,) = species_rows([block(tmp_path, frames)], NUMBERS)
    json.dumps(row, allow_nan=False)
    assert row["times_ps"] == [0.0, 0.1, 0.2]
    assert row["replicas"] == [2, 2, 1]
    assert row["counts"] == {
        "H": [0.0, 0.5, 1.0], "H2O": [1.0, 0.5, 0.0], "OH": [0.0, 0.5, 1.0],
    }  # fmt: skip
    assert row["unusual_share"] == 0.0
    atoms = sum(np.array(row["counts"][n]) * h for n, h in (("H", 1), ("H2O", 2), ("OH", 1)))
    np.testing.assert_allclose(atoms, 2.0)


def test_the_order_of_frames_in_the_part_does_not_matter(tmp_path: Path) -> None:
    frames = [(0, 0.0, WATER), (0, 0.1, PARTED), (1, 0.0, WATER), (1, 0.1, WATER)]
    one = species_rows([block(tmp_path / "a", frames)], NUMBERS)
    assert one == species_rows([block(tmp_path / "b", frames[::-1])], NUMBERS)


def test_unusual_species_are_counted_by_frames(tmp_path: Path) -> None:
    clump = np.array([[0.0, 0, 0], [1.0, 0, 0], [1.6, 0.3, 0]])  # H–H–O
    ozone = np.array([8, 8, 8, 8])
    chain = np.array([[1.3 * i, 0, 0] for i in range(4)])
    (row,) = species_rows([block(tmp_path / "a", [(0, 0.0, chain), (0, 0.1, 9 * chain)])], ozone)
    assert row["unusual_share"] == 0.5
    (row,) = species_rows([block(tmp_path / "b", [(0, 0.0, clump)])], NUMBERS)
    assert row["unusual_share"] == 0.0  # a distorted H2O


def test_the_page_has_a_section_where_species_were_counted(tmp_path: Path) -> None:
    frames = [(0, 0.0, WATER), (0, 0.1, PARTED)]
    rows = species_rows([block(tmp_path, frames), block(tmp_path, frames, 1)], NUMBERS)
    assert len(species_figure(rows).axes) == 3
    found = inputs({"pretrained": 1.0, "scratch": 2.0}, species=rows)
    page = render_html(found, report_json(found))
    assert "<h2>Species</h2>" in page
    plain = inputs({"scratch": 2.0})
    assert report_json(plain)["species"] == []
    assert "<h2>Species</h2>" not in render_html(plain, report_json(plain))
