"""Intervals cover what they say, by simulation with known rates; a bad estimator does not.

Kaplan–Meier, restricted means and log-rank are compared with lifelines, which shares no code.
"""

from __future__ import annotations

import itertools
import math

import lifelines
import lifelines.statistics
import lifelines.utils
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from campaign.statistics.comparison import fraction_difference, rate_ratio
from campaign.statistics.power import replicas_needed
from campaign.statistics.rates import exposure_ps, failed_fraction, failure_rate
from campaign.statistics.survival import kaplan_meier, logrank_p, restricted_mean_ps
from data_store.errors import InputError
from data_store.runs import Run
from data_store.streams import stream

HORIZON_PS = 4.0


def simulate(rate_per_ps: float, replicas: int, rng: np.random.Generator) -> list[Run]:
    """Exponential failure times, censored at the horizon."""
    times = rng.exponential(1.0 / rate_per_ps, size=replicas)
    return [
        Run(i, i, "failed", float(t), "hot")
        if t < HORIZON_PS
        else Run(i, i, "survived", HORIZON_PS)
        for i, t in enumerate(times)
    ]


def covered(hits: int, trials: int, nominal: float) -> bool:
    """Whether so many hits are compatible with coverage of at least `nominal`."""
    return bool(binom.cdf(hits, trials, nominal) > 1e-3)


TRIALS = 400


def _rate_hits(rate_per_ps: float, *, drop_survivors: bool = False) -> int:
    rng, hits = stream(0, "coverage", repr(rate_per_ps)), 0
    for _ in range(TRIALS):
        runs = simulate(rate_per_ps, 32, rng)
        watched = [r for r in runs if r.failed] if drop_survivors else runs
        found = failure_rate(sum(r.failed for r in runs), exposure_ps(watched))
        hits += (found.low or 0.0) <= 1000.0 * rate_per_ps <= (found.high or math.inf)
    return hits


@pytest.mark.parametrize("rate_per_ps", [0.01, 0.1, 1.0])
def test_rate_intervals_cover(rate_per_ps: float) -> None:
    assert covered(_rate_hits(rate_per_ps), TRIALS, 0.95)


def test_dropping_survivors_from_the_denominator_is_caught() -> None:
    assert not covered(_rate_hits(0.1, drop_survivors=True), TRIALS, 0.95)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_fraction_intervals_cover_and_walds_does_not(share: float) -> None:
    rng = stream(1, "fractions", repr(share))
    exact = wald = 0
    for k in rng.binomial(32, share, size=TRIALS):
        found = failed_fraction(int(k), 32)
        exact += (found.low or 0.0) <= share <= (found.high or 1.0)
        p = k / 32
        width = 1.96 * math.sqrt(p * (1 - p) / 32)
        wald += p - width <= share <= p + width
    assert covered(exact, TRIALS, 0.95)
    if share == 0.02:
        assert not covered(wald, TRIALS, 0.95), "the bad estimator must fail where it is bad"


def _ratio_hits(seeds: int, scatter: float, *, pooled: bool = False) -> int:
    """How often the ratio's interval holds a true ratio of 8, with scatter between models."""
    rng, hits, trials = stream(2, "ratio", seeds, repr(scatter)), 0, 200
    for _ in range(trials):
        base, other = (
            {s: simulate(rate * math.exp(scatter * rng.normal()), 32, rng) for s in range(seeds)}
            for rate in (0.05, 0.4)
        )
        if pooled:  # known-bad: replicas of all models as if of one
            base = {0: [r for runs in base.values() for r in runs]}
            other = {0: [r for runs in other.values() for r in runs]}
        found = rate_ratio(base, other)
        hits += (found.low or 0.0) <= 8.0 <= (found.high or math.inf)
    return hits


@pytest.mark.parametrize(("seeds", "scatter"), [(1, 0.0), (2, 0.0), (2, 0.5), (5, 0.5), (5, 0.0)])
def test_rate_ratios_cover_over_seeds(seeds: int, scatter: float) -> None:
    assert covered(_ratio_hits(seeds, scatter), 200, 0.95)


def test_pooling_models_as_replicas_is_caught() -> None:
    assert not covered(_ratio_hits(5, 0.8, pooled=True), 200, 0.95)


def test_no_failures_leave_the_other_bound_defined() -> None:
    def quiet(n: int) -> list[Run]:
        return [Run(i, i, "survived", 4.0) for i in range(n)]

    rng = stream(3, "quiet")
    failing = {s: simulate(1.0, 32, rng) for s in (0, 1)}
    none = {s: quiet(32) for s in (0, 1)}
    ratio = rate_ratio(none, failing)
    assert ratio.value is None
    assert ratio.high is None
    assert ratio.low is not None
    assert ratio.low > 1.5
    reverse = rate_ratio(failing, none)
    assert (reverse.value, reverse.low) == (0.0, 0.0)
    assert reverse.high is not None
    assert reverse.high < 1 / 1.5
    both = rate_ratio(none, none)
    assert (both.value, both.low, both.high) == (None, 0.0, None)
    assert logrank_p(none[0], none[1]) is None
    assert fraction_difference(none, failing).low == pytest.approx(0.95, abs=0.1)


def test_order_of_seeds_and_replicas_is_nothing() -> None:
    rng = stream(4, "order")
    base, other = ({s: simulate(r, 16, rng) for s in range(3)} for r in (0.1, 0.5))
    shuffled = [{s: arm[s][::-1] for s in (2, 0, 1)} for arm in (base, other)]
    assert rate_ratio(*shuffled) == rate_ratio(base, other)
    assert fraction_difference(*shuffled) == fraction_difference(base, other)


def test_more_failures_never_lower_an_interval() -> None:
    estimates = [failure_rate(k, 100.0) for k in range(20)]
    for low, high in itertools.pairwise(estimates):
        assert (low.low or 0) < (high.low or 0)
        assert (low.high or 0) < (high.high or 0)
    assert failure_rate(3, 0.0).value is None
    assert failed_fraction(0, 0).interval == [0.0, 1.0]


RUNS = st.lists(
    st.tuples(st.sampled_from([0.1, 0.5, 1.0, 1.5, 2.0, 3.0]), st.booleans()),
    min_size=2,
    max_size=25,
)


def made(drawn: list[tuple[float, bool]]) -> list[Run]:
    return [
        Run(i, i, "failed", t, "hot") if failed else Run(i, i, "censored", t)
        for i, (t, failed) in enumerate(drawn)
    ]


@given(RUNS)
@settings(deadline=None, max_examples=60)
def test_survival_is_lifelines(drawn: list[tuple[float, bool]]) -> None:
    runs = made(drawn)
    times, failed = [r.time_ps for r in runs], [r.failed for r in runs]
    theirs = lifelines.KaplanMeierFitter().fit(times, failed)
    ours = kaplan_meier(runs)
    for time, survival in zip(ours.times_ps, ours.survival, strict=True):
        assert survival == pytest.approx(float(theirs.predict(time)), abs=1e-12)
    assert (ours.low <= ours.survival + 1e-12).all()
    assert (ours.survival <= ours.high + 1e-12).all()
    mean, _ = restricted_mean_ps(runs, 2.5)
    expected = lifelines.utils.restricted_mean_survival_time(theirs, t=2.5)
    assert mean == pytest.approx(float(expected), abs=1e-9)


def test_error_of_the_restricted_mean_is_its_spread() -> None:
    rng = stream(5, "rmst")
    found = [restricted_mean_ps(simulate(0.4, 64, rng), HORIZON_PS) for _ in range(300)]
    means, errors = np.array(found).T
    assert errors.mean() == pytest.approx(means.std(), rel=0.15)


@given(RUNS, RUNS)
@settings(deadline=None, max_examples=60)
def test_logrank_is_lifelines(one: list[tuple[float, bool]], two: list[tuple[float, bool]]) -> None:
    a, b = made(one), made(two)
    p = logrank_p(a, b)
    if not any(r.failed for r in [*a, *b]):
        assert p is None
        return
    theirs = lifelines.statistics.logrank_test(
        [r.time_ps for r in a], [r.time_ps for r in b],
        [r.failed for r in a], [r.failed for r in b],
    ).p_value  # fmt: skip
    if p is not None and math.isfinite(theirs):
        assert p == pytest.approx(theirs, abs=1e-9)


def test_power_is_the_books() -> None:
    assert replicas_needed(0.5, 0.25) == 58
    assert replicas_needed(0.5, 0.25, design_effect=2.0) == 116
    assert replicas_needed(0.5, 0.4) > replicas_needed(0.5, 0.25)
    with pytest.raises(InputError):
        replicas_needed(0.3, 0.3)
