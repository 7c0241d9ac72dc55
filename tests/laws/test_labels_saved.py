"""Labels saved: the known crossing is found, its interval covers it, and that of a bad twin does not."""  # noqa: E501

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import binom

from campaign.statistics.errors import mean_error
from campaign.statistics.labels_saved import PoolFailures, crossings, labels_needed
from campaign.statistics.random_effects import poisson_posterior
from data_store.streams import stream

POOLS = (25, 50, 100, 300)
HORIZON_PS, TRIALS = 4.0, 100


def rate_per_ps(labels: float) -> float:
    """The known curve: a straight line in logarithms."""
    return float((labels / 25.0) ** -1.5)


def pool(
    labels: int, rate: float, rng: np.random.Generator, *, scatter: float, replicas: int = 32
) -> PoolFailures:
    """Three models whose log rates scatter about one mean."""
    rates = rate * np.exp(scatter * rng.normal(size=(3, 1)))
    times = rng.exponential(1.0 / rates, size=(3, replicas))
    failed = (times < HORIZON_PS).sum(axis=1).astype(np.float64)
    return PoolFailures(labels, failed, np.minimum(times, HORIZON_PS).sum(axis=1))


def merged(found: PoolFailures) -> PoolFailures:
    """All replicas as those of one model: what ignores that models differ."""
    return PoolFailures(
        found.labels, found.failures.sum(keepdims=True), found.exposures_ps.sum(keepdims=True)
    )


def holds(
    crossing: float, target: PoolFailures, curve: list[PoolFailures], rng: np.random.Generator
) -> bool:
    found = labels_needed(target, curve, rng)
    return found.low <= crossing <= (found.high or np.inf)


def coverage(crossing: float, scatter: float) -> tuple[int, int]:
    """In how many of TRIALS the interval, and that of the bad twin, hold the crossing."""
    rng, hits, twin_hits = stream(3, "labels saved", repr(crossing)), 0, 0
    for _ in range(TRIALS):
        target = pool(25, rate_per_ps(crossing), rng, scatter=scatter)
        curve = [pool(n, rate_per_ps(n), rng, scatter=scatter) for n in POOLS]
        hits += holds(crossing, target, curve, rng)
        twin_hits += holds(crossing, merged(target), [merged(p) for p in curve], rng)
    return hits, twin_hits


@pytest.mark.parametrize("crossing", [70.0, 150.0])
def test_the_interval_covers_a_known_crossing_and_that_of_pooled_seeds_does_not(
    crossing: float,
) -> None:
    hits, twin_hits = coverage(crossing, scatter=0.7)
    assert binom.cdf(hits, TRIALS, 0.95) > 1e-3
    assert binom.cdf(twin_hits, TRIALS, 0.95) < 1e-3, "the test sees intervals that are too short"


def test_many_replicas_find_the_crossing() -> None:
    rng = stream(1, "labels saved")
    curve = [pool(n, rate_per_ps(n), rng, scatter=0.0, replicas=20_000) for n in POOLS]
    target = pool(25, rate_per_ps(120.0), rng, scatter=0.0, replicas=20_000)
    found = labels_needed(target, curve, rng)
    assert found.value == pytest.approx(120.0, rel=0.15)
    assert found.reason is None
    assert found.low < 120.0 < (found.high or 0.0)


def counts(labels: int, *failures: int, exposure_ps: float = 100.0) -> PoolFailures:
    return PoolFailures(labels, np.array(failures, np.float64), np.full(len(failures), exposure_ps))


def test_a_rate_that_is_never_reached_has_a_lower_bound_alone() -> None:
    curve = [counts(n, 30, 28, 31) for n in POOLS]
    found = labels_needed(counts(25, 0, 0, 0), curve, stream(0, "x"))
    assert found.value is None
    assert found.high is None
    assert found.more_than == 300.0
    assert "not reached" in str(found.reason)


def test_a_rate_that_the_smallest_pool_reaches_has_an_upper_bound_alone() -> None:
    curve = [counts(n, 1, 0, 2, exposure_ps=1000.0) for n in POOLS]
    found = labels_needed(counts(25, 30, 28, 31), curve, stream(0, "x"))
    assert (found.value, found.low) == (None, 0.0)
    assert found.high is not None
    assert "smallest pool" in str(found.reason)


def test_where_nothing_fails_in_either_arm_nothing_is_claimed() -> None:
    curve = [counts(n, 0, 0) for n in POOLS]
    found = labels_needed(counts(50, 0, 0), curve, stream(0, "x"))
    assert (found.value, found.low, found.high) == (None, 0.0, None)
    assert "too few failures" in str(found.reason)


def test_one_pool_and_one_seed_are_enough_for_a_bound() -> None:
    found = labels_needed(counts(50, 0), [counts(50, 30)], stream(0, "x"))
    assert (found.value, found.more_than) == (None, 50.0)


def test_crossings_are_straight_in_logarithms() -> None:
    labels = np.array([10.0, 100.0, 1000.0])
    curves = np.log(np.array([[1.0, 0.1, 0.01]] * 4))
    targets = np.log([0.1**0.5, 0.1, 2.0, 1e-3])
    found = crossings(labels, curves, np.ones(3), targets)
    np.testing.assert_allclose(found, [10**1.5, 100.0, 0.0, np.inf])


def test_a_flat_piece_is_crossed_at_its_beginning() -> None:
    found = crossings(
        np.array([10.0, 100.0, 1000.0]), np.array([[2.0, 0.0, 0.0]]), np.ones(3), np.zeros(1)
    )
    np.testing.assert_allclose(found, [100.0])


@pytest.mark.parametrize("seed", range(3))
def test_the_monotone_fit_is_the_least_squares_one(seed: int) -> None:
    """Against a general minimiser: the crossing of its curve is the same."""
    rng = stream(seed, "monotone")
    y, w = rng.normal(size=5) - np.arange(5) * 0.3, rng.uniform(0.2, 3.0, size=5)

    def curve(steps: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(steps[0] - np.concatenate([[0.0], np.cumsum(steps[1:])]))

    def loss(steps: NDArray[np.float64]) -> float:
        return float((w * (curve(steps) - y) ** 2).sum())

    bounds = [(None, None), *[(0.0, None)] * 4]
    best = minimize(loss, np.array([y[0], *[0.1] * 4]), bounds=bounds, tol=1e-14)
    fitted = curve(best.x)
    labels, middle = np.array([10.0, 20.0, 40.0, 80.0, 160.0]), 0.5 * (fitted[0] + fitted[-1])
    found = crossings(labels, y[None], w, np.array([middle]))
    expected = np.exp(np.interp(-middle, -fitted, np.log(labels)))
    assert found[0] == pytest.approx(expected, rel=2e-3)


def test_the_posterior_of_one_model_is_the_gamma_distribution() -> None:
    """Without scatter, Jeffreys' posterior of a Poisson rate is Gamma(k + 1/2, E)."""
    grid, weight = poisson_posterior(np.array([7.0]), np.array([50.0]), 1.0)
    mean = float((weight * np.exp(grid)).sum())
    assert mean == pytest.approx(7.5 / 50.0, rel=1e-3)
    spread = float((weight * np.exp(2.0 * grid)).sum()) - mean**2
    assert spread == pytest.approx(7.5 / 50.0**2, rel=1e-2)


def test_mean_errors_are_geometric_and_scale() -> None:
    found = mean_error([0.1, 0.4])
    assert found.value == pytest.approx(0.2)
    more = mean_error([0.3, 1.2])
    for one, other in zip(
        (found.value, found.low, found.high), (more.value, more.low, more.high), strict=True
    ):
        assert one is not None
        assert other == pytest.approx(3.0 * one)
    assert mean_error([0.1]).interval == [None, None]
