"""Bands of curves: models first, runs second.

A trained model is one draw of its arm, and runs of one model share what it lacks. Over several
models the band is that of their means, whose scatter holds that of their runs; with one model it is
over its runs, and conditional on it. Bands are pointwise: a curve leaves its own in one place of
twenty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from campaign.statistics.rates import CONFIDENCE

__all__ = ["Band", "band_over_models"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Band:
    """A mean curve with its pointwise 95 % band.

    Parameters
    ----------
    mean, low, high : ndarray, shape (...)
        Bounds are not numbers where a single run is all there is.
    standard_error : ndarray, shape (...)
    kind : str
        What the band is over, in words.
    """

    mean: Array
    low: Array
    high: Array
    standard_error: Array
    kind: str


def band_over_models(curves: Sequence[Array]) -> Band:
    """Mean over models of their means over runs, with Student's interval.

    Parameters
    ----------
    curves : sequence of ndarray, shape (R, ...)
        For each model the curves of its runs; at least one run each.
    """
    if len(curves) > 1:
        kind, values = "over models", np.stack([of_one.mean(0) for of_one in curves])
    else:
        kind, values = "over runs, conditional on one model", np.asarray(curves[0])
    count, mean = len(values), values.mean(0)
    if count < 2:
        none = np.full(mean.shape, np.nan)
        return Band(mean, none, none, none, "none: a single run")
    error = values.std(0, ddof=1) / np.sqrt(count)
    half = float(student.ppf(0.5 * (1.0 + CONFIDENCE), count - 1)) * error
    return Band(mean, mean - half, mean + half, error, kind)
