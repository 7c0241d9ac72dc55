"""Kinds of failure, and the course of what decided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps.dynamics.settings import DynamicsSettings
from campaign.report.failures import course_of, file_name, frame_times_ps, kind_of, kinds_of
from campaign.report.gallery import (
    EXAMPLES_PER_KIND,
    KINDS_SHOWN,
    Block,
    first_failures,
    limits_of,
)
from campaign.report.html import render_html
from campaign.report.inputs import FailurePicture, Limits, Model
from campaign.report.results import report_json
from data_store.columns import Column
from data_store.molecules import Molecule
from data_store.parts import write_part
from data_store.runs import Run
from tests.unit.test_report import inputs

METHANOL = Molecule(
    "methanol", (6, 8, 1, 1, 1, 1), ((0, 1), (0, 2), (0, 3), (0, 4), (1, 5)), (1,) * 5, (0,) * 6, 1,
    np.arange(18, dtype=np.float64).reshape(6, 3),
)  # fmt: skip
MODEL = Model("scratch", 25, 0)


def failed(cause: str, *atoms: int, time_ps: float = 1.0, replica: int = 0) -> Run:
    return Run(replica, replica, "failed", time_ps, cause, atoms, 0.6)


@pytest.mark.parametrize(
    ("run", "name", "slug"),
    [
        (failed("bond_stretch", 0, 1), "bond stretch C0–O1", "bond_stretch-C0-O1"),
        (failed("bond_stretch", 1, 0), "bond stretch C0–O1", "bond_stretch-C0-O1"),
        (failed("close_contact", 1, 2), "close contact H–O", "close_contact-H-O"),
        (failed("close_contact", 2, 5), "close contact H–H", "close_contact-H-H"),
        (failed("large_force", 1), "large force O", "large_force-O"),
        (failed("hot"), "hot", "hot"),
    ],
)
def test_a_kind_has_a_name(run: Run, name: str, slug: str) -> None:
    kind = kind_of(run, METHANOL)
    assert (kind.name, kind.slug) == (name, slug)


def test_bonds_are_told_apart_and_contacts_are_not() -> None:
    one, other = (kind_of(failed("bond_stretch", 0, h), METHANOL) for h in (2, 3))
    assert one != other
    one, other = (kind_of(failed("close_contact", 1, h), METHANOL) for h in (2, 3))
    assert one == other


def test_every_failure_is_of_one_kind() -> None:
    runs = {
        (MODEL, 500.0): [failed("hot"), failed("hot", time_ps=0.2), Run(2, 2, "survived", 4.0)],
        (Model("pretrained", 25, 0), 500.0): [failed("hot"), failed("bond_stretch", 0, 1)],
    }
    hot, stretch = kinds_of(runs, METHANOL)
    assert (hot.kind.cause, hot.by_arm, hot.first_ps) == (
        "hot",
        {"pretrained": 1, "scratch": 2},
        0.2,
    )
    assert (stretch.kind.bond, stretch.total) == ((0, 1), 1)


@pytest.mark.parametrize(
    ("failure_ps", "expected"),
    [(0.100, [0.085, 0.090, 0.095, 0.100]), (0.1025, [0.090, 0.095, 0.100, 0.1025])],
)
def test_frames_know_their_times(failure_ps: float, expected: list[float]) -> None:
    np.testing.assert_allclose(frame_times_ps(failure_ps, 4, 5.0), expected)


def test_the_course_is_the_distance_and_ends_beyond_what_is_allowed() -> None:
    stretch = np.linspace(0.0, 0.7, 6)
    frames = np.repeat(METHANOL.reference_positions[None], 6, axis=0)
    frames[:, 1] = frames[:, 0] + [[1.4 + s, 0.0, 0.0] for s in stretch]
    limits = limits_of(METHANOL, DynamicsSettings(), frames[:1])
    run = failed("bond_stretch", 0, 1, time_ps=0.5)
    picture = FailurePicture(MODEL, 500.0, run, frames.astype(np.float32), 5.0)
    course = course_of(picture, limits)
    assert course is not None
    np.testing.assert_allclose(course.values, 1.4 + stretch, atol=1e-6)
    np.testing.assert_allclose(course.times_fs, np.arange(-25.0, 1.0, 5.0))
    assert course.limits == pytest.approx((0.9, 1.9))
    assert course.values[-1] > course.limits[1] > course.values[0]


def test_limits_are_those_of_the_criteria() -> None:
    """The very tensors that the criteria compare with."""
    settings = DynamicsSettings(contact_fraction=0.6, contact_HH_A=0.35, stretch_A=0.4)
    limits = limits_of(METHANOL, settings, METHANOL.reference_positions[None])
    assert set(limits.bonds_A) | set(limits.contacts_A) == {
        (i, j) for i in range(6) for j in range(i + 1, 6)
    }
    assert limits.contacts_A[2, 5] == (0.35,)
    assert limits.contacts_A[1, 2][0] == pytest.approx(0.6 * (0.66 + 0.31), abs=0.02)


def test_a_criterion_of_another_package_has_a_course_without_limits() -> None:
    frames = np.repeat(METHANOL.reference_positions[None], 2, axis=0).astype(np.float32)
    limits = limits_of(METHANOL, DynamicsSettings(), METHANOL.reference_positions[None])
    course = course_of(FailurePicture(MODEL, 500.0, failed("mdsim", 0, 1), frames, 5.0), limits)
    assert course is not None
    assert (course.quantity, course.limits) == ("bond length (Å)", ())


def test_what_decided_may_be_no_distance() -> None:
    frames = np.zeros((2, 6, 3), dtype=np.float32)
    picture = FailurePicture(MODEL, 500.0, failed("hot"), frames, 5.0)
    assert course_of(picture, Limits()) is None
    runs = {(MODEL, 500.0): [picture.run]}
    page = render_html(*_page(pictures=[picture], molecule=METHANOL, runs=runs, errors={}))
    assert "no distance" in page


def _page(**changes: Any) -> Any:
    found = inputs({"scratch": 1.0}, **changes)
    return found, report_json(found)


def block(folder: Path, runs: list[Run], model: Model = MODEL, kept: int = 3) -> Block:
    owners = [row for row, run in enumerate(runs) if run.failed for _ in range(kept)]
    frames = np.array([np.full((6, 3), runs[row].replica) for row in owners], dtype=np.float32)
    columns = {
        "last_frames_replica": Column(np.array(owners, dtype=np.int32)),
        "last_frames_positions": Column(frames.reshape(-1, 6, 3), "Å"),
    }
    part = write_part(folder, "simulate", f"{model.arm}{model.seed}", columns, {})
    return Block(model, 500.0, part, runs)


def test_the_earliest_of_each_kind_are_shown_with_their_own_frames(tmp_path: Path) -> None:
    runs = [
        Run(9, 9, "survived", 4.0),
        *(failed("hot", time_ps=1.0 / (i + 1), replica=i) for i in range(6)),
        failed("bond_stretch", 0, 1, time_ps=3.0, replica=7),
    ]
    found = list(first_failures([block(tmp_path, runs)], METHANOL, 5.0))
    assert [p.run.replica for p in found] == [5, 4, 3, 7]
    assert EXAMPLES_PER_KIND == 3
    for picture in found:
        np.testing.assert_array_equal(picture.frames, np.full((3, 6, 3), picture.run.replica))
    names = {file_name(picture, METHANOL) for picture in found}
    assert len(names) == len(found), "each in a file of its own"


def test_how_many_kinds_are_shown_is_bounded_and_the_rest_is_said(tmp_path: Path) -> None:
    pairs = [(i, j) for i in range(6) for j in range(i + 1, 6)]
    runs = [failed(f"cause{k}", *pair, replica=k) for k, pair in enumerate(pairs)]
    pictures = list(first_failures([block(tmp_path, runs)], METHANOL, 5.0))
    assert len(pictures) == KINDS_SHOWN < len(runs)
    page = render_html(
        *_page(pictures=pictures, molecule=METHANOL, runs={(MODEL, 500.0): runs}, errors={})
    )
    assert f"{len(runs) - KINDS_SHOWN} kinds are not shown" in " ".join(page.split())


def test_a_failure_without_a_finite_frame_is_counted_and_not_drawn(tmp_path: Path) -> None:
    runs = [failed("not_finite")]
    assert list(first_failures([block(tmp_path, runs, kept=0)], METHANOL, 5.0)) == []
