"""Intervals cover what they say, by simulation with known rates; a bad estimator does not.

Kaplan–Meier, restricted means and log-rank are compared with lifelines, which shares no code.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import lifelines
import lifelines.statistics
import lifelines.utils
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import binom, binomtest

from campaign.statistics.comparison import (
    fraction_difference,
    rate_ratio,
    ratio_interval,
    shared_horizon_ps,
    survival_difference_ps,
)
from campaign.statistics.power import design_effect, fraction_at_ratio, replicas_needed
from campaign.statistics.random_effects import (
    binomial_interval,
    confidence_distributions,
    quantile,
)
from campaign.statistics.rates import exposure_ps, failed_fraction, failure_rate
from campaign.statistics.survival import (
    kaplan_meier,
    logrank_p,
    mean_pseudo_values_ps,
    median_ps,
    restricted_mean_ps,
)
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


TRIALS, RATIO_TRIALS = 400, 150
Arm = dict[int, list[Run]]


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


Interval = Callable[[Arm, Arm], tuple[float | None, float | None]]


def hierarchical(base: Arm, other: Arm) -> tuple[float | None, float | None]:
    found = rate_ratio(base, other)
    return found.low, found.high


def pooled_models(base: Arm, other: Arm) -> tuple[float | None, float | None]:
    """Known-bad: replicas of all models as if of one."""
    arms = ({0: [run for runs in arm.values() for run in runs]} for arm in (base, other))
    return hierarchical(*arms)


def half_failures(base: Arm, other: Arm) -> tuple[float | None, float | None]:
    """Known-bad: half a failure added to each count, normal errors, no scatter."""
    counts = [np.array([sum(r.failed for r in arm[s]) + 0.5 for s in arm]) for arm in (base, other)]
    times = [np.array([exposure_ps(arm[s]) for s in arm]) for arm in (base, other)]
    logs = np.log(counts[1] / times[1]) - np.log(counts[0] / times[0])
    width = 1.96 * math.sqrt(sum((1 / k).sum() for k in counts)) / len(logs)
    return math.exp(logs.mean() - width), math.exp(logs.mean() + width)


def ratio_hits(
    seeds: int,
    scatter: float,
    rates: tuple[float, float],
    interval: Interval = hierarchical,
    trials: int = RATIO_TRIALS,
) -> int:
    """How often an interval holds the true ratio, with scatter between models."""
    rng, hits, true = stream(2, "ratio", seeds, repr(scatter)), 0, rates[1] / rates[0]
    for _ in range(trials):
        base, other = (
            {s: simulate(rate * math.exp(scatter * rng.normal()), 32, rng) for s in range(seeds)}
            for rate in rates
        )
        low, high = interval(base, other)
        hits += (low or 0.0) <= true <= (math.inf if high is None else high)
    return hits


RARE, APART, EQUAL = (0.003, 0.03), (0.05, 0.4), (0.1, 0.1)


@pytest.mark.parametrize(
    ("seeds", "scatter", "rates"),
    [(1, 0.0, APART), (1, 0.0, RARE), (2, 0.0, APART), (2, 0.7, APART), (2, 0.7, EQUAL),
     (3, 0.7, EQUAL), (5, 0.0, EQUAL), (5, 0.5, APART), (5, 0.7, RARE)],
)  # fmt: skip
def test_rate_ratios_cover_over_seeds(
    seeds: int, scatter: float, rates: tuple[float, float]
) -> None:
    assert covered(ratio_hits(seeds, scatter, rates), RATIO_TRIALS, 0.95)


@pytest.mark.parametrize("seeds", [2, 5])
def test_rate_ratios_lack_little_where_models_scatter_beyond_the_prior(seeds: int) -> None:
    """By a factor e: at 1.4 times the scale of the prior; docs/statistics.md has 86 to 90 %."""
    assert covered(ratio_hits(seeds, 1.0, APART), RATIO_TRIALS, 0.9)


@pytest.mark.parametrize(
    ("interval", "scatter", "rates"),
    [(pooled_models, 0.8, APART), (half_failures, 0.8, APART), (half_failures, 0.0, RARE)],
)
def test_bad_intervals_of_ratios_are_caught(
    interval: Interval, scatter: float, rates: tuple[float, float]
) -> None:
    assert not covered(ratio_hits(5, scatter, rates, interval, TRIALS), TRIALS, 0.95)


def _pair(
    k: float, e: float, k_other: float, e_other: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return np.array([k]), np.array([e]), np.array([k_other]), np.array([e_other])


def test_without_scatter_the_distributions_are_clopper_and_pearsons() -> None:
    mu, below, above = confidence_distributions(*_pair(3, 50, 9, 20), scale=1e-6)
    exact = binomtest(9, 12).proportion_ci(0.95, method="exact")
    expected = [math.log(p / (1 - p) * 50 / 20) for p in (exact.low, exact.high)]
    found = [quantile(mu, below, 0.025), quantile(mu, above, 0.975)]
    assert [float(f) for f in found] == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize(("k", "k_other"), [(3, 9), (1, 40), (0, 5), (7, 0)])
def test_without_scatter_the_interval_is_the_mid_p_of_the_binomial(k: int, k_other: int) -> None:
    n, ends = k + k_other, []
    for tail in (0.975, 0.025):  # P(X < x) + P(X = x) / 2, falling with p

        def excess(p: float, tail: float = tail) -> float:
            return float(binom.cdf(k_other, n, p) - 0.5 * binom.pmf(k_other, n, p)) - tail

        inside = excess(1e-12) * excess(1 - 1e-12) < 0
        p = brentq(excess, 1e-12, 1 - 1e-12) if inside else float(k == 0)
        ends.append(math.log(p / (1 - p) * 50 / 20) if inside else math.copysign(math.inf, p - 0.5))
    found = binomial_interval(*_pair(k, 50, k_other, 20), scale=1e-6, confidence=0.95)
    assert [float(f) for f in found] == pytest.approx(ends, abs=0.01)


def test_cases_side_by_side_are_cases_alone() -> None:
    rng = stream(9, "cases")
    k, k_other = rng.poisson(2.0, size=(2, 7, 3)).astype(float)
    e, e_other = rng.uniform(20.0, 90.0, size=(2, 7, 3))
    together = np.array(ratio_interval(k, e, k_other, e_other))
    rows = zip(k, e, k_other, e_other, strict=True)
    alone = np.array([ratio_interval(*row) for row in rows]).T
    assert together == pytest.approx(alone, rel=1e-9)
    swapped = np.array(ratio_interval(k_other, e_other, k, e))
    with np.errstate(divide="ignore"):
        assert 1.0 / swapped[::-1] == pytest.approx(together, rel=1e-6), "arms are alike"


def _resampled(base: Arm, other: Arm) -> tuple[float, float]:
    """Known-bad: a bootstrap over few seeds and their replicas."""
    rng = stream(6, "resampled")
    table = np.array([[o.failed - b.failed for b, o in zip(base[s], other[s], strict=True)]
                      for s in base], dtype=np.float64)  # fmt: skip
    seeds = rng.integers(table.shape[0], size=(400, table.shape[0]))
    starts = rng.integers(table.shape[1], size=(400, table.shape[1]))
    means = table[seeds[:, :, None], starts[:, None, :]].mean(axis=(1, 2))
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def _difference_hits(seeds: int, scatter: float) -> tuple[int, int, int]:
    """Hits of the differences of fractions and of mean survival, and of a bad interval."""
    rates, rng = (0.05, 0.4), stream(7, "difference", seeds)
    factor = np.exp(scatter * rng.normal(size=20_000))
    fractions = [float((1 - np.exp(-r * factor * HORIZON_PS)).mean()) for r in rates]
    means = [float(((1 - np.exp(-r * factor * HORIZON_PS)) / (r * factor)).mean()) for r in rates]
    gap, gain, hits = fractions[1] - fractions[0], means[0] - means[1], np.zeros(3, dtype=int)
    for _ in range(200):
        base, other = (
            {s: simulate(rate * math.exp(scatter * rng.normal()), 32, rng) for s in range(seeds)}
            for rate in rates
        )
        share = fraction_difference(base, other)
        time = survival_difference_ps(base, other, HORIZON_PS)
        bad = _resampled(base, other)
        hits += [
            (share.low or 0.0) <= gap <= (share.high or 0.0),
            (time.low or 0.0) <= gain <= (time.high or 0.0),
            bad[0] <= gap <= bad[1],
        ]
    return int(hits[0]), int(hits[1]), int(hits[2])


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_differences_cover_over_seeds_and_a_bootstrap_over_two_does_not(seeds: int) -> None:
    share, time, bad = _difference_hits(seeds, 0.7)
    assert covered(share, 200, 0.95)
    assert covered(time, 200, 0.95)
    if seeds == 2:
        assert not covered(bad, 200, 0.95)


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
    assert 0.5 < (fraction_difference(none, failing).low or 0.0) < 0.95


def test_order_of_seeds_and_replicas_is_nothing() -> None:
    rng = stream(4, "order")
    base, other = ({s: simulate(r, 16, rng) for s in range(3)} for r in (0.1, 0.5))
    shuffled = [{s: arm[s][::-1] for s in (2, 0, 1)} for arm in (base, other)]
    assert rate_ratio(*shuffled) == rate_ratio(base, other)
    assert fraction_difference(*shuffled) == fraction_difference(base, other)
    gain = survival_difference_ps(base, other, HORIZON_PS)
    assert survival_difference_ps(shuffled[0], shuffled[1], HORIZON_PS) == gain


def test_more_failures_never_lower_an_interval() -> None:
    estimates = [failure_rate(k, 100.0) for k in range(20)]
    for low, high in itertools.pairwise(estimates):
        assert (low.low or 0) < (high.low or 0)
        assert (low.high or 0) < (high.high or 0)
    assert failure_rate(3, 0.0).value is None
    assert failed_fraction(0, 0).interval == [0.0, 1.0]


TIMES = st.sampled_from([0.1, 0.5, 1.0, 1.5, 2.0, 3.0])  # few: most are tied
HEAVILY_CENSORED = st.sampled_from([True, False, False, False, False])
RUNS = st.one_of(
    *(
        st.lists(st.tuples(TIMES, failed), min_size=2, max_size=25)
        for failed in (st.booleans(), HEAVILY_CENSORED)
    )
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


@given(RUNS)
@settings(deadline=None, max_examples=60)
def test_bands_are_lifelines_between_the_first_failure_and_the_last(
    drawn: list[tuple[float, bool]],
) -> None:
    runs = made(drawn)
    theirs = lifelines.KaplanMeierFitter().fit([r.time_ps for r in runs], [r.failed for r in runs])
    band = theirs.confidence_interval_survival_function_
    ours = kaplan_meier(runs)
    for time, survival, low, high in zip(
        ours.times_ps, ours.survival, ours.low, ours.high, strict=True
    ):
        if 1e-9 < survival < 1.0 - 1e-9:  # outside Greenwood's band has no width
            assert (low, high) == pytest.approx(tuple(band.loc[time]), abs=1e-9)


@given(RUNS)
@settings(deadline=None, max_examples=40)
def test_medians_are_lifelines(drawn: list[tuple[float, bool]]) -> None:
    runs = made(drawn)
    theirs = lifelines.KaplanMeierFitter().fit([r.time_ps for r in runs], [r.failed for r in runs])
    found = median_ps(runs)
    if 0.5 not in kaplan_meier(runs).survival.round(9):  # a plateau there: rounding decides
        assert (math.inf if found is None else found) == theirs.median_survival_time_


def test_no_failure_is_no_certainty() -> None:
    none = [Run(i, i, "survived", 4.0) for i in range(64)]
    curve = kaplan_meier(none)
    assert curve.low[-1] == pytest.approx(1 - 0.056, abs=1e-3)  # 0 of 64: at most 5.6 %
    assert curve.low[-1] == pytest.approx(1 - (failed_fraction(0, 64).high or 0.0))
    every = [Run(i, i, "failed", 1.0 + i, "hot") for i in range(8)]
    assert kaplan_meier(every).high[-1] > 0.3
    arms = {0: none, 1: none}, {0: none, 1: none}
    share, time = fraction_difference(*arms), survival_difference_ps(*arms, 4.0)
    for found in (share, time):
        assert found.value == 0.0
        assert (found.low or 0.0) < 0.0 < (found.high or 0.0)


def test_replicas_are_paired_by_start_whatever_each_seed_shares() -> None:
    def arm(failing: set[int], starts: range) -> list[Run]:
        return [
            Run(i, i, "failed", 1.0, "hot") if i in failing else Run(i, i, "survived", 4.0)
            for i in starts
        ]

    base = {0: arm({0, 1}, range(8)), 1: arm({0, 1}, range(4))}
    assert fraction_difference(base, base).value == 0.0
    shifted = {0: arm({0, 1}, range(8)), 1: arm({2, 3}, range(2, 6))}
    assert fraction_difference(base, shifted).value == pytest.approx(0.5)  # of 2 and 3 in seed 1
    repeated = {0: [Run(i, 0, "failed", 1.0, "hot") for i in range(4)]}
    quiet = {0: [Run(i, 0, "survived", 4.0) for i in range(4)]}
    assert (fraction_difference(quiet, repeated).low or 0.0) > 0.0, "four pairs, not one"


@given(RUNS)
@settings(deadline=None, max_examples=40)
def test_pseudo_values_have_the_restricted_mean(drawn: list[tuple[float, bool]]) -> None:
    runs = made(drawn)
    values = mean_pseudo_values_ps(runs, 2.5)
    uncensored = all(r.failed or r.time_ps >= 2.5 for r in runs)
    expected = [min(r.time_ps, 2.5) for r in runs]
    if uncensored:
        assert values.tolist() == expected
    ends = {r.time_ps for r in runs}
    if max(ends) >= 2.5 and uncensored:
        assert values.mean() == pytest.approx(restricted_mean_ps(runs, 2.5)[0])


def test_the_horizon_is_what_both_arms_reached() -> None:
    short = {0: [Run(0, 0, "survived", 2.0), Run(1, 1, "failed", 0.5, "hot")]}
    long = {0: [Run(0, 0, "survived", 4.0)]}
    gone = {0: [Run(0, 0, "failed", 0.5, "hot")]}
    assert shared_horizon_ps(short, long) == 2.0
    assert shared_horizon_ps(gone, long) == 4.0
    assert shared_horizon_ps(gone, gone) == 0.5


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
    with pytest.raises(InputError):
        replicas_needed(0.3, 0.5, power=1.0)


def test_power_of_a_stated_ratio_of_rates() -> None:
    high = 1 - math.exp(-0.4)
    low = fraction_at_ratio(high, 4.0)
    assert low == pytest.approx(1 - math.exp(-0.1))
    alone = replicas_needed(low, high)
    assert replicas_needed(low, high, design_effect=design_effect(32, 0.1)) > 4 * alone
    assert (design_effect(1, 0.5), design_effect(32, 0.0), design_effect(32, 1.0)) == (1, 1, 32)
    for wrong in (lambda: design_effect(0, 0.1), lambda: fraction_at_ratio(0.5, 1.0)):
        with pytest.raises(InputError):
            wrong()


def test_the_stated_number_of_replicas_has_the_stated_power() -> None:
    rng, found = stream(8, "power"), 0
    for a, b in rng.binomial(58, [0.5, 0.25], size=(2000, 2)):
        p = (a + b) / 116
        found += abs(a - b) / 58 > 1.96 * math.sqrt(2 * p * (1 - p) / 58)
    assert found / 2000 == pytest.approx(0.8, abs=0.04)
