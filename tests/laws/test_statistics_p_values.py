"""P-values hold their level: over many comparisons, and over models that scatter; others do not."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, permutation_test

from campaign.report.results import report_json
from campaign.statistics.multiplicity import holm_adjusted
from campaign.statistics.permutation import paired_permutation, sign_flip
from campaign.statistics.survival import logrank_p
from data_store.runs import Run
from data_store.streams import stream
from tests.laws.test_statistics import HORIZON_PS, Arm, simulate
from tests.unit.test_report import CASES

P_VALUES = st.lists(
    st.one_of(st.sampled_from([0.0, 1e-6, 0.01, 0.04, 0.5, 1.0]), st.floats(0.0, 1.0)),
    min_size=1,
    max_size=6,
)


def holds_level(rejected: int, trials: int, level: float) -> bool:
    """Whether so many rejections are compatible with a chance of at most `level`."""
    return bool(binom.sf(rejected - 1, trials, level) > 1e-3)


@given(P_VALUES)
@settings(deadline=None)
def test_holm_is_the_closed_test_of_bonferroni(values: list[float]) -> None:
    """By definition: a null falls with all intersections that hold it (Marcus et al. 1976)."""
    places = range(len(values))
    sets = [s for n in places for s in itertools.combinations(places, n + 1)]
    expected = [
        max(min(1.0, len(s) * min(values[i] for i in s)) for s in sets if place in s)
        for place in places
    ]
    assert holm_adjusted(values) == pytest.approx(expected)


def test_comparisons_without_a_failure_count_but_have_no_p() -> None:
    assert holm_adjusted([0.01, None, 0.04]) == [pytest.approx(0.03), None, pytest.approx(0.08)]
    assert holm_adjusted([]) == []


def test_no_comparison_is_found_falsely_in_most_reports_and_unadjusted_many_are() -> None:
    rng, reports, raw, adjusted = stream(0, "family"), 150, 0, 0
    for _ in range(reports):
        values: list[float | None] = []
        for _ in range(4):  # pools and temperatures; two arms against one, which they share
            base, scratch, longer = (simulate(0.2, 24, rng) for _ in range(3))
            values += [logrank_p(base, scratch), logrank_p(base, longer)]
        raw += min(p for p in values if p is not None) < 0.05
        adjusted += min(p for p in holm_adjusted(values) if p is not None) < 0.05
    assert holds_level(adjusted, reports, 0.05)
    assert not holds_level(raw, reports, 0.05)


@pytest.mark.parametrize("seeds", [1, 2, 5, 8])
def test_sign_flips_are_scipys(seeds: int) -> None:
    rng = stream(1, "flips", seeds)
    for shift in (0.0, 1.0):
        d = rng.normal(shift, size=seeds)
        found = sign_flip(d)
        assert found.floor == 2.0 ** (1 - seeds)
        assert found.p >= found.floor
        if seeds > 1:
            theirs = permutation_test(
                (d, np.zeros(seeds)), lambda a, b: (a - b).mean(), permutation_type="samples",
                vectorized=False, n_resamples=10**6,
            )  # fmt: skip
            assert found.p == pytest.approx(theirs.pvalue)


def test_many_seeds_are_drawn_from() -> None:
    rng = stream(2, "many")
    d = rng.normal(0.2, size=24)
    expected = math.erfc(abs(d.sum()) / math.sqrt(2 * (d**2).sum()))
    found = sign_flip(d)
    assert found.p == pytest.approx(expected, abs=0.03)
    assert found == sign_flip(d)
    assert sign_flip(np.full(24, 1.0)).p == found.floor == 2.0**-16


def _rejections(rates: tuple[float, float], trials: int) -> tuple[int, int]:
    """Of the paired permutation test and of the log-rank, over six pairs of models."""
    rng, paired, logrank = stream(3, "level", repr(rates)), 0, 0
    for _ in range(trials):
        base, other = (
            {s: simulate(rate * math.exp(0.7 * rng.normal()), 16, rng) for s in range(6)}
            for rate in rates
        )
        test = paired_permutation(base, other)
        p = logrank_p(*([run for runs in arm.values() for run in runs] for arm in (base, other)))
        paired += test is not None and test.p < 0.05
        logrank += p is not None and p < 0.05
    return paired, logrank


def test_the_paired_test_holds_its_level_where_models_scatter_and_logrank_does_not() -> None:
    paired, logrank = _rejections((0.2, 0.2), 150)
    assert holds_level(paired, 150, 0.05)
    assert not holds_level(logrank, 150, 0.05)


def test_the_paired_test_finds_what_is_there() -> None:
    assert _rejections((0.03, 0.4), 40)[0] > 30


def test_two_arms_alike_have_a_p_of_one_and_without_failures_none() -> None:
    rng = stream(4, "alike")
    arm: Arm = {s: simulate(0.3, 8, rng) for s in range(3)}
    same = paired_permutation(arm, arm)
    assert same is not None
    assert (same.p, same.floor) == (1.0, 0.25)
    quiet: Arm = {0: [Run(0, 0, "survived", HORIZON_PS)]}
    assert paired_permutation(quiet, quiet) is None


def test_the_report_adjusts_over_all_its_comparisons() -> None:
    found = report_json(CASES["three arms"])["comparisons"]
    raw = [row["logrank_p"] for row in found]
    assert [row["logrank_p_adjusted"] for row in found] == holm_adjusted(raw)
    assert {row["paired_permutation_p_floor"] for row in found} == {0.5}
    assert all(row["paired_permutation_p"] >= 0.5 for row in found)
    for row in report_json(CASES["nothing failed"])["comparisons"]:
        assert row["logrank_p_adjusted"] is row["paired_permutation_p"] is None
