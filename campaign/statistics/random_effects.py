r"""Means over few models that scatter: random-effects models, integrated on grids.

A trained model is one draw of its arm. What is wanted is the mean :math:`\mu` of a quantity
:math:`d_s` over models (seeds) :math:`s`, each measured with an error of its own,
:math:`d_s \sim N(\mu, \tau^2)`. With two to five models the scatter :math:`\tau` can hardly be
seen, so it is integrated over with a half-normal prior instead of being put at its best value
(Higgins, Thompson and Spiegelhalter 2009, doi:10.1111/j.1467-985X.2008.00552.x; weakly informative
priors: Röver et al. 2021, doi:10.1002/jrsm.1475). Nothing here knows of runs.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.optimize import brentq
from scipy.special import log_expit, ndtri
from scipy.stats import norm

__all__ = [
    "binomial_interval",
    "confidence_distributions",
    "normal_interval",
    "poisson_posterior",
    "quantile",
]

Array = NDArray[np.float64]

_TAUS = 4.0 * np.linspace(0.0, 1.0, 25) ** 2
"""Grid of τ in units of the prior's scale, finer where τ is small; beyond it the prior leaves
nothing."""
_STEP, _REACH, _MARGIN = 0.1, 16.0, 20.0
"""Grid of a log ratio: spacing, half width for μ, and what the scatter needs on top."""
_OFFSETS = np.arange(-_REACH - _MARGIN, _REACH + _MARGIN + 0.5 * _STEP, _STEP)
_INSIDE = slice(round(_MARGIN / _STEP), len(_OFFSETS) - round(_MARGIN / _STEP))
_POINTS: int = next_fast_len(len(_OFFSETS), real=True)


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
) -> tuple[Array, Array]:
    r"""Mid-p interval of the mean log ratio of two Poisson rates over models.

    Of the two distributions of `confidence_distributions` the mean is taken, as the mid-p bounds of
    a binomial do (Lancaster 1961, doi:10.1080/01621459.1961.10482105): exact bounds cover more than
    they say because counts are whole numbers, these are right in the mean over cases. Where an arm
    has no failure its distribution lies at infinity, and so does the bound.

    Parameters
    ----------
    counts, exposures, other_counts, other_exposures, scale
        See `confidence_distributions`.
    confidence : float

    Returns
    -------
    low, high : ndarray, shape (...)
        Bounds of μ.
    """
    mu, below, above = confidence_distributions(
        counts, exposures, other_counts, other_exposures, scale
    )
    tail, mean = 0.5 * (1.0 - confidence), 0.5 * (below + above)
    low, high = quantile(mu, mean, tail), quantile(mu, mean, 1.0 - tail)
    return (
        np.where(np.sum(other_counts, axis=-1) == 0.0, -np.inf, low),
        np.where(np.sum(counts, axis=-1) == 0.0, np.inf, high),
    )


def confidence_distributions(
    counts: Array, exposures: Array, other_counts: Array, other_exposures: Array, scale: float
) -> tuple[Array, Array, Array]:
    r"""Distributions of the mean log ratio of two rates, with a failure added to either arm.

    Given its sum :math:`n_s = k_s + k'_s`, one count of a pair of models is binomial,

    .. math::
        k'_s \sim \mathrm{Bin}\left(n_s, \frac{e^{d_s} E'_s}{E_s + e^{d_s} E'_s}\right),\qquad
        d_s \sim N(\mu, \tau^2),

    the binomial–normal model of Stijnen, Hamza and Özdemir 2010, doi:10.1002/sim.4040: no count is
    corrected, so rare failures cause no bias. The first distribution has one failure more in the
    first arm, an equal share of it in each model, the second in the other arm. Without scatter they
    are those of which Clopper and Pearson take a tail each, the lower bound from the first.

    Parameters
    ----------
    counts, other_counts : ndarray, shape (..., S)
        ``k_s`` and ``k'_s``; leading axes are separate cases.
    exposures, other_exposures : ndarray, shape (..., S)
        ``E_s`` and ``E'_s``, all > 0.
    scale : float
        Of the half-normal prior of ``τ``.

    Returns
    -------
    mu, below, above : ndarray, shape (..., G)
        A grid and the two cumulative distributions on it; 1 (0) throughout where the other (the
        first) arm has no failure, all of it being at minus (plus) infinity.
    """
    total, total_other = (e.sum(axis=-1, keepdims=True) for e in (exposures, other_exposures))
    k, k_other = (c.sum(axis=-1, keepdims=True) for c in (counts, other_counts))
    centre = np.log((k_other + 0.5) / total_other) - np.log((k + 0.5) / total)
    ratios = centre + _OFFSETS
    logits = ratios[..., None, :] + np.log(other_exposures / exposures)[..., None]
    falls, rises = log_expit(-logits), log_expit(logits)
    each = other_counts[..., None] * rises + counts[..., None] * falls
    share = 1.0 / counts.shape[-1]
    below, above = (_cumulative(_over_scatter(each + share * one, scale)) for one in (falls, rises))
    return (
        ratios[..., _INSIDE],
        np.where(k_other == 0.0, 1.0, below),
        np.where(k == 0.0, 0.0, above),
    )


def quantile(grid: Array, cumulative: Array, share: float) -> Array:
    """Where distributions on grids, both (..., G), reach `share`; (...).

    Between points the normal score is taken as linear, which is exact for a normal however coarse
    the grid.
    """
    scores = ndtri(np.clip(cumulative, 1e-300, 1.0 - 1e-16)).reshape(-1, grid.shape[-1])
    places = grid.reshape(-1, grid.shape[-1])
    found = [np.interp(ndtri(share), *row) for row in zip(scores, places, strict=True)]
    return np.array(found).reshape(grid.shape[:-1])


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
    rates = centre + _OFFSETS
    each = counts[:, None] * rates - exposures[:, None] * np.exp(rates)
    mu = rates[_INSIDE]
    if len(counts) == 1:
        return mu, _normalised(each[0, _INSIDE] + 0.5 * mu)
    seen = np.log(np.maximum(_over_scatter(each, scale), 1e-300))
    return mu, _normalised(seen + 0.5 * mu)


def _log_prior(count: int) -> Array:
    """Of τ on its grid, each point with its share of the axis (trapezium rule)."""
    with_ends = np.concatenate([_TAUS[:1], _TAUS, _TAUS[-1:]])
    return np.asarray(-0.5 * _TAUS**2 + np.log(0.5 * (with_ends[2:] - with_ends[:-2])))[:count]


def _normalised(log_weight: Array) -> Array:
    weight = np.exp(log_weight - log_weight.max())
    return np.asarray(weight / weight.sum())


def _over_scatter(log_likelihood: Array, scale: float) -> Array:
    """Likelihood of μ with the scatter integrated out; (..., S, G) in, (..., inner part of G) out.

    Each model's likelihood is averaged over a normal of width τ, by Fourier transform: inside the
    margin nothing wraps around.
    """
    top = log_likelihood.max(axis=-1, keepdims=True)
    spectrum = rfft(np.exp(log_likelihood - top), _POINTS)
    rows = [(log_likelihood - top)[..., _INSIDE].sum(axis=-2)]
    for kernel in _kernels(scale):
        blurred = irfft(spectrum * kernel, _POINTS)[..., _INSIDE]
        rows.append(np.log(np.maximum(blurred, 1e-300)).sum(axis=-2))
    found = np.stack(rows) + _log_prior(len(_TAUS)).reshape(-1, *[1] * rows[0].ndim)
    return np.asarray(np.exp(found - found.max(axis=(0, -1), keepdims=True)).sum(axis=0))


@lru_cache(maxsize=8)
def _kernels(scale: float) -> tuple[Array, ...]:
    """Transforms of normals of width τ > 0 (real, since normals are even)."""
    steps = np.arange(_POINTS)
    away = np.minimum(steps, _POINTS - steps) * _STEP
    found = [np.where(away <= _MARGIN, np.exp(-0.5 * (away / (t * scale)) ** 2), 0.0)
             for t in _TAUS[1:]]  # fmt: skip
    return tuple(np.asarray(rfft(kernel / kernel.sum()).real) for kernel in found)


def _cumulative(weight: Array) -> Array:
    reached = np.cumsum(weight, axis=-1)
    return np.asarray((reached - 0.5 * weight) / reached[..., -1:])
