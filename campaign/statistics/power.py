"""How many replicas a campaign needs to tell two failed fractions apart."""

from __future__ import annotations

import math

from scipy.stats import norm

from data_store.errors import InputError

__all__ = ["replicas_needed"]


def replicas_needed(
    fraction: float,
    other_fraction: float,
    *,
    power: float = 0.8,
    confidence: float = 0.95,
    design_effect: float = 1.0,
) -> int:
    r"""Replicas per arm for a two-sided test of two proportions.

    .. math::
        n = D \left[\frac{z_{1-\alpha/2} \sqrt{2 \bar p \bar q} + z_{1-\beta} \sqrt{p q + p' q'}}
                         {p - p'}\right]^2

    Fleiss, Levin and Paik 2003, doi:10.1002/0471445428, chapter 4.

    Parameters
    ----------
    fraction, other_fraction : float
        ``p`` and ``p'``.
    power, confidence : float
    design_effect : float
        ``D``: 1 + (m − 1)ρ for m replicas per model with correlation ρ within one.

    Raises
    ------
    InputError
        If the fractions are equal or no fractions.
    """
    if not (0.0 <= fraction <= 1.0 and 0.0 <= other_fraction <= 1.0) or fraction == other_fraction:
        raise InputError(f"two different fractions are needed, not {fraction} and {other_fraction}")
    mean = 0.5 * (fraction + other_fraction)
    null = norm.ppf(0.5 + 0.5 * confidence) * math.sqrt(2.0 * mean * (1.0 - mean))
    spread = fraction * (1.0 - fraction) + other_fraction * (1.0 - other_fraction)
    alternative = norm.ppf(power) * math.sqrt(spread)
    return math.ceil(design_effect * ((null + alternative) / (fraction - other_fraction)) ** 2)
