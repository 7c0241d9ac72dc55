"""How many replicas a campaign needs to tell two failed fractions apart."""

from __future__ import annotations

import math

from scipy.stats import norm

from data_store.errors import InputError

__all__ = ["design_effect", "fraction_at_ratio", "replicas_needed"]


def fraction_at_ratio(fraction: float, rate_ratio: float) -> float:
    r"""Share of replicas that fail at a rate so many times lower, at constant rates.

    .. math:: p' = 1 - (1 - p)^{1/r}

    Parameters
    ----------
    fraction : float
        ``p``, of the arm that fails more often.
    rate_ratio : float
        ``r``.

    Raises
    ------
    InputError
        If the fraction is not within 0 and 1, both excluded, or the ratio not above 1.
    """
    if not 0.0 < fraction < 1.0 or not rate_ratio > 1.0:
        raise InputError(
            f"a fraction within 0 and 1 and a ratio above 1 are needed, "
            f"not {fraction} and {rate_ratio}"
        )
    return -math.expm1(math.log1p(-fraction) / rate_ratio)


def design_effect(replicas_per_model: int, correlation: float) -> float:
    r"""Factor by which replicas of few models tell less than independent ones.

    .. math:: D = 1 + (m - 1) \rho

    Kish 1965, Survey Sampling, section 5.4.

    Parameters
    ----------
    replicas_per_model : int
        ``m``.
    correlation : float
        ``ρ``, within a model, of failing or not: 0 where models do not differ, 1 where all replicas
        of a model end alike.

    Raises
    ------
    InputError
        If there are no replicas or the correlation is not within 0 and 1.
    """
    if replicas_per_model < 1 or not 0.0 <= correlation <= 1.0:
        raise InputError(
            f"at least one replica and a correlation within 0 and 1 are needed, "
            f"not {replicas_per_model} and {correlation}"
        )
    return 1.0 + (replicas_per_model - 1) * correlation


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
        ``D``, see the function of that name.

    Raises
    ------
    InputError
        If the fractions are equal or no fractions, or power and confidence not within 0 and 1.
    """
    if not (0.0 < power < 1.0 and 0.0 < confidence < 1.0):
        raise InputError(f"power {power} and confidence {confidence} must lie within 0 and 1")
    if not (0.0 <= fraction <= 1.0 and 0.0 <= other_fraction <= 1.0) or fraction == other_fraction:
        raise InputError(f"two different fractions are needed, not {fraction} and {other_fraction}")
    mean = 0.5 * (fraction + other_fraction)
    null = norm.ppf(0.5 + 0.5 * confidence) * math.sqrt(2.0 * mean * (1.0 - mean))
    spread = fraction * (1.0 - fraction) + other_fraction * (1.0 - other_fraction)
    alternative = norm.ppf(power) * math.sqrt(spread)
    return math.ceil(design_effect * ((null + alternative) / (fraction - other_fraction)) ** 2)
