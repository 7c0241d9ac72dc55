r"""Structures that are there twice, exactly or nearly.

Exact: the same atoms, cell and positions, bit for bit. Near: the same atoms in the same order and
distances that differ by less than some hundredths of an ångström in the root mean square, so that
turned and shifted copies count. Distances are kept as a few random projections, whose differences
estimate that of the distances (Johnson and Lindenstrauss 1984): with 16 of them to some 20 %, so
that close to the limit the count is an estimate.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from campaign.coverage.distances import alike, all_distances
from data_store.streams import stream
from data_store.structures import Structures

__all__ = ["MOST_COMPARED", "NEAR_A", "Duplicates"]

NEAR_A = 0.01
"""Root mean square difference of distances below which structures are near duplicates, in Å."""

MOST_COMPARED = 200_000
"""Structures that near duplicates are looked for among: the first ones."""

_PROJECTIONS = 16


class Duplicates:
    """Counts of duplicates, over blocks of structures."""

    def __init__(self) -> None:
        self._digests: list[NDArray[np.uint64]] = []
        self._projected: dict[bytes, list[NDArray[np.float32]]] = defaultdict(list)
        self._matrices: dict[int, NDArray[np.float64]] = {}
        self.compared = 0

    def add(self, structures: Structures) -> None:
        """Look at some more."""
        digests = [_digest(structures, row) for row in range(len(structures))]
        self._digests.append(np.array(digests, dtype=np.uint64))
        left = MOST_COMPARED - self.compared
        if left <= 0:
            return
        some = structures.slice(0, left)
        self.compared += len(some)
        for rows in alike(some):
            same = some.take(rows)
            distances = all_distances(same)
            if distances.shape[1]:
                projected = (distances @ self._matrix(distances.shape[1])).astype(np.float32)
                self._projected[same.numbers_of(0).tobytes()].append(projected)

    def _matrix(self, pairs: int) -> NDArray[np.float64]:
        """Projections whose mean square estimates that of what is projected."""
        if pairs not in self._matrices:
            rng = stream(0, "projections", pairs)
            drawn = rng.normal(size=(pairs, _PROJECTIONS))
            self._matrices[pairs] = drawn / np.sqrt(pairs * _PROJECTIONS)
        return self._matrices[pairs]

    def exact(self) -> int:
        """Structures of which an equal one came before."""
        every = np.concatenate(self._digests) if self._digests else np.zeros(0, np.uint64)
        return len(every) - len(np.unique(every))

    def near(self) -> int:
        """Structures that have a near duplicate, or an exact one, among those compared."""
        return sum(_near(np.concatenate(found)) for found in self._projected.values())


def _digest(structures: Structures, row: int) -> int:
    hasher = hashlib.blake2b(digest_size=8)
    for values in (
        structures.numbers_of(row), structures.positions_of(row),
        structures.cells[row], structures.pbc[row],
    ):  # fmt: skip
        hasher.update(values.tobytes())
    return int.from_bytes(hasher.digest(), "little")


def _near(points: NDArray[np.float32]) -> int:
    if len(points) < 2:
        return 0
    from scipy.spatial import cKDTree

    found, _ = cKDTree(points).query(points, k=2, distance_upper_bound=NEAR_A)
    return int(np.isfinite(np.asarray(found)[:, 1]).sum())
