r"""The headline: how much more often one arm fails than another, over seeds.

Replicas of one model are not independent of that model, and two or five models per arm are few. So
the unit is the seed, paired across arms, and the scatter between models is part of the model:
`campaign.statistics.random_effects`. Its prior (half-normal; scale 1 for a log ratio, so that
models of one arm may well differ by a factor of 2) decides how wide an interval over two seeds
is; two seeds alone cannot. How often intervals cover, over that prior and at fixed scatters, is
measured by benchmarks/coverage.py and told in docs/statistics.md.

Bounds of the ratio are mid-p: exact ones, of which each covers at least what it says, cover more
than 95 % because failures are few whole numbers.

A bootstrap over seeds was tried and left: over two seeds it covered as little as 63 %, and says
0 ± 0 where nothing failed. So was half a failure added to each count with normal errors: it is
biased where failures are rare (82 %).

Where an arm has no failure at all, the ratio's bound on that side is not finite and the other stays
defined. With one seed there is no scatter to see: intervals are conditional on these two models,
that of the ratio then being the exact conditional binomial one.

Beside it stand differences (failed fraction, restricted mean survival time) paired by starting
structure and seed. Not here: rates of single models, and p-values.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from campaign.statistics.random_effects import binomial_interval, normal_interval
from campaign.statistics.rates import CONFIDENCE, Estimate, exposure_ps
from campaign.statistics.survival import mean_pseudo_values_ps
from data_store.runs import Run

__all__ = [
    "fraction_difference",
    "rate_ratio",
    "ratio_interval",
    "ratio_of_counts",
    "shared_horizon_ps",
    "survival_difference_ps",
]

BySeed = Mapping[int, Sequence[Run]]
Array = NDArray[np.float64]

RATIO_SCATTER = 1.0
"""Prior scale of the scatter of log ratios between pairs of models (√2 × that of an arm)."""
_DIFFERENCE_SCATTER = 0.3
"""Prior scale of the scatter of differences, as a share of their largest possible value."""


def _counts(runs: BySeed, seeds: Sequence[int]) -> tuple[Array, Array]:
    failures = np.array([sum(r.failed for r in runs[s]) for s in seeds], dtype=np.float64)
    # A start that fails at once has no exposure; one check stride would be its error.
    return failures, np.array([exposure_ps(runs[s]) for s in seeds]).clip(min=1e-3)


def rate_ratio(base: BySeed, other: BySeed) -> Estimate:
    """Failure rate of `other` over that of `base`.

    Parameters
    ----------
    base, other : mapping of int to sequence of Run
        Runs by seed; seeds that both have are compared.

    Returns
    -------
    Estimate
        The ratio of pooled rates, None where it is infinite or unknown, with the interval of
        `ratio_interval`. Its upper bound is None where `base` has no failure, its lower bound 0
        where `other` has none.
    """
    seeds = sorted(set(base) & set(other))
    return ratio_of_counts(_counts(base, seeds), _counts(other, seeds))


def ratio_of_counts(base: tuple[Array, Array], other: tuple[Array, Array]) -> Estimate:
    """Failure rate of `other` over that of `base`, as `rate_ratio`, from what reports keep.

    Parameters
    ----------
    base, other : tuple of ndarray, shape (S,)
        Failures, and time watched in ps (> 0), of each model, paired by place.
    """
    (k, e), (k_other, e_other) = base, other
    total, total_other = float(k.sum()), float(k_other.sum())
    if total + total_other == 0.0:
        return Estimate(None, 0.0, None)
    low, high = (float(bound) for bound in ratio_interval(k, e, k_other, e_other))
    if total == 0.0:
        return Estimate(None, low, None)
    return Estimate(float((total_other / e_other.sum()) / (total / e.sum())), low, high)


def ratio_interval(
    counts: Array, exposures: Array, other_counts: Array, other_exposures: Array
) -> tuple[Array, Array]:
    """Bounds of the mean ratio of rates over pairs of models, the other arm over the first.

    Parameters
    ----------
    counts, exposures, other_counts, other_exposures : ndarray, shape (..., S)
        Failures and time watched (> 0) of each model; leading axes are separate cases.

    Returns
    -------
    low, high : ndarray, shape (...)
        Of the mean over models, widened to the pooled ratio where this lies outside (one model that
        fails far more than the rest can put it there); 0 and infinity where an arm has no failure.
        For one pair of models exact, and conditional on these.
    """
    found = counts, exposures, other_counts, other_exposures
    if counts.shape[-1] == 1:
        return _conditional(*(values[..., 0] for values in found))
    low, high = binomial_interval(*found, RATIO_SCATTER, CONFIDENCE)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (other_counts.sum(axis=-1) / other_exposures.sum(axis=-1)) / (
            counts.sum(axis=-1) / exposures.sum(axis=-1)
        )
    # fmin, fmax: where nothing failed at all the ratio is no number and widens nothing
    return np.fmin(np.exp(low), ratio), np.fmax(np.exp(high), ratio)


def _conditional(
    k: Array, exposure: Array, k_other: Array, exposure_other: Array
) -> tuple[Array, Array]:
    """Exact interval of a ratio of two Poisson rates, by the binomial of one given the sum.

    Przyborowski and Wilenski 1940, doi:10.1093/biomet/31.3-4.313, with the bounds of Clopper and
    Pearson.
    """
    tail = 0.5 * (1.0 - CONFIDENCE)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = (
            np.where(k_other == 0.0, 0.0, beta.ppf(tail, k_other, k + 1.0)),
            np.where(k == 0.0, 1.0, beta.ppf(1.0 - tail, k_other + 1.0, k)),
        )
        low, high = (share / (1.0 - share) * exposure / exposure_other for share in shares)
    return low, high


def fraction_difference(base: BySeed, other: BySeed) -> Estimate:
    """Failed fraction of `other` less that of `base`, paired by start and seed.

    Within a seed the mean and variance are those of Bonett and Price 2012
    (doi:10.3102/1076998611411915), over seeds the random-effects model. [−1, 1] where no pair
    is.
    """

    def failed(runs: Sequence[Run]) -> Array:
        return np.array([float(run.failed) for run in runs])

    return _paired(base, other, failed, 1.0)


def survival_difference_ps(base: BySeed, other: BySeed, horizon_ps: float) -> Estimate:
    """Restricted mean survival time of `base` less that of `other`: what the base arm gains, in ps.

    Each replica enters with its pseudo-value (Andersen, Hansen and Klein 2004,
    doi:10.1007/s10985-004-4771-0), so that censored ones stay, and is paired by start and seed.

    Parameters
    ----------
    base, other : mapping of int to sequence of Run
    horizon_ps : float
        One for both arms, see `shared_horizon_ps`.
    """

    def lost(runs: Sequence[Run]) -> Array:
        return horizon_ps - mean_pseudo_values_ps(runs, horizon_ps)

    return _paired(base, other, lost, horizon_ps)


def shared_horizon_ps(base: BySeed, other: BySeed) -> float:
    """Time up to which every model of both arms was watched (or had failed throughout)."""
    seeds = sorted(set(base) & set(other))
    models = [arm[seed] for seed in seeds for arm in (base, other)]
    ends = [max(r.time_ps for r in runs) for runs in models if not all(r.failed for r in runs)]
    return min(ends) if ends else max((r.time_ps for runs in models for r in runs), default=0.0)


def _paired(
    base: BySeed, other: BySeed, value: Callable[[Sequence[Run]], Array], bound: float
) -> Estimate:
    """Mean of paired differences that lie within ± `bound`, over seeds.

    A pair at either bound is added to each seed, which keeps an interval's width where no two
    replicas differed; for shares this is Bonett and Price's adjustment.
    """
    found = [_differences(base[s], other[s], value) for s in sorted(set(base) & set(other))]
    rows = [row for row in found if len(row)]
    if not rows or bound <= 0.0:
        return Estimate(None, -bound, bound)
    wider = [np.concatenate([row, [-bound, bound]]) for row in rows]
    values = np.array([row.mean() for row in wider])
    variances = np.array([row.var() / len(row) for row in wider])
    scale = _DIFFERENCE_SCATTER * bound
    low, high = np.clip(normal_interval(values, variances, scale, CONFIDENCE), -bound, bound)
    mean = float(np.mean([row.mean() for row in rows]))
    return Estimate(mean, min(float(low), mean), max(float(high), mean))


def _differences(
    base: Sequence[Run], other: Sequence[Run], value: Callable[[Sequence[Run]], Array]
) -> Array:
    before, after = _by_start(base, value(base)), _by_start(other, value(other))
    shared = sorted(set(before) & set(after))
    return np.array([after[key] - before[key] for key in shared])


def _by_start(runs: Sequence[Run], values: Array) -> dict[tuple[int, int], float]:
    """Values by start and, where several replicas share one, their place among these."""
    placed: dict[tuple[int, int], float] = {}
    seen: dict[int, int] = defaultdict(int)
    for run, value in sorted(zip(runs, values, strict=True), key=lambda pair: pair[0].replica):
        placed[run.start, seen[run.start]] = float(value)
        seen[run.start] += 1
    return placed
