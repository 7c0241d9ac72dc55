"""Which molecules there are in frames of a trajectory: bonds, fragments, names and counts.

A pair that comes closer than ``form_A`` is bonded until it is further than ``break_A``
(hysteresis): between the two a bond is what it was, so that a vibration does not make and break it
at each frame.
Both bounds are multiples of a bond length of the pair of elements: `FORM` and `BREAK`, which are
ours (docs/combustion.md says what the published labels visit). Lengths are equilibrium ones: H2 and
OH of Huber and Herzberg 1979 (doi:10.1007/978-1-4757-0961-2), O–O the longest of the family, that
of H2O2 (Koput 1986, J. Mol. Spectrosc. 115, 438); other pairs take the sum of the covalent radii of
Cordero et al. 2008 (doi:10.1039/b801115j).

Pure functions on numpy arrays, all frames at once. No charges, no spin, no bond orders: OH and OH⁻
are one species here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data_store.errors import InputError
from data_store.formulas import hill_formula
from data_store.units import COVALENT_RADII_A, SYMBOLS

__all__ = [
    "BREAK",
    "FORM",
    "Pairs",
    "bond_length_A",
    "bonded",
    "bonds_per_atom",
    "count_species",
    "distances_A",
    "fragments",
    "pairs_of",
    "species_of_fragments",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

FORM = 1.25
"""A bond forms below so many lengths."""

BREAK = 1.5
"""A bond breaks beyond so many lengths."""

_LENGTHS_A = {(1, 1): 0.74144, (1, 8): 0.96966, (8, 8): 1.464}

_CUSTOMARY = {"HO": "OH"}
"""Names that nobody writes in Hill order."""

_PAIRS_AT_ONCE = 2**22


def bond_length_A(first: int, second: int) -> float:
    """Length of a bond of two elements, by atomic numbers, in Å."""
    known = _LENGTHS_A.get((min(first, second), max(first, second)))
    return known or float(COVALENT_RADII_A[first] + COVALENT_RADII_A[second])


@dataclass(frozen=True, eq=False)
class Pairs:
    """All pairs of atoms, and the bounds of their bonds.

    Parameters
    ----------
    first, second : ndarray of int64, shape (P,)
    form_A, break_A : ndarray, shape (P,)
    atoms : int
    """

    first: Ints
    second: Ints
    form_A: Floats
    break_A: Floats
    atoms: int


def pairs_of(numbers: NDArray[Any]) -> Pairs:
    """Pairs of the atoms with these atomic numbers, (N,)."""
    first, second = np.triu_indices(len(numbers), k=1)
    kinds, place = np.unique(np.asarray(numbers, dtype=np.int64), return_inverse=True)
    table = np.array([[bond_length_A(int(a), int(b)) for b in kinds] for a in kinds])
    lengths = table.reshape(len(kinds), len(kinds))[place[first], place[second]]
    return Pairs(first, second, FORM * lengths, BREAK * lengths, len(numbers))


def distances_A(positions: Floats, pairs: Pairs, cell: Floats | None = None) -> Floats:
    """Distances of all pairs, (F, P) Å.

    Parameters
    ----------
    positions : ndarray, shape (F, N, 3)
        In Å, wrapped or not.
    pairs : Pairs
    cell : ndarray, shape (3, 3), optional
        Row vectors in Å of a box that is periodic along all three. Each distance shorter than half
        the smallest height is that of the nearest images.

    Raises
    ------
    InputError
        If the box is so thin that an atom could be bonded to two images of another.
    """
    vectors = positions[:, pairs.second] - positions[:, pairs.first]  # (F, P, 3)
    if cell is not None:
        heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
        longest = float(pairs.break_A.max(initial=0.0))
        if heights.min() <= 2.0 * longest:
            raise InputError(
                f"a box {heights.min():.2f} Å thin is too small to tell species in: bonds reach "
                f"{longest:.2f} Å, and half the box must be more",
                "take a larger box (system.box_A, system.density_g_per_cm3)",
            )
        turns = np.round(vectors @ np.linalg.inv(cell))
        vectors = vectors - turns @ cell
    found: Floats = np.linalg.norm(vectors, axis=-1)
    return found


def bonded(distances: Floats, pairs: Pairs, before: Bools | None = None) -> Bools:
    """Whether each pair is bonded in each frame, (F, P).

    Parameters
    ----------
    distances : ndarray, shape (F, P)
        Of consecutive frames of one trajectory, in Å.
    pairs : Pairs
    before : ndarray of bool, shape (P,), optional
        Bonds in the frame before the first. Without one, a pair of the first frame is bonded if it
        is nearer to ``form_A`` than to ``break_A``.
    """
    middle = 0.5 * (pairs.form_A + pairs.break_A)
    first = np.any(distances[:1] < middle, axis=0) if before is None else before
    forms, breaks = distances < pairs.form_A, distances > pairs.break_A
    # The latest frame, up to each, at which the matter was decided; −1 where it never was.
    at = np.where(forms | breaks, np.arange(len(distances))[:, None], -1)
    at = np.maximum.accumulate(at, axis=0)
    decided = np.take_along_axis(forms, np.maximum(at, 0), axis=0)
    return np.where(at >= 0, decided, first)


def bonds_per_atom(bonds: Bools, pairs: Pairs) -> Ints:
    """Bonds of each atom in each frame, (F, N)."""
    counts = np.zeros((len(bonds), pairs.atoms), dtype=np.int64)
    frame, pair = np.nonzero(bonds)
    for ends in (pairs.first, pairs.second):
        np.add.at(counts, (frame, ends[pair]), 1)
    return counts


def fragments(bonds: Bools, pairs: Pairs) -> Ints:
    """Fragment of each atom in each frame, (F, N): numbers that no two frames share."""
    frames, atoms = len(bonds), pairs.atoms
    frame, pair = np.nonzero(bonds)
    rows, columns = frame * atoms + pairs.first[pair], frame * atoms + pairs.second[pair]
    size = frames * atoms
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    return np.asarray(labels, dtype=np.int64).reshape(frames, atoms)


def species_of_fragments(numbers: NDArray[Any], parts: Ints) -> dict[str, Ints]:
    """How many of each species there are in each frame, (F,), by formula in Hill order.

    Parameters
    ----------
    numbers : ndarray, shape (N,)
        Atomic numbers.
    parts : ndarray, shape (F, N)
        As `fragments` gives them.
    """
    if not parts.size:
        return {}
    frames, _ = parts.shape
    kinds, place = np.unique(np.asarray(numbers, dtype=np.int64), return_inverse=True)
    count = int(parts.max()) + 1
    made = np.zeros((count, len(kinds)), dtype=np.int64)
    np.add.at(made, (parts.reshape(-1), np.tile(place, frames)), 1)
    frame_of = np.zeros(count, dtype=np.int64)
    frame_of[parts] = np.arange(frames)[:, None]
    compositions, which = np.unique(made, axis=0, return_inverse=True)
    table = np.zeros((len(compositions), frames), dtype=np.int64)
    np.add.at(table, (which.reshape(-1), frame_of), 1)
    names = [_formula(kinds, composition) for composition in compositions]
    return {names[row]: table[row] for row in np.argsort(names)}


def _formula(kinds: Ints, composition: Ints) -> str:
    counts = {SYMBOLS[int(z)]: int(n) for z, n in zip(kinds, composition, strict=True)}
    name = hill_formula(counts)
    return _CUSTOMARY.get(name, name)


def count_species(
    positions: Floats, numbers: NDArray[Any], cell: Floats | None = None
) -> dict[str, Ints]:
    """How many of each species there are in each frame of a trajectory, (F,).

    Parameters
    ----------
    positions : ndarray, shape (F, N, 3)
        Consecutive frames, in Å.
    numbers : ndarray, shape (N,)
    cell : ndarray, shape (3, 3), optional
        As in `distances_A`.

    Raises
    ------
    InputError
        If the box is too thin.
    """
    pairs = pairs_of(numbers)
    step = max(1, _PAIRS_AT_ONCE // max(len(pairs.first), 1))
    counts: dict[str, Ints] = {}
    before: Bools | None = None
    for start in range(0, len(positions), step):
        frames = np.asarray(positions[start : start + step], dtype=np.float64)
        bonds = bonded(distances_A(frames, pairs, cell), pairs, before)
        before = bonds[-1]
        for name, found in species_of_fragments(numbers, fragments(bonds, pairs)).items():
            counts.setdefault(name, np.zeros(len(positions), dtype=np.int64))
            counts[name][start : start + step] = found
    return dict(sorted(counts.items()))
