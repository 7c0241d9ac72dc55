"""Survival: Kaplan–Meier with bands, restricted mean survival time, log-rank.

Hazards of potentials are not constant (a model that survives its first ps has shown something), so
curves stand beside rates.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import CensoredData, ecdf, logrank

from campaign.statistics.rates import CONFIDENCE
from data_store.runs import Run

__all__ = [
    "SurvivalCurve",
    "kaplan_meier",
    "logrank_p",
    "mean_pseudo_values_ps",
    "median_ps",
    "restricted_mean_ps",
]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SurvivalCurve:
    """A step function, continuous from the right.

    Parameters
    ----------
    times_ps : ndarray, shape (K,)
        Starting with 0.
    survival, low, high : ndarray, shape (K,)
        Share that survives beyond each time, with a pointwise 95 % band.
    """

    times_ps: Array
    survival: Array
    low: Array
    high: Array


def _censored(runs: Sequence[Run]) -> CensoredData:
    failed = [run.time_ps for run in runs if run.failed]
    return CensoredData(failed, right=[run.time_ps for run in runs if not run.failed])


def kaplan_meier(runs: Sequence[Run]) -> SurvivalCurve:
    r"""Product-limit estimate (Kaplan and Meier 1958, doi:10.1080/01621459.1958.10501452).

    .. math:: S(t) = \prod_{t_i \le t} (1 - d_i / n_i)

    with `d_i` failures among the `n_i` watched at `t_i`. The band is Greenwood's variance on the
    log-minus-log scale. Before the first failure that has no width, which would be no certainty:
    there the exact lower bound of no failure in n is taken, :math:`(\alpha/2)^{1/n}` (to which the
    beta product of Fay, Brittain and Proschan 2013, doi:10.1093/biostatistics/kxt016, reduces).
    Where all have failed the upper bound stays where it was last.

    Parameters
    ----------
    runs : sequence of Run
        At least one.
    """
    times, survival, low, high = _greenwood(runs)
    ends = np.array([run.time_ps for run in runs])
    watched = np.array([(ends >= time).sum() for time in times])
    least = (0.5 * (1.0 - CONFIDENCE)) ** (1.0 / watched)
    low = np.where(survival == 1.0, least, np.where(np.isfinite(low), low, survival))
    gone = survival == 0.0
    last = max(high[~gone][-1], 1.0 - least[0])
    return SurvivalCurve(times, survival, low, np.where(gone, last, high))


def _greenwood(runs: Sequence[Run]) -> tuple[Array, Array, Array, Array]:
    """Times from 0, survival and band; the band is not finite where all have failed."""
    if not any(run.failed for run in runs):
        flat = np.ones(2)
        return np.array([0.0, max(run.time_ps for run in runs)]), flat, flat, flat
    found: Any = ecdf(_censored(runs)).sf
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # 0/0 where all have failed
        band = found.confidence_interval(CONFIDENCE, method="log-log")
    start = np.ones(1)
    times = np.concatenate([np.zeros(1), found.quantiles])
    survival, low, high = (
        np.concatenate([start, values])
        for values in (found.probabilities, band.low.probabilities, band.high.probabilities)
    )
    return times, survival, low, np.where(np.isfinite(high), high, 1.0)


def median_ps(runs: Sequence[Run]) -> float | None:
    """Earliest time at which no more than half survive; None where more than half still do."""
    curve = kaplan_meier(runs)
    reached = np.flatnonzero(curve.survival <= 0.5)
    return float(curve.times_ps[reached[0]]) if len(reached) else None


def mean_pseudo_values_ps(runs: Sequence[Run], horizon_ps: float) -> Array:
    r"""Each replica's share in the restricted mean survival time, (R,), in ps.

    .. math:: \hat\mu_i = n \hat\mu - (n - 1) \hat\mu_{-i}

    the jackknife pseudo-values of Andersen, Hansen and Klein 2004
    (doi:10.1007/s10985-004-4771-0). Where nothing is censored before the horizon they are
    :math:`\min(t_i, \tau)`.
    """
    times = np.array([min(run.time_ps, horizon_ps) for run in runs])
    early = any(not run.failed and run.time_ps < horizon_ps for run in runs)
    if not early or len(runs) == 1:
        return times
    whole, _ = restricted_mean_ps(runs, horizon_ps)
    rest = [
        restricted_mean_ps([*runs[:i], *runs[i + 1 :]], horizon_ps)[0] for i in range(len(runs))
    ]
    return len(runs) * whole - (len(runs) - 1) * np.array(rest)


def restricted_mean_ps(runs: Sequence[Run], horizon_ps: float) -> tuple[float, float]:
    r"""Mean time survived within a horizon, and its standard error (Greenwood).

    .. math::
        \mu = \int_0^\tau S(t)\,dt,\qquad
        \mathrm{var} = \sum_i \left[\int_{t_i}^\tau S\,dt\right]^2 \frac{d_i}{n_i (n_i - d_i)}

    Irwin 1949, doi:10.1017/S0022172400014443.

    Parameters
    ----------
    runs : sequence of Run
    horizon_ps : float
        ``τ``.
    """
    curve = kaplan_meier(runs)
    inside = curve.times_ps < horizon_ps
    edges = np.append(curve.times_ps[inside], horizon_ps)
    areas = np.diff(edges) * curve.survival[inside]
    beyond = np.append(np.cumsum(areas[::-1])[::-1], 0.0)
    times = np.array([run.time_ps for run in runs])
    failed = np.array([run.failed for run in runs])
    variance = 0.0
    for place, moment in enumerate(curve.times_ps[inside]):
        deaths, at_risk = int((failed & (times == moment)).sum()), int((times >= moment).sum())
        if 0 < deaths < at_risk:
            variance += beyond[place] ** 2 * deaths / (at_risk * (at_risk - deaths))
    return float(areas.sum()), float(np.sqrt(variance))


def logrank_p(one: Sequence[Run], other: Sequence[Run]) -> float | None:
    """Two-sided p of the log-rank test (Mantel 1966); None where neither arm has a failure.

    Replicas are taken as independent, which those of one model are not: a small p speaks of these
    models.
    """
    if not any(run.failed for run in [*one, *other]):
        return None
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no variance: no p, below
        p = float(logrank(_censored(one), _censored(other)).pvalue)
    return p if np.isfinite(p) else None
