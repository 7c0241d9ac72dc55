r"""g(r) of a periodic box by pairs of elements: how often two atoms are so far apart, over chance.

.. math::
    g_{ab}(r) = \frac{n_{ab}(r)}{F\, P_{ab}\, v(r) / V},\qquad
    P_{ab} = N_a N_b,\quad P_{aa} = \tfrac12 N_a (N_a - 1)

with `n` the pairs counted in a shell of volume `v` over `F` frames of a box of volume `V`. An atom
is no neighbour of itself, so that an ideal gas has g = 1 whatever its size; codes that divide by
:math:`N_a^2` give :math:`1 - 1/N_a`. Bonded pairs count like all others.

Distances are those of nearest images, which rounding of fractional coordinates finds in any
parallelepiped up to half of its least width, where counting ends. Counts of many frames, and of
boxes of other sizes, add up. Nothing here knows of time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_store.errors import InputError
from data_store.units import SYMBOLS

__all__ = [
    "WIDTH_A",
    "PairCounts",
    "added",
    "coordination_numbers",
    "count_pairs",
    "radial_distribution",
    "reach_A",
    "rebinned",
]

WIDTH_A = 0.012
"""Width of a bin: that of the published criterion, 500 to 6 Å (arXiv:2210.07237)."""

_PAIRS_AT_ONCE = 1 << 19

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PairCounts:
    """Distances of some frames, counted by bin and pair of elements.

    Parameters
    ----------
    pairs : tuple of str, length P
        Such as "O-H", the heavier element first.
    width_A : float
        Of a bin; the first begins at 0.
    counts : ndarray of int64, shape (P, B)
        Pairs of atoms, each once.
    expected : ndarray, shape (P, B)
        What an ideal gas of the same numbers in the same boxes has on average.
    centres : ndarray, shape (P,)
        Atoms of the pair's first element, summed over frames.
    frames : int
    """

    pairs: tuple[str, ...]
    width_A: float
    counts: NDArray[np.int64]
    expected: Array
    centres: Array
    frames: int

    @property
    def edges_A(self) -> Array:
        """Edges of the bins, shape (B + 1,)."""
        return np.arange(self.counts.shape[1] + 1) * self.width_A

    def __add__(self, other: PairCounts) -> PairCounts:
        """Both together, as far as both reach."""
        if (self.pairs, self.width_A) != (other.pairs, other.width_A):
            raise InputError(
                f"counts of {', '.join(self.pairs)} in bins of {self.width_A:g} Å and of "
                f"{', '.join(other.pairs)} in bins of {other.width_A:g} Å do not add up",
                "count boxes of the same elements, in the same bins",
            )
        bins = min(self.counts.shape[1], other.counts.shape[1])
        return PairCounts(
            self.pairs,
            self.width_A,
            self.counts[:, :bins] + other.counts[:, :bins],
            self.expected[:, :bins] + other.expected[:, :bins],
            self.centres + other.centres,
            self.frames + other.frames,
        )


def added(found: Sequence[PairCounts]) -> PairCounts:
    """All of them together; at least one."""
    return reduce(lambda one, other: one + other, found)


def reach_A(cell: ArrayLike) -> float:
    """Half of the least distance of two opposite faces of a box.

    Parameters
    ----------
    cell : ndarray, shape (3, 3)
        Rows are the edges, in Å.

    Raises
    ------
    InputError
        If the box has no volume.
    """
    edges = np.asarray(cell, dtype=np.float64)
    if edges.shape != (3, 3) or not np.isfinite(edges).all() or not abs(np.linalg.det(edges)):
        raise InputError(
            f"three edges of a box with a volume are wanted, not {edges.tolist()}",
            "g(r) is of periodic boxes alone",
        )
    # A column of the inverse is a face's normal over its distance from the opposite face.
    return float(0.5 / np.linalg.norm(np.linalg.inv(edges), axis=0).max())


def count_pairs(
    frames: NDArray[np.floating], numbers: ArrayLike, cell: ArrayLike, width_A: float = WIDTH_A
) -> PairCounts:
    """Count the distances of all pairs of elements, in memory that does not grow with the frames.

    Parameters
    ----------
    frames : ndarray, shape (F, N, 3)
        Positions in Å, wrapped or not.
    numbers : ndarray of int, shape (N,)
        Atomic numbers.
    cell : ndarray, shape (3, 3)
        Rows are the edges of the box, periodic along all three, in Å.
    width_A : float

    Raises
    ------
    InputError
        If the box has no volume, or numbers and positions do not fit each other.
    """
    elements, edges = np.asarray(numbers, dtype=np.int64), np.asarray(cell, dtype=np.float64)
    if frames.ndim != 3 or frames.shape[1:] != (len(elements), 3):
        raise InputError(
            f"positions of {len(elements)} atoms in three dimensions are wanted, frame by frame; "
            f"their shape is {frames.shape}",
            "a frame's atoms are those of the box",
        )
    bins = int(np.floor(reach_A(edges) / width_A + 1e-9))
    pairs = list(_pairs_of(elements))
    counts = np.zeros((len(pairs), bins), dtype=np.int64)
    for frame in frames:
        wrapped = _fractional(frame, edges)
        for row, (a, b) in enumerate(pairs):
            for vectors in _separations(wrapped, elements, a, b):
                counts[row] += _binned(vectors, edges, width_A, bins)
    shells = 4.0 / 3.0 * np.pi * np.diff((np.arange(bins + 1) * width_A) ** 3)
    there = {z: int((elements == z).sum()) for z in set(elements.tolist())}
    chances = [there[a] * (there[a] - 1) / 2 if a == b else there[a] * there[b] for a, b in pairs]
    volume = abs(float(np.linalg.det(edges)))
    return PairCounts(
        tuple(f"{SYMBOLS[a]}-{SYMBOLS[b]}" for a, b in pairs),
        width_A,
        counts,
        len(frames) * np.outer(chances, shells) / volume,
        len(frames) * np.array([there[a] for a, _ in pairs], dtype=np.float64),
        len(frames),
    )


def _pairs_of(elements: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Pairs of elements of which there is at least one pair of atoms."""
    kinds, there = np.unique(elements, return_counts=True)
    for (a, n), (b, _) in combinations_with_replacement(
        list(zip(kinds.tolist(), there.tolist(), strict=True))[::-1], 2
    ):
        if a != b or n > 1:
            yield a, b


def _fractional(frame: NDArray[np.floating], cell: Array) -> NDArray[np.float32]:
    """Coordinates within the box; wrapped before they lose digits."""
    found = frame.astype(np.float64) @ np.linalg.inv(cell)
    return np.asarray(found - np.floor(found), dtype=np.float32)


def _separations(
    wrapped: NDArray[np.float32], elements: NDArray[np.int64], a: int, b: int
) -> Iterator[NDArray[np.float32]]:
    """Fractional differences of all pairs, each once, some at a time, shape (M, 3)."""
    first, second = wrapped[elements == a], wrapped[elements == b]
    rows = max(_PAIRS_AT_ONCE // len(second), 1)
    for start in range(0, len(first), rows):
        of = first[start : start + rows]
        if a != b:
            yield (of[:, None] - second[None]).reshape(-1, 3)
        else:
            i, j = np.triu_indices(len(of), k=1, m=len(first) - start)
            yield of[i] - first[start + j]


def _binned(
    vectors: NDArray[np.float32], cell: Array, width_A: float, bins: int
) -> NDArray[np.int64]:
    nearest = (vectors - np.rint(vectors)) @ (cell / width_A).astype(np.float32)
    places = np.sqrt(np.einsum("ij,ij->i", nearest, nearest)).astype(np.int64)
    return np.bincount(np.minimum(places, bins), minlength=bins + 1)[:bins]


def radial_distribution(found: PairCounts) -> Array:
    """g(r) in each bin, shape (P, B); not a number where there is no frame."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(found.counts / found.expected)


def coordination_numbers(found: PairCounts) -> Array:
    """Atoms of the second element around one of the first up to each bin's end, shape (P, B)."""
    ends = np.array([name.split("-") for name in found.pairs])
    both = np.where(ends[:, 0] == ends[:, 1], 2.0, 1.0)
    return np.asarray(found.counts.cumsum(1) * (both / found.centres)[:, None])


def rebinned(found: PairCounts, pair: str, edges_A: Array) -> Array:
    """g(r) of one pair in other bins, shape (len(edges_A) - 1,).

    Pairs of a bin are taken as even over its volume where an edge cuts it.

    Raises
    ------
    InputError
        If the bins reach beyond what was counted, or the pair was not.
    """
    if pair not in found.pairs:
        raise InputError(
            f"no atoms of the pair {pair!r} in the box", f"there are: {', '.join(found.pairs)}"
        )
    row, volumes = found.pairs.index(pair), found.edges_A**3
    if edges_A[-1] > found.edges_A[-1] * (1.0 + 1e-9):
        raise InputError(
            f"bins to {edges_A[-1]:g} Å of distances that were counted to {found.edges_A[-1]:g} Å",
            "half of the least width of the box is the furthest",
        )
    summed = [
        np.diff(np.interp(edges_A**3, volumes, np.concatenate([[0.0], values[row].cumsum()])))
        for values in (found.counts, found.expected)
    ]
    return np.asarray(summed[0] / summed[1])
