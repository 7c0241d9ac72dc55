"""Random selection: the baseline that asks nothing of the candidates, and the default."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_store.splits import random_order
from data_store.structures import Structures

__all__ = ["random_selection"]


def random_selection(candidates: Structures, seed: int) -> NDArray[np.int64]:
    """Seeded permutation of the places of the candidates; what stands there is not looked at.

    Parameters
    ----------
    candidates : Structures
    seed : int

    Returns
    -------
    ndarray of int64, shape (S,)
    """
    return random_order(len(candidates), seed)
