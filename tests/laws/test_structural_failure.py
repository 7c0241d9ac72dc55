"""Failure of structure: as rare as predicted where nothing is wrong; gas and ice fail at once.

A gas is its own reference where exactness is wanted: its g(r) is 1, and its counts Poisson's.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, norm, poisson

from campaign.statistics.radial_distribution import WIDTH_A, count_pairs
from campaign.statistics.structural_failure import (
    CAUSE,
    THRESHOLD_A,
    Judged,
    ReferenceCurve,
    curve_errors,
    first_block,
    judge_run,
    reference_curves,
    with_structure,
)
from data_store.errors import InputError
from data_store.extxyz import read_extxyz
from data_store.runs import Run
from data_store.streams import stream

EDGE = 13.0
CELL = np.eye(3) * EDGE
ARGON = np.full(32, 18)
BIN = 8 * WIDTH_A
EDGES = np.arange(21, 63, dtype=np.float64) * BIN
"""Nearer than 2 Å a gas has too few pairs for normal errors."""
GAS = {"Ar-Ar": ReferenceCurve(EDGES, np.ones(len(EDGES) - 1))}
FRAMES = 10
"""Of a block."""


def gas(frames: int, seed: int) -> NDArray[np.float64]:
    return stream(seed, "gas").uniform(0.0, EDGE, (frames, len(ARGON), 3))


def judged(frames: NDArray[np.float64], watched_ps: float | None = None) -> Judged:
    """Of frames 0.1 ps apart."""
    times = 0.1 * np.arange(1, len(frames) + 1)
    watched = times[-1] if watched_ps is None else watched_ps
    return judge_run(times, frames, ARGON, CELL, watched, GAS)


def predicted() -> tuple[float, float]:
    """Mean and standard deviation of a sound block's error: Poisson counts, bin by bin."""
    mean = var = 0.0
    for inner, outer in pairwise(EDGES):
        chance = 4.0 / 3.0 * np.pi * (outer**3 - inner**3) / EDGE**3
        expected = FRAMES * len(ARGON) * (len(ARGON) - 1) / 2 * chance
        n = np.arange(int(expected + 12.0 * np.sqrt(expected) + 20.0))
        away = BIN * np.abs(n / expected - 1.0)
        weights = poisson.pmf(n, expected)
        mean += float(weights @ away)
        var += float(weights @ away**2) - float(weights @ away) ** 2
    return mean, float(np.sqrt(var))


BLOCKS = 1000
MEAN, DEVIATION = predicted()
LIMIT = MEAN + float(norm.isf(0.05)) * DEVIATION
LOW, HIGH = binom.interval(0.9999, BLOCKS, 0.05)


def test_a_liquid_of_the_references_own_distribution_fails_as_rarely_as_predicted() -> None:
    errors = judged(gas(FRAMES * BLOCKS, 0)).errors_A[:, 0]
    assert len(errors) == BLOCKS
    assert errors.mean() == pytest.approx(MEAN, rel=0.01)
    assert LOW <= (errors > LIMIT).sum() <= HIGH


@pytest.mark.parametrize("bad", ["frozen", "denser where it is near"])
def test_known_bad_liquids_fail_the_same_test(bad: str) -> None:
    frames = gas(FRAMES * BLOCKS // 10, 1)
    if bad == "frozen":  # one frame of the right distribution, again and again
        frames = np.repeat(frames[::FRAMES], FRAMES, axis=0)
    else:
        frames = frames + 1.8 * np.sin(2.0 * np.pi * frames / EDGE)
    errors = judged(frames).errors_A[:, 0]
    assert (errors > LIMIT).mean() > 0.5 > HIGH / BLOCKS


def test_the_error_of_known_curves_is_the_area_between_them() -> None:
    found = count_pairs(gas(4000, 2), ARGON, CELL)
    for height in (0.0, 0.5, 3.0):
        apart = {"Ar-Ar": ReferenceCurve(EDGES, np.where(EDGES[:-1] < 3.93, 1.0, height))}
        assert curve_errors(found, apart)["Ar-Ar"] == pytest.approx(
            21 * BIN * abs(1.0 - height), abs=0.05
        )


def test_a_box_that_ends_before_the_range_has_the_part_of_the_error_that_it_reaches() -> None:
    half = EDGE / 2.0 * np.eye(3)
    found = count_pairs(gas(2000, 3) / 2.0, ARGON, half)
    nothing = {"Ar-Ar": ReferenceCurve(EDGES, np.full(len(EDGES) - 1, 2.0))}
    assert curve_errors(found, nothing)["Ar-Ar"] == pytest.approx(1.2, abs=0.05)


def test_blocks_that_are_not_whole_are_not_judged_and_counted() -> None:
    whole = judged(gas(30, 4))
    assert (len(whole.errors_A), whole.not_judged, whole.counts.frames) == (3, 0, 30)
    cut = judged(gas(26, 4), 2.63)
    assert (len(cut.errors_A), cut.not_judged, cut.counts.frames) == (2, 1, 26)
    assert judged(gas(4, 4)).not_judged == 1
    times = np.array(
        [0.0, 2.5, 3.0]
    )  # the start is no frame of a block, and the first two are empty
    gaps = judge_run(times, gas(3, 4), ARGON, CELL, 3.0, GAS)
    assert np.isnan(gaps.largest_A).tolist() == [True, True, False]
    assert (gaps.not_judged, gaps.counts.frames) == (2, 2)


def test_a_frame_at_the_end_of_a_block_belongs_to_it() -> None:
    frames = gas(20, 5)
    ten = judge_run(0.1 * np.arange(1, 11), frames[:10], ARGON, CELL, 1.0, GAS)
    both = judged(frames)
    assert both.errors_A[0] == ten.errors_A[0]


def of_errors(*errors: float) -> Judged:
    counts = count_pairs(np.zeros((0, len(ARGON), 3)), ARGON, CELL)
    return Judged(("Ar-Ar",), np.array(errors).reshape(-1, 1), 0, counts)


def test_the_earlier_failure_is_the_runs() -> None:
    runs = [
        Run(0, 3, "survived", 4.0),
        Run(1, 4, "survived", 4.0),
        Run(2, 5, "failed", 3.4, "hot", (1,), 9.0),
        Run(3, 6, "failed", 2.0, "hot", (1,), 9.0),
        Run(4, 7, "censored", 3.7),
    ]
    errors = [(0.1, 0.2, 0.3, 0.1), (0.1, 3.5, 0.1, 9.0), (0.1, 4.0, 5.0), (0.1, 4.0), (0, 0, 3.1)]
    found = with_structure(runs, [of_errors(*row) for row in errors])
    assert found[0] == runs[0]
    assert found[1] == Run(1, 4, "failed", 2.0, CAUSE, (), 3.5)
    assert found[2] == Run(2, 5, "failed", 2.0, CAUSE, (), 4.0)
    assert found[3] == runs[3], "its own failure was seen no later"
    assert found[4] == Run(4, 7, "failed", 3.0, CAUSE, (), 3.1)
    assert first_block(np.array([np.nan, 3.0, 3.01])) == 2


def test_a_reference_of_other_pairs_is_refused() -> None:
    with pytest.raises(InputError, match="the boxes have Ar-Ar"):
        curve_errors(count_pairs(gas(1, 0), ARGON, CELL), {"O-O": GAS["Ar-Ar"]})
    late = {"Ar-Ar": ReferenceCurve(np.array([7.0, 8.0]), np.ones(1))}
    with pytest.raises(InputError, match="begins at 7 Å"):
        curve_errors(count_pairs(gas(1, 0), ARGON, CELL), late)


LABELS = Path("/work/shared/data/water_pbe0ts_64mol_train320.extxyz")


@pytest.mark.skipif(not LABELS.exists(), reason="the published boxes of water are not here")
def test_blocks_of_the_labels_pass_the_published_threshold_and_gas_and_ice_do_not() -> None:
    labels = read_extxyz(LABELS)
    frames, numbers, cell = labels.dense_positions(), labels.numbers[:192], labels.cells[0]
    odd = reference_curves(count_pairs(frames[1::2], numbers, cell))
    times = 0.1 * np.arange(1, 161)
    sound = judge_run(times, frames[::2], numbers, cell, 16.0, odd)
    assert sound.pairs == ("O-O", "O-H", "H-H")
    assert sound.errors_A.max() < 0.3 * THRESHOLD_A
    rng = stream(0, "bad water")
    dissolved = rng.uniform(0.0, cell[0, 0], frames[:10].shape)
    oxygens = np.stack(np.meshgrid(*[np.arange(4)] * 3), -1).reshape(-1, 1, 3) * cell[0, 0] / 4.0
    molecules = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    order = np.argsort(np.tile([8, 1, 1], 64) != 8, kind="stable")
    ice = (oxygens + molecules).reshape(-1, 3)[order]
    assert sorted(numbers.tolist(), reverse=True) == np.repeat([8, 1], [64, 128]).tolist()
    ice = np.tile(ice, (10, 1, 1)) + 0.02 * rng.normal(size=(10, 192, 3))
    ordered = np.sort(numbers)[::-1]
    for bad in (dissolved, ice):
        found = judge_run(times[:10], bad, ordered, cell, 1.0, odd)
        assert first_block(found.largest_A) == 0
