r"""The headline: how much more often one arm fails than another, over seeds.

Replicas of one model are not independent of that model, and two or five models per arm are few. So
the unit is the seed, paired across arms: for each seed the log of the rate ratio, :math:`d_s`, with
its Poisson variance :math:`v_s`, both with Jeffreys' half failure added,

.. math::
    d_s = \log\frac{(k'_s + \tfrac12)/E'_s}{(k_s + \tfrac12)/E_s},\qquad
    v_s = \frac{1}{k'_s + \tfrac12} + \frac{1}{k_s + \tfrac12},\qquad
    d_s \sim N(\mu, v_s + \tau^2)

with a flat prior on the mean :math:`\mu` and a half-normal prior of scale 1 on the scatter between
models :math:`\tau` (one unit is a factor e): the random-effects model of meta-analysis (Higgins,
Thompson and Spiegelhalter 2009, doi:10.1111/j.1467-985X.2008.00552.x; the prior as Röver et al.
2021, doi:10.1002/jrsm.1475). With few seeds it is wide, as it must be. Where an arm has no failure
at all the bound on that side is not finite, and the other stays defined. With one seed there is no
scatter to see: the exact conditional binomial interval is given, conditional on these two models.

Beside it stands the difference of failed fractions, paired by starting structure and seed, with a
bootstrap over both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

from campaign.statistics.rates import CONFIDENCE, Estimate, exposure_ps
from data_store.runs import Run
from data_store.streams import stream

__all__ = ["fraction_difference", "rate_ratio"]

BySeed = Mapping[int, Sequence[Run]]
Array = NDArray[np.float64]

_BOOTSTRAP_DRAWS = 2000
_SCATTERS = np.linspace(0.0, 5.0, 201)
"""Grid of τ; beyond it the prior leaves nothing."""


def _counts(runs: BySeed, seeds: Sequence[int]) -> tuple[Array, Array]:
    failures = np.array([sum(r.failed for r in runs[s]) for s in seeds], dtype=np.float64)
    return failures, np.array([exposure_ps(runs[s]) for s in seeds])


def rate_ratio(base: BySeed, other: BySeed) -> Estimate:
    """Failure rate of `other` over that of `base`.

    Parameters
    ----------
    base, other : mapping of int to sequence of Run
        Runs by seed; seeds that both have are compared.

    Returns
    -------
    Estimate
        The ratio of pooled rates, None where it is infinite or unknown; its interval's upper bound
        is None where `base` has no failure, its lower bound 0 where `other` has none.
    """
    seeds = sorted(set(base) & set(other))
    if not seeds:
        return Estimate(None, 0.0, None)
    (k, e), (k_other, e_other) = _counts(base, seeds), _counts(other, seeds)
    # A start that fails at once has no exposure; one check stride would be its error.
    e, e_other = e.clip(min=1e-3), e_other.clip(min=1e-3)
    total, total_other = float(sum(k)), float(sum(k_other))
    ratio = (total_other / float(sum(e_other))) / (total / float(sum(e))) if total else None
    low, high = (
        _conditional(int(k[0]), float(e[0]), int(k_other[0]), float(e_other[0]))
        if len(seeds) == 1
        else _hierarchical(k, e, k_other, e_other)
    )
    return Estimate(
        None if ratio is None else float(ratio),
        low if total_other else 0.0,
        high if total else None,
    )


def _conditional(
    k: int, exposure: float, k_other: int, exposure_other: float
) -> tuple[float, float]:
    """Exact interval of a ratio of two Poisson rates, by the binomial of one given the sum."""
    if k + k_other == 0:
        return 0.0, np.inf
    found = binomtest(k_other, k + k_other).proportion_ci(CONFIDENCE, method="exact")
    low, high = (
        np.inf if p >= 1.0 else float(p) / (1.0 - float(p)) * exposure / exposure_other
        for p in (found.low, found.high)
    )
    return low, high


def _hierarchical(k: Array, e: Array, k_other: Array, e_other: Array) -> tuple[float, float]:
    """Interval of exp(μ) under the random-effects model."""
    difference = np.log((k_other + 0.5) / e_other) - np.log((k + 0.5) / e)
    variance = 1.0 / (k_other + 0.5) + 1.0 / (k + 0.5)
    spread = variance + _SCATTERS[:, None] ** 2
    precision = (1.0 / spread).sum(axis=1)
    mean = (difference / spread).sum(axis=1) / precision
    width = 1.0 / np.sqrt(precision)
    density = np.asarray(norm.logpdf(difference, mean[:, None], np.sqrt(spread)))
    log_weight = density.sum(axis=1)
    log_weight += np.log(width) - 0.5 * _SCATTERS**2
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()

    def exceeds(mu: float, share: float) -> float:
        return float((weight * norm.cdf(mu, mean, width)).sum()) - share

    lowest, highest = float((mean - 9 * width).min()), float((mean + 9 * width).max())
    tail = 0.5 * (1.0 - CONFIDENCE)
    bounds = [brentq(exceeds, lowest, highest, args=(share,)) for share in (tail, 1.0 - tail)]
    return float(np.exp(bounds[0])), float(np.exp(bounds[1]))


def fraction_difference(base: BySeed, other: BySeed) -> Estimate:
    """Failed fraction of `other` less that of `base`, paired by start and seed.

    The interval is a two-way bootstrap: seeds drawn with replacement, then starts.
    """
    seeds = sorted(set(base) & set(other))
    differences: list[Any] = []
    for seed in seeds:
        before = {run.start: run.failed for run in base[seed]}
        after = {run.start: run.failed for run in other[seed]}
        shared = sorted(set(before) & set(after))
        differences.append([float(after[s]) - float(before[s]) for s in shared])
    if not seeds or min(len(row) for row in differences) == 0:
        return Estimate(None, -1.0, 1.0)
    table = np.array([row[: min(map(len, differences))] for row in differences])
    rng = stream(0, "statistics", "fraction difference")
    drawn_seeds = rng.integers(table.shape[0], size=(_BOOTSTRAP_DRAWS, table.shape[0]))
    drawn_starts = rng.integers(table.shape[1], size=(_BOOTSTRAP_DRAWS, table.shape[1]))
    means = table[drawn_seeds[:, :, None], drawn_starts[:, None, :]].mean(axis=(1, 2))
    low, high = np.quantile(means, [0.5 * (1 - CONFIDENCE), 0.5 * (1 + CONFIDENCE)])
    return Estimate(float(table.mean()), float(low), float(high))
