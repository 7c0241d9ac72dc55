"""Distances in structures of the same atoms, and the shortest one relative to covalent radii.

Periodic structures have their nearest images: in cells with right angles by rounding, in others the
nearest among the 27 cells around, right where none is so skewed that a nearer image lies beyond.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from data_store.structures import Structures
from data_store.units import COVALENT_RADII_A

__all__ = ["Contact", "alike", "all_distances", "shortest_contacts"]

Array = NDArray[np.float64]
Contact = tuple[Array, Array, NDArray[np.int64], NDArray[np.int64]]

_SHIFTS = np.array(list(product((-1, 0, 1), repeat=3)), dtype=np.float64)
_AT_ONCE = 400_000
"""Distances held at once."""


def alike(structures: Structures) -> Iterator[NDArray[np.int64]]:
    """Rows of structures with the same atoms in the same order, few enough to be held at once."""
    groups: dict[bytes, list[int]] = {}
    for row in range(len(structures)):
        groups.setdefault(structures.numbers_of(row).tobytes(), []).append(row)
    for key, rows in groups.items():
        many = max(1, 2 * _AT_ONCE // (len(key) ** 2))
        for start in range(0, len(rows), many):
            yield np.array(rows[start : start + many], dtype=np.int64)


def all_distances(structures: Structures) -> Array:
    """Distances of all pairs i < j of structures of the same atoms, (S, P), in Å."""
    x = structures.dense_positions().astype(np.float64)
    i, j = np.triu_indices(x.shape[1], 1)
    lines = x[:, j] - x[:, i]
    distances = np.sqrt((lines**2).sum(-1))
    for row in np.flatnonzero(structures.pbc.any(1)):
        distances[row] = _nearest(lines[row], structures.cells[row], structures.pbc[row])
    return np.asarray(distances)


def _nearest(lines: Array, cell: Array, pbc: NDArray[np.bool_]) -> Array:
    """Lengths of lines (P, 3) to the nearest image."""
    inverse = np.linalg.pinv(cell)
    lines = lines - (np.round(lines @ inverse) * pbc) @ cell
    angles = cell @ cell.T
    if np.abs(angles - np.diag(np.diag(angles))).max() < 1e-9 * max(1.0, np.abs(angles).max()):
        return np.asarray(np.sqrt((lines**2).sum(-1)))
    nearest = np.full(len(lines), np.inf)
    for shift in _SHIFTS[~((_SHIFTS != 0) & ~pbc).any(1)]:
        nearest = np.minimum(nearest, ((lines + shift @ cell) ** 2).sum(-1))
    return np.asarray(np.sqrt(nearest))


def shortest_contacts(numbers: NDArray[np.int64], distances: Array) -> Contact:
    """Of each structure the pair whose distance is least over the sum of covalent radii.

    Parameters
    ----------
    numbers : ndarray, shape (N,)
        Two atoms or more.
    distances : ndarray, shape (S, P)
        Of `all_distances`.

    Returns
    -------
    ratios, distances_A : ndarray, shape (S,)
    i, j : ndarray of int64, shape (S,)
        The pair's atoms.
    """
    i, j = np.triu_indices(len(numbers), 1)
    radii = COVALENT_RADII_A[numbers]
    ratios = distances / (radii[i] + radii[j])
    at, rows = ratios.argmin(1), np.arange(len(ratios))
    return ratios[rows, at], distances[rows, at], i[at], j[at]
