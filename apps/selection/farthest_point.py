"""Selection that covers the space of geometries: next comes the candidate farthest from all taken.

The beginnings of the order leave no candidate far from a labelled one: the radius that the first k
leave is at most twice the smallest that any k could (Gonzalez 1985,
doi:10.1016/0304-3975(85)90224-5). For that it takes outliers first: the mean distance of a
candidate to the nearest labelled one is larger than at random (by a tenth for 20 of 200 thermal
structures of methanol or ethanol, `benchmarks/selection.py`), and errors measured on the selection
are those of the edge of the thermal distribution.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apps.selection.descriptors import inverse_distances
from data_store.streams import stream
from data_store.structures import Structures

__all__ = ["farthest_point", "farthest_point_order"]


def farthest_point(candidates: Structures, seed: int) -> NDArray[np.int64]:
    """Farthest-point order of the candidates by their sorted inverse distances.

    Parameters
    ----------
    candidates : Structures
        Of one molecule, not periodic.
    seed : int
        Decides the first; all others follow from it.

    Returns
    -------
    ndarray of int64, shape (S,)
        Follows the structures wherever they stand; equal geometries alone are told apart by place.

    Raises
    ------
    InputError
        If the candidates cannot be compared.
    """
    return farthest_point_order(inverse_distances(candidates), seed)


def farthest_point_order(descriptors: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    """Greedy farthest-point order of points.

    Parameters
    ----------
    descriptors : ndarray, shape (S, D)
    seed : int

    Returns
    -------
    ndarray of int64, shape (S,)
        In a time of S² D.
    """
    count = len(descriptors)
    # A drawn rank instead of a drawn place, so that the first does not depend on who stands where.
    by_size = np.argsort(descriptors.sum(axis=1), kind="stable")
    chosen = by_size[stream(seed, "farthest_point", count).integers(count)]
    order = np.empty(count, dtype=np.int64)
    nearest = np.full(count, np.inf)
    for place in range(count):
        order[place] = chosen
        distances = np.linalg.norm(descriptors - descriptors[chosen], axis=1)
        nearest = np.minimum(nearest, distances)
        nearest[chosen] = -np.inf  # taken, and never the farthest again
        chosen = np.argmax(nearest)
    return order
