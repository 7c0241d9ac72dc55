"""Random selection: the baseline that asks nothing of a model, and the default.

The first `k` selected are the same for every count, so that a campaign that grows its label budget
keeps the labels it has. Other strategies (uncertainty, diversity) belong beside this file.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_store.errors import InputError
from data_store.splits import random_order

__all__ = ["select_random"]


def select_random(available: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Choose `count` of `available` at random, without repetition.

    Parameters
    ----------
    available : ndarray of int64
        Indices to choose from.
    count : int
    seed : int

    Returns
    -------
    ndarray of int64, shape (count,)
        A prefix of one seeded order of `available`.

    Raises
    ------
    InputError
        If there are fewer than `count`.
    """
    if count > len(available):
        raise InputError(
            f"{count} distinct structures are asked for, {len(available)} are there",
            "ask for fewer, or bring more",
        )
    return available[random_order(len(available), seed)[:count]]
