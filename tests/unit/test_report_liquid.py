"""Liquids in the report: a section where boxes were simulated, and none where not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from campaign.report.gallery import Block
from campaign.report.html import render_html
from campaign.report.inputs import Model, ReportInputs
from campaign.report.liquid import frames_in_block, is_box, liquid_of
from campaign.report.liquid_inputs import Liquid
from campaign.report.liquid_reference import reference_of_labels
from campaign.report.liquid_rows import liquid_json
from campaign.report.results import report_json
from campaign.report.structure import distances_of
from campaign.statistics.structural_failure import CAUSE
from data_store.columns import Column
from data_store.errors import InputError
from data_store.parts import Part, write_part
from data_store.runs import Run
from data_store.streams import stream
from data_store.structures import Structures
from tests.unit.test_report import WATER, inputs

EDGE, MOLECULES = 12.5, 27
CELL = np.eye(3) * EDGE
NUMBERS = np.tile([8, 1, 1], MOLECULES)
SHAPE = WATER.reference_positions
SITES = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3) * EDGE / 3.0
HOPS, STRIDE_PS = 0.3, 0.1
"""Chance of a column of molecules to move a place on, either way, between two frames."""
D = HOPS * (EDGE / 3.0) ** 2 / (6.0 * STRIDE_PS) * (1.0 - 1.0 / 9.0)
"""Of nine columns that walk at random, less their common drift."""


def liquid_frames(frames: int, *path: Any) -> NDArray[np.float64]:
    """Molecules that turn and rattle about places that are always taken; columns of them walk."""
    rng = stream(0, "liquid", *path)
    steps = rng.choice([-1, 0, 1], p=[HOPS / 2, 1 - HOPS, HOPS / 2], size=(frames, 9))
    walked = np.zeros((frames, MOLECULES, 3))
    walked[..., 2] = np.repeat(steps.cumsum(0), 3, axis=1) * EDGE / 3.0
    rattle = rng.normal(scale=0.35, size=(frames, MOLECULES, 3))
    turns = Rotation.random(frames * MOLECULES, random_state=rng).as_matrix()
    turned = np.einsum("mij,aj->mai", turns, SHAPE).reshape(frames, MOLECULES, 3, 3)
    wobble = rng.normal(scale=0.03, size=turned.shape)
    placed = (SITES + walked + rattle)[:, :, None] + turned + wobble
    return np.asarray(placed.reshape(frames, -1, 3))


def frozen(frames: int, *path: Any) -> NDArray[np.float64]:
    """A lattice of molecules that all lie alike."""
    wobble = stream(2, "liquid", *path).normal(scale=0.02, size=(frames, MOLECULES, 3, 3))
    return np.asarray((SITES[:, None] + SHAPE + wobble).reshape(frames, -1, 3))


def labels() -> Structures:
    boxes = Structures.from_dense(NUMBERS, liquid_frames(300, "labels"), cell=CELL)
    assert boxes.pbc.all()
    return boxes


LABELS = labels()
REFERENCE = reference_of_labels(LABELS, NUMBERS.tolist(), 10)


def part(
    root: Path, frames: list[NDArray[np.float64]], stride_ps: float = STRIDE_PS,
    order: NDArray[np.int64] | None = None, velocity_stride_fs: float | None = None,
    frames_of_velocities: int = 1001,
) -> Part:  # fmt: skip
    """As `simulate` writes them, by default run after run; starts are among the frames."""
    owners = np.repeat(np.arange(len(frames), dtype=np.int32), [len(f) for f in frames])
    times = np.concatenate([np.arange(len(f)) * stride_ps for f in frames])
    positions = np.concatenate(frames).astype(np.float32)
    order = np.arange(len(owners)) if order is None else order
    columns = {
        "saved_replica": Column(owners[order]),
        "saved_time": Column(times[order], "ps"),
        "saved_positions": Column(positions[order], "Å"),
    }
    if velocity_stride_fs is not None:
        count = frames_of_velocities * len(frames)
        noise = stream(3, "velocities").normal(scale=0.01, size=(count, len(NUMBERS), 3))
        columns |= {
            "velocity_replica": Column(
                np.repeat(np.arange(len(frames), dtype=np.int32), frames_of_velocities)
            ),
            "velocity_time": Column(
                np.tile(np.arange(frames_of_velocities) * velocity_stride_fs * 1e-3, len(frames)),
                "ps",
            ),
            "velocities": Column(noise.astype(np.float32), "Å/fs"),
        }
    metadata = {
        "numbers": NUMBERS.tolist(), "cell": CELL.tolist(), "pbc": [True] * 3,
        "dynamics": {"ensemble": "langevin", "friction_per_ps": 2.0, "save_stride_ps": stride_ps},
    }  # fmt: skip
    return write_part(root, "simulate", "a" * 64, columns, metadata)


def blocks(root: Path) -> list[Block]:
    """Two models of an arm that stays liquid, one of an arm that freezes."""
    runs = [Run(0, 0, "survived", 12.0), Run(1, 1, "failed", 4.55, "hot", (2,), 9.0)]
    made = []
    for seed in (0, 1):
        frames = [liquid_frames(121, seed, 0), liquid_frames(46, seed, 1)]
        found = part(root / f"liquid{seed}", frames, velocity_stride_fs=2.5)
        made.append(Block(Model("pretrained", 25, seed), 300.0, found, runs))
    ice = part(root / "ice", [frozen(121, 0), frozen(46, 1)])
    return [*made, Block(Model("scratch", 25, 0), 300.0, ice, runs)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Block]:
    return blocks(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def liquid(made: list[Block]) -> Liquid:
    found = liquid_of(made, REFERENCE)
    assert found is not None
    return found


def reported(found: Liquid) -> ReportInputs:
    return inputs({"pretrained": 0.05, "scratch": 1.0}, liquid=found)


def test_runs_that_froze_fail_at_the_end_of_their_first_block(liquid: Liquid) -> None:
    rows = {(r["arm"], r["seed"]): r for r in liquid_json(liquid)["structure"]}
    for seed in (0, 1):
        sound = rows["pretrained", seed]
        assert (sound["blocks_judged"], sound["blocks_not_judged"]) == (16, 1)
        assert sound["runs_beyond"] == 0
        assert sound["with_structure"] == sound["without_structure"]
        assert sound["with_structure"]["causes"] == {"hot": 1}
    ice = rows["scratch", 0]
    assert ice["runs_beyond"] == ice["runs_beyond_by_pair"]["O-O"] == 2
    assert ice["without_structure"]["causes"] == {"hot": 1}
    assert ice["with_structure"]["causes"] == {CAUSE: 2}
    assert ice["with_structure"]["exposure_ps"] == 2.0
    (compared,) = liquid_json(liquid)["structure_comparisons"]
    assert (compared["failures"], compared["failures_of_structure"]) == ([2, 1], [2, 0])
    assert compared["rate_ratio"] > 1.0


def test_curves_are_near_the_references_and_have_bands_over_models(liquid: Liquid) -> None:
    found = liquid_json(liquid)
    assert {(r["arm"], r["pair"]) for r in found["rdf"]} == {
        (arm, pair) for arm in ("pretrained", "scratch") for pair in ("O-O", "O-H", "H-H")
    }
    known = found["reference"]["rdf"]["O-H"]
    assert found["reference"]["frames"] == 300
    for row in (r for r in found["rdf"] if r["pair"] == "O-H"):
        assert row["r_A"] == known["r_A"]
        bond = int(np.argmax(row["g"]))
        assert row["r_A"][bond] == pytest.approx(0.97, abs=0.1)
        alone = row["arm"] == "scratch"
        assert row["interval_kind"] == ("none: a single run" if alone else "over models")
        assert (row["runs"], row["low"][bond] is None) == (1 if alone else 2, alone)


def test_diffusion_is_that_of_the_walk_with_its_notes(liquid: Liquid) -> None:
    found = liquid_json(liquid)
    rows = {(r["arm"], r["element"]): r for r in found["diffusion"]}
    assert rows["pretrained", "O"]["D_A2_per_ps"] == pytest.approx(D, rel=0.35)
    assert rows["pretrained", "O"]["interval_kind"] == "over models"
    assert abs(rows["scratch", "O"]["D_A2_per_ps"]) < 0.01 * D
    assert rows["scratch", "O"]["interval_A2_per_ps"] is None
    assert abs(rows["scratch", "O"]["exponent"]) < 0.1 < rows["pretrained", "O"]["exponent"]
    (note,) = found["finite_size"]
    assert note["viscosity_mPa_s"] == 0.89
    assert 0.05 < note["add_A2_per_ps"] < 0.06


def test_densities_of_states_are_there_where_velocities_were_saved(liquid: Liquid) -> None:
    rows = liquid_json(liquid)["density_of_states"]
    assert {(r["arm"], r["element"]) for r in rows} == {("pretrained", "O"), ("pretrained", "H")}
    by_element = {r["element"]: r["degrees_of_freedom_per_atom"] for r in rows}
    # Noise of one width whatever the mass: no equipartition, and the report says so.
    assert by_element["O"] / by_element["H"] == pytest.approx(15.999 / 1.008, rel=0.01)


def test_the_section_is_whole_and_plain_json(liquid: Liquid) -> None:
    found = report_json(reported(liquid))
    json.dumps(found, allow_nan=False)
    page = " ".join(render_html(reported(liquid), found).split())
    for text in (
        "<h2>Liquid</h2>", "300 labels that are periodic boxes", "With structure counted",
        "Half of the threshold and more is chance",
        "friction (2 per ps) lowers D", "Yeh and Hummer", "not the model&#39;s",
        "Vibrational density of states", "where structure counts as a failure",
    ):  # fmt: skip
        assert text in page, text


def test_a_campaign_without_boxes_has_no_section() -> None:
    usual = inputs({"pretrained": 0.05, "scratch": 1.0})
    found = report_json(usual)
    assert found["liquid"] is None
    assert "<h2>Liquid</h2>" not in render_html(usual, found)


def test_the_order_of_saved_frames_does_not_matter(tmp_path: Path) -> None:
    frames = [liquid_frames(41, "order", k) for k in range(2)]
    runs = [Run(k, k, "survived", 4.0) for k in range(2)]
    rows = np.arange(82).reshape(2, 41).T.reshape(-1)
    found = [
        liquid_of([Block(Model("s", 5, 0), 300.0, part(tmp_path / name, frames, order=o), runs)],
                  REFERENCE)
        for name, o in (("runs", None), ("times", rows))
    ]  # fmt: skip
    one, other = (liquid_json(f) for f in found if f is not None)
    assert one == other
    assert one["diffusion"] == []
    assert one["notes"] == [
        "2 runs: no diffusion: diffusion is read off lags up to 5 ps, which wants runs of 10 ps; "
        "this one has 4 ps"
    ]


def test_what_velocities_do_not_know_is_said(tmp_path: Path) -> None:
    runs = [Run(0, 0, "survived", 4.0)]
    coarse = part(tmp_path, [liquid_frames(41, "v")], velocity_stride_fs=10.0)
    found = liquid_of([Block(Model("s", 5, 0), 300.0, coarse, runs)], None)
    assert found is not None
    assert len(found.notes) == 2
    assert "wavenumbers up to 1668 per cm (Nyquist)" in " ".join(found.notes)
    rows = liquid_json(found)
    assert (rows["structure"], rows["reference"], rows["density_of_states"]) == ([], None, [])
    assert "structure is not judged" in render_html(reported(found), report_json(reported(found)))


def test_chance_alone_is_told_beside_the_threshold(liquid: Liquid, made: list[Block]) -> None:
    """Blocks of runs are about as far from the labels as blocks of labels; fewer frames further."""
    assert frames_in_block(made[0].part) == 10
    found = liquid_json(liquid)
    told = found["reference"]["sound_blocks"]
    assert told["frames"] == 10
    for row in found["structure"][:2]:
        for pair, error in row["mean_error_A"].items():
            assert error == pytest.approx(told["mean_A"][pair], rel=0.25)
    fewer = reference_of_labels(LABELS, NUMBERS.tolist(), 2)
    assert fewer is not None
    assert fewer.sound is not None
    assert fewer.sound.largest_A > 1.5 * told["largest_A"]
    few = reference_of_labels(LABELS.slice(0, 15), NUMBERS.tolist(), 10)
    assert few is not None
    assert few.sound is None


def test_labels_of_another_density_are_told(liquid: Liquid) -> None:
    known = liquid.reference
    assert known is not None
    for factor, told in ((1.01, False), (1.05, True)):
        other = dataclasses.replace(known, density_per_A3=known.density_per_A3 * factor)
        shown = reported(dataclasses.replace(liquid, reference=other))
        page = render_html(shown, report_json(shown), {"survival": "", "rates": ""})
        assert ("Their density is another" in page) == told


def test_velocities_of_some_runs_alone_are_no_lack_of_the_others(tmp_path: Path) -> None:
    columns = {
        "saved_replica": Column(np.zeros(0, dtype=np.int32)),
        "saved_time": Column(np.zeros(0), "ps"),
        "saved_positions": Column(np.zeros((0, len(NUMBERS), 3), dtype=np.float32), "Å"),
        "velocity_replica": Column(np.zeros(1001, dtype=np.int32)),
        "velocity_time": Column(2e-3 * np.arange(1001), "ps"),
        "velocities": Column(np.zeros((1001, len(NUMBERS), 3), dtype=np.float32), "Å/fs"),
    }
    metadata = {"numbers": NUMBERS.tolist(), "cell": CELL.tolist(), "pbc": [True] * 3}
    made = write_part(tmp_path, "simulate", "c" * 64, columns, metadata)
    runs = [Run(k, k, "survived", 2.0) for k in range(2)]
    found = liquid_of([Block(Model("s", 5, 0), 300.0, made, runs)], REFERENCE)
    assert found is not None
    assert [one.spectrum is None for one in found.runs[Model("s", 5, 0), 300.0]] == [False, True]
    assert found.notes == [
        "2 runs: no diffusion: saved positions of a run are to follow each other at even distances "
        "in time, at least two; there are 0"
    ]
    (row,) = liquid_json(found)["structure"]
    assert (row["blocks_judged"], row["blocks_not_judged"], row["runs_beyond"]) == (0, 4, 0)


def test_labels_that_are_no_boxes_of_these_elements_are_no_reference() -> None:
    alone = Structures.from_dense(NUMBERS, liquid_frames(2, "alone"))
    assert reference_of_labels(alone, NUMBERS.tolist()) is None
    assert reference_of_labels(LABELS, [18, 18]) is None
    assert REFERENCE is not None
    assert REFERENCE.density_per_A3 == pytest.approx(len(NUMBERS) / EDGE**3)
    assert max(REFERENCE.errors_of_halves_A.values()) < 0.6


def test_boxes_have_no_distances_without_images(made: list[Block]) -> None:
    assert all(is_box(block.part) for block in made)
    assert distances_of(made) == {}


def test_boxes_of_other_atoms_are_refused(made: list[Block], tmp_path: Path) -> None:
    metadata = {"numbers": [18], "cell": CELL.tolist(), "pbc": [True] * 3}
    other = write_part(tmp_path, "simulate", "b" * 64, {}, metadata)
    with pytest.raises(InputError, match="of other atoms than"):
        liquid_of([*made[:1], Block(Model("s", 5, 0), 300.0, other, [])], REFERENCE)
