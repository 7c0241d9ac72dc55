"""Failure rates and fractions with exact intervals, conditional on the models they come from.

Every replica that was watched is in the denominator, failed or not, finished or not. What these
intervals do not hold is the scatter between models trained from other seeds: that is the business
of `campaign.statistics.comparison`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import binomtest, chi2

from data_store.runs import Run

__all__ = ["Estimate", "exposure_ps", "failed_fraction", "failure_rate"]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A number with its interval; None where it is not finite.

    Parameters
    ----------
    value, low, high : float or None
    """

    value: float | None
    low: float | None
    high: float | None

    @property
    def interval(self) -> list[float | None]:
        """The bounds."""
        return [self.low, self.high]


def exposure_ps(runs: Sequence[Run]) -> float:
    """Time watched, over all replicas, in ps."""
    return math.fsum(run.time_ps for run in runs)  # whatever the order


def failure_rate(failures: int, exposure: float) -> Estimate:
    r"""Failures per ns with the exact Poisson interval of Garwood (1936, doi:10.1093/biomet/28.3-4.437).

    .. math:: \left[\tfrac12 \chi^2_{2k}(\alpha/2),\ \tfrac12 \chi^2_{2k+2}(1 - \alpha/2)\right] / E

    Parameters
    ----------
    failures : int
        ``k``.
    exposure : float
        ``E``, in ps. Where it is 0 (every start failed at once) neither rate nor bound is finite.
    """  # noqa: E501
    if exposure <= 0.0:
        return Estimate(None, 0.0, None)
    tail, per_ns = 0.5 * (1.0 - CONFIDENCE), 1000.0 / exposure
    low = 0.5 * float(chi2.ppf(tail, 2 * failures)) if failures else 0.0
    high = 0.5 * float(chi2.ppf(1.0 - tail, 2 * failures + 2))
    return Estimate(failures * per_ns, low * per_ns, high * per_ns)


def failed_fraction(failures: int, replicas: int) -> Estimate:
    """Share of replicas that failed, with the interval of Clopper and Pearson (1934).

    doi:10.1093/biomet/26.4.404. Without a single replica nothing is known: [0, 1].
    """
    if replicas == 0:
        return Estimate(None, 0.0, 1.0)
    found = binomtest(failures, replicas).proportion_ci(CONFIDENCE, method="exact")
    return Estimate(failures / replicas, float(found.low), float(found.high))
