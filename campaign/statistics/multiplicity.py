"""Holm's correction: p-values of many comparisons that are read together.

A report makes a test per pool, temperature and arm; of twenty true nulls one is below 0.05 by
chance. Holm's procedure holds the chance of any false rejection at its level whatever the tests'
dependence (arms share the base arm's runs, so there is some).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["holm_adjusted"]


def holm_adjusted(p_values: Sequence[float | None]) -> list[float | None]:
    r"""Step-down adjusted p-values (Holm 1979, https://www.jstor.org/stable/4615733).

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min\left(1, (m - j + 1)\, p_{(j)}\right)

    Parameters
    ----------
    p_values : sequence of float or None
        None where there was nothing to test (no failure): counted among the ``m`` comparisons all
        the same, as a p of 1 would be, and left None.
    """
    values = np.array([1.0 if p is None else p for p in p_values], dtype=np.float64)
    order = np.argsort(values, kind="stable")
    stepped = np.minimum(1.0, values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(stepped)
    pairs = zip(p_values, adjusted, strict=True)
    return [None if p is None else float(a) for p, a in pairs]
