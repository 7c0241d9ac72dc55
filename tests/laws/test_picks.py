"""Picks of active learning: what they are whatever the frames; and when a chain may be stopped."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from apps.selection.picks import PickRules, disagreement, last_trusted, pick, rms_distances
from apps.selection.stopping import is_reached, least_bound_per_ns, upper_rate_per_ns

Frames = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]


@st.composite
def frames(draw: st.DrawFn) -> Frames:
    """Frames on a coarse grid, so that many are equal or near, and many disagreements tie."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, known = draw(st.integers(0, 40)), draw(st.integers(0, 5))
    descriptors = rng.integers(0, 4, size=(count, 3)) / 10.0
    values = rng.choice([0.0, 0.2, 0.5, 0.5, 3.0, 20.0, np.inf, np.nan], size=count)
    return descriptors, values, rng.random(count) < 0.3, rng.integers(0, 4, size=(known, 3)) / 10.0


@st.composite
def rules(draw: st.DrawFn) -> PickRules:
    return PickRules(
        draw(st.integers(0, 12)), 0.3, 10.0, draw(st.sampled_from([0.0, 0.01, 0.06, 0.2]))
    )


@given(frames(), rules(), st.integers(0, 2**32 - 1))
@settings(max_examples=300, deadline=None)
def test_picks_are_what_the_rules_say_whoever_stands_where(
    found: Frames, asked: PickRules, seed: int
) -> None:
    descriptors, values, at_failure, known = found
    rows, alike = pick(descriptors, values, at_failure, known, asked)
    assert len(rows) <= asked.count
    assert len(set(rows.tolist())) == len(rows)
    again, _ = pick(descriptors, values, at_failure, known, asked)
    assert np.array_equal(rows, again)
    assert np.all(values[rows] <= asked.most_eV_per_A)
    assert np.all((values[rows] >= asked.least_eV_per_A) | at_failure[rows])
    assert np.all(np.diff(at_failure[rows].astype(int)) <= 0), "failures first"
    for place, row in enumerate(rows):
        others = np.concatenate([known, descriptors[rows[:place]]])
        assert np.all(rms_distances(descriptors[row], others) >= asked.distinct_per_A)
    assert len(np.unique(descriptors[rows], axis=0)) == len(rows), "no geometry twice"
    shuffled = np.random.default_rng(seed).permutation(len(values))
    moved, as_alike = pick(
        descriptors[shuffled], values[shuffled], at_failure[shuffled], known, asked
    )
    assert np.array_equal(descriptors[shuffled][moved], descriptors[rows])
    assert as_alike == alike


@given(frames(), st.sampled_from([0.0, 0.06]))
@settings(max_examples=100, deadline=None)
def test_a_larger_budget_only_adds(found: Frames, distinct: float) -> None:
    few, many = (pick(*found, PickRules(n, 0.3, 10.0, distinct))[0] for n in (3, 9))
    assert np.array_equal(many[: len(few)], few)


def test_models_that_agree_do_not_disagree_and_no_frame_of_reference_matters() -> None:
    rng = np.random.default_rng(0)
    forces = rng.normal(size=(4, 10, 5, 3))
    found = disagreement(forces)
    assert np.allclose(disagreement(forces[[2, 0, 3, 1]]), found)
    assert np.allclose(disagreement(forces + rng.normal(size=(1, 10, 5, 3))), found)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    assert np.allclose(disagreement(forces @ turn), found)
    assert np.allclose(disagreement(forces[:, :, ::-1]), found)
    assert np.allclose(disagreement(3.0 * forces), 3.0 * found)
    assert np.allclose(disagreement(np.repeat(forces[:1], 3, axis=0)), 0.0)
    forces[1, 4, 2, 0] = np.nan
    assert np.flatnonzero(~np.isfinite(disagreement(forces))).tolist() == [4]


def test_the_last_frame_that_can_be_shown_is_taken() -> None:
    assert last_trusted(np.array([0.1, 4.0, 9.0, 30.0, np.inf]), 10.0) == 2
    assert last_trusted(np.array([0.1, 30.0, 4.0, np.nan]), 10.0) == 2
    assert last_trusted(np.array([11.0, np.inf]), 10.0) is None
    assert last_trusted(np.zeros(0), 10.0) is None


def stopped(rate_per_ns: float, stop_per_ns: float, *, by_bound: bool) -> float:
    """Share of explorations, of 16 replicas of 10 ps, after which a chain would be stopped."""
    rng, trials, length_ps = np.random.default_rng(3), 4000, 10.0
    times = rng.exponential(1000.0 / rate_per_ns, size=(trials, 16))
    counts, watched = (times < length_ps).sum(axis=1), np.minimum(times, length_ps).sum(axis=1)
    ended = 0
    for failures, exposure in zip(counts.tolist(), watched.tolist(), strict=True):
        if by_bound:
            ended += is_reached([(failures, exposure)], stop_per_ns)
        else:
            ended += failures * 1000.0 / exposure <= stop_per_ns
    return ended / trials


STOP = 25.0
"""Failures per ns: the bound where none of those replicas fails is 18.7."""


@pytest.mark.parametrize("rate", [STOP, 1.5 * STOP, 3.0 * STOP])
def test_a_model_that_fails_as_often_as_stated_is_seldom_taken_for_better(rate: float) -> None:
    assert stopped(rate, STOP, by_bound=True) < 0.05 + 3.0 * np.sqrt(0.05 * 0.95 / 4000)
    assert stopped(0.02 * STOP, STOP, by_bound=True) > 0.8, "and a good one is stopped"


def test_known_bad_a_rate_without_its_bound_stops_by_luck() -> None:
    assert stopped(STOP, STOP, by_bound=False) > 0.4


def test_nothing_is_shown_by_less_than_it_takes() -> None:
    least = least_bound_per_ns(160.0)
    assert upper_rate_per_ns(0, 160.0) == pytest.approx(least)
    assert not is_reached([(0, 160.0)], 0.999 * least)
    assert is_reached([(0, 160.0)], 1.001 * least)
    assert not is_reached([(0, 160.0), (5, 160.0)], 1.001 * least), "at each temperature"
    assert not is_reached([(0, 160.0)], None)
    assert not is_reached([], 1e9)
    assert not is_reached([(0, 0.0)], 1e9), "nothing was watched"
