r"""Means over few models that scatter: random-effects models, integrated on grids.

A trained model is one draw of its arm. What is wanted is the mean :math:`\mu` of a quantity
:math:`d_s` over models (seeds) :math:`s`, each measured with an error of its own,
:math:`d_s \sim N(\mu, \tau^2)`. With two to five models the scatter :math:`\tau` can hardly be
seen, so it is integrated over with a half-normal prior instead of being put at its best value
(Higgins, Thompson and Spiegelhalter 2009, doi:10.1111/j.1467-985X.2008.00552.x; weakly informative
priors: Röver et al. 2021, doi:10.1002/jrsm.1475). Nothing here knows of runs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_expit
from scipy.stats import norm

__all__ = ["binomial_interval", "normal_interval", "poisson_posterior"]

Array = NDArray[np.float64]

_TAUS = np.linspace(0.0, 4.0, 25)
"""Grid of τ in units of the prior's scale; beyond it the prior leaves nothing."""
_STEP, _REACH, _MARGIN = 0.1, 16.0, 20.0
"""Grid of a log ratio: spacing, half width for μ, and what the scatter needs on top."""


def normal_interval(
    values: Array, variances: Array, scale: float, confidence: float
) -> tuple[float, float]:
    r"""Interval of :math:`\mu` where :math:`d_s \sim N(\mu, v_s + \tau^2)`, flat prior on the mean.

    Parameters
    ----------
    values, variances : ndarray, shape (S,)
        ``d_s`` and ``v_s > 0``. For one model the scatter cannot be seen and is left out: the
        interval is then conditional on that model.
    scale : float
        Of the half-normal prior of ``τ``, in the unit of the values.
    confidence : float
    """
    taus = scale * _TAUS if len(values) > 1 else np.zeros(1)
    spread = variances + taus[:, None] ** 2
    precision = (1.0 / spread).sum(axis=1)
    mean, width = (values / spread).sum(axis=1) / precision, 1.0 / np.sqrt(precision)
    log_weight = np.asarray(norm.logpdf(values, mean[:, None], np.sqrt(spread))).sum(axis=1)
    weight = _normalised(log_weight + np.log(width) + _log_prior(len(taus)))

    def exceeds(mu: float, share: float) -> float:
        return float((weight * norm.cdf(mu, mean, width)).sum()) - share

    ends = float((mean - 9.0 * width).min()), float((mean + 9.0 * width).max())
    tail = 0.5 * (1.0 - confidence)
    low, high = (float(brentq(exceeds, *ends, args=(p,))) for p in (tail, 1.0 - tail))
    return low, high


def binomial_interval(
    counts: Array,
    exposures: Array,
    other_counts: Array,
    other_exposures: Array,
    scale: float,
    confidence: float,
) -> tuple[float, float]:
    r"""Interval of the mean log ratio of two Poisson rates over models.

    Given its sum :math:`n_s = k_s + k'_s`, one count of a pair of models is binomial,

    .. math::
        k'_s \sim \mathrm{Bin}\left(n_s, \frac{e^{d_s} E'_s}{E_s + e^{d_s} E'_s}\right),\qquad
        d_s \sim N(\mu, \tau^2),

    the binomial–normal model of Stijnen, Hamza and Özdemir 2010, doi:10.1002/sim.4040: no count is
    corrected, so rare failures cause no bias. As Clopper and Pearson do, each bound is found with
    one failure added (over the pooled exposures) to the arm that it speaks against, which keeps it
    defined where an arm has none; without scatter this is their interval exactly.

    Parameters
    ----------
    counts, other_counts : ndarray, shape (S,)
        ``k_s`` and ``k'_s``, at least one not 0.
    exposures, other_exposures : ndarray, shape (S,)
        ``E_s`` and ``E'_s``, all > 0.
    scale : float
        Of the half-normal prior of ``τ``.
    confidence : float

    Returns
    -------
    low, high : float
        Bounds of μ; meaningless on a side where the arm has no failure at all.
    """
    total, total_other = float(exposures.sum()), float(other_exposures.sum())
    centre = np.log((other_counts.sum() + 0.5) / total_other) - np.log((counts.sum() + 0.5) / total)
    reach = _REACH + _MARGIN
    ratios = centre + np.arange(-reach, reach + 0.5 * _STEP, _STEP)
    logits = ratios[:, None] + np.log(other_exposures / exposures)
    each = other_counts * log_expit(logits) + counts * log_expit(-logits)
    inside = slice(round(_MARGIN / _STEP), -round(_MARGIN / _STEP))
    mu = ratios[inside]
    rows = np.array([_blurred(each, tau * scale)[inside].sum(axis=1) for tau in _TAUS])
    likelihood = _normalised(rows + _log_prior(len(_TAUS))[:, None]).sum(axis=0)
    pooled = mu + np.log(total_other / total)
    tail = 0.5 * (1.0 - confidence)
    low = _quantile(mu, likelihood * np.exp(log_expit(-pooled)), tail)
    high = _quantile(mu, likelihood * np.exp(log_expit(pooled)), 1.0 - tail)
    return low, high


def poisson_posterior(counts: Array, exposures: Array, scale: float) -> tuple[Array, Array]:
    r"""Posterior of the mean log rate :math:`\mu` over models, on a grid.

    .. math:: k_s \sim \mathrm{Poisson}(E_s e^{d_s}),\qquad d_s \sim N(\mu, \tau^2)

    with Jeffreys' prior of a Poisson rate, :math:`e^{\mu/2}` for its logarithm, which keeps the
    posterior proper where nothing failed.

    Parameters
    ----------
    counts, exposures : ndarray, shape (S,)
        ``k_s``, and ``E_s > 0``. For one model the scatter cannot be seen and is left out: the
        posterior is then conditional on that model.
    scale : float
        Of the half-normal prior of ``τ``.

    Returns
    -------
    grid, weight : ndarray, shape (G,)
        Log rates in the unit of 1 / exposure, and weights that sum to 1.
    """
    centre = np.log((counts.sum() + 0.5) / exposures.sum())
    reach = _REACH + _MARGIN
    rates = centre + np.arange(-reach, reach + 0.5 * _STEP, _STEP)
    each = counts * rates[:, None] - exposures * np.exp(rates)[:, None]
    inside = slice(round(_MARGIN / _STEP), -round(_MARGIN / _STEP))
    taus = scale * _TAUS if len(counts) > 1 else np.zeros(1)
    rows = np.array([_blurred(each, tau)[inside].sum(axis=1) for tau in taus])
    mu = rates[inside]
    weight = _normalised(rows + 0.5 * mu + _log_prior(len(taus))[:, None]).sum(axis=0)
    return mu, np.asarray(weight)


def _log_prior(count: int) -> Array:
    return -0.5 * _TAUS[:count] ** 2


def _normalised(log_weight: Array) -> Array:
    weight = np.exp(log_weight - log_weight.max())
    return np.asarray(weight / weight.sum())


def _blurred(log_likelihood: Array, tau: float) -> Array:
    """Log of each column's likelihood averaged over a normal of width `tau`; (G, S) in and out."""
    if tau == 0.0:
        return log_likelihood
    reach = min(int(5.0 * tau / _STEP) + 1, round(_MARGIN / _STEP))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * _STEP / tau) ** 2)
    kernel /= kernel.sum()
    top = log_likelihood.max(axis=0)
    columns = np.exp(log_likelihood - top).T
    blurred = np.stack([np.convolve(column, kernel, mode="same") for column in columns], axis=1)
    return np.asarray(np.log(np.maximum(blurred, 1e-300)) + top)


def _quantile(grid: Array, weight: Array, share: float) -> float:
    cumulative = np.cumsum(weight)
    cumulative = (cumulative - 0.5 * weight) / cumulative[-1]
    return float(np.interp(share, cumulative, grid))
