"""Mean errors over seeds: the accuracy of an arm, where one trained model is one draw of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student

from campaign.statistics.rates import CONFIDENCE, Estimate

__all__ = ["mean_error"]


def mean_error(values: Sequence[float]) -> Estimate:
    r"""Geometric mean over models, with Student's interval on the logarithms.

    .. math:: \exp\left(\bar y \pm t_{S-1} s / \sqrt S\right),\qquad y_s = \ln e_s

    Parameters
    ----------
    values : sequence of float
        Positive, one per model. With one model there is no interval.
    """
    logs = np.log(np.asarray(values, dtype=np.float64))
    mean = float(logs.mean())
    if len(logs) < 2:
        return Estimate(float(np.exp(mean)), None, None)
    reach = float(student.ppf(0.5 * (1.0 + CONFIDENCE), len(logs) - 1))
    half = reach * float(logs.std(ddof=1)) / np.sqrt(len(logs))
    return Estimate(*(float(np.exp(mean + side)) for side in (0.0, -half, half)))
