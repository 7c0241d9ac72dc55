r"""When a chain of active learning is over: when exploration shows that its model seldom fails.

Failures are counted over the time watched, at each temperature, and held against the exact
one-sided bound of a Poisson rate (Garwood 1936, doi:10.1093/biomet/28.3-4.437),

.. math:: \tfrac12 \chi^2_{2k+2}(0.95) / E .

Not the rate itself: with short exploration it is 0 by chance. A chain whose model fails at the
stated rate or more often is stopped after a given round in at most 5 % of cases; over many rounds,
each of which may stop it, in more. So what a chain came to is told by the examination that follows,
never by the exploration that stopped it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

__all__ = ["CONFIDENCE", "is_reached", "least_bound_per_ns", "upper_rate_per_ns"]

CONFIDENCE = 0.95


def upper_rate_per_ns(failures: int, exposure_ps: float) -> float:
    """Upper bound of a failure rate, one-sided, in 1/ns; infinite where nothing was watched."""
    from scipy.stats import chi2

    if exposure_ps <= 0.0:
        return math.inf
    return 0.5 * float(chi2.ppf(CONFIDENCE, 2 * failures + 2)) * 1000.0 / exposure_ps


def least_bound_per_ns(exposure_ps: float) -> float:
    """Bound where nothing fails: no rate below it can be shown by so much exploration."""
    return -math.log(1.0 - CONFIDENCE) * 1000.0 / exposure_ps


def is_reached(explored: Iterable[tuple[int, float]], stop_rate_per_ns: float | None) -> bool:
    """Whether exploration shows, at each temperature, that the rate is below the one stated.

    Parameters
    ----------
    explored : iterable of (int, float)
        Failures and ps watched, by temperature.
    stop_rate_per_ns : float or None
        None: never.
    """
    if stop_rate_per_ns is None:
        return False
    bounds = [upper_rate_per_ns(*found) for found in explored]
    return bool(bounds) and max(bounds) < stop_rate_per_ns
