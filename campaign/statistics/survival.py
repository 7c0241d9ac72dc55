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

from data_store.runs import Run

__all__ = ["SurvivalCurve", "kaplan_meier", "logrank_p", "restricted_mean_ps"]

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
    """Product-limit estimate (Kaplan and Meier 1958, doi:10.1080/01621459.1958.10501452).

    The band is Greenwood's variance on the log-minus-log scale; where nothing failed it has no
    width, and where all failed none at the end: neither is certainty.

    Parameters
    ----------
    runs : sequence of Run
        At least one.
    """
    end = max(run.time_ps for run in runs)
    if not any(run.failed for run in runs):
        flat = np.ones(2)
        return SurvivalCurve(np.array([0.0, end]), flat, flat, flat)
    found: Any = ecdf(_censored(runs)).sf
    with np.errstate(all="ignore"), warnings.catch_warnings():
        # Where all have failed the band is 0/0; said in the docstring, drawn without width.
        warnings.simplefilter("ignore", RuntimeWarning)
        band = found.confidence_interval(0.95, method="log-log")
    times = np.concatenate([[0.0], found.quantiles])
    survival = np.concatenate([[1.0], found.probabilities])
    low, high = (
        np.concatenate([[1.0], np.where(np.isfinite(b), b, found.probabilities)])
        for b in (band.low.probabilities, band.high.probabilities)
    )
    return SurvivalCurve(times, survival, low, high)


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
