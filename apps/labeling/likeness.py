r"""Frames that are nearly the same: what to keep together where a file has lost its order.

Published sets are often draws of one short trajectory, shuffled. Neighbours in time then lie on
both sides of a random split, and a test error says how well they are remembered. Here frames of the
same atoms in the same box are told alike where

.. math::
    d_{ab}^2 = \frac{\sum_i m_i |x_{a,i} - x_{b,i} - t_{ab}|^2}{\sum_i m_i}

is below a limit, over nearest images, :math:`t_{ab}` being the mean displacement; and whatever is
alike in a chain is one group. Structures are not turned: neighbours in time hardly are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data_store.structures import Structures
from data_store.units import ATOMIC_MASSES_amu

__all__ = ["groups_of_alike"]


def groups_of_alike(structures: Structures, within_A: float) -> NDArray[np.int64]:
    """Group of each structure, (S,), numbered from 0 in order of their first members.

    Parameters
    ----------
    structures : Structures
    within_A : float
        Mass-weighted root mean square displacement below which two are alike, in Å.
    """
    rows: dict[bytes, list[int]] = {}
    for index in range(len(structures)):
        where = structures.cells[index].tobytes() + structures.pbc[index].tobytes()
        rows.setdefault(structures.numbers_of(index).tobytes() + where, []).append(index)
    first, second = [], []
    for members in rows.values():
        some = np.array(members)
        for place, other in _alike(structures.take(some), within_A):
            first.append(some[place])
            second.append(some[other])
    count = len(structures)
    joined = (np.ones(len(first), dtype=bool), (np.array(first, int), np.array(second, int)))
    _, found = connected_components(coo_array(joined, shape=(count, count)), directed=False)
    return np.asarray(found, dtype=np.int64)


def _alike(same: Structures, within_A: float) -> list[tuple[int, int]]:
    """Places of two that are alike, among structures of the same atoms in the same box."""
    x = same.dense_positions().astype(np.float64)
    weights = ATOMIC_MASSES_amu[same.numbers_of(0)]
    weights = weights / weights.sum()
    periodic = same.pbc[0]
    box = np.where(periodic[:, None], same.cells[0], 0.0)
    into = np.linalg.pinv(box)  # of directions that are not periodic nothing is left
    found = []
    for place in range(len(x)):
        moved = x[place + 1 :] - x[place]
        moved = moved - np.round(moved @ into) @ box
        mean = np.einsum("i,sid->sd", weights, moved)
        squared = np.einsum("i,sid,sid->s", weights, moved, moved) - (mean**2).sum(-1)
        found += [(place, place + 1 + int(s)) for s in np.flatnonzero(squared < within_A**2)]
    return found
