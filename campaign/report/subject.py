"""What a report speaks of: the molecule of a campaign, or all atoms of a liquid's box as one.

Of a box bonds are not told: each would be a kind of failure of its own, and which of 128 equal ones
broke says nothing. Distances between atoms of a box are not counted either; h(r) is for molecules.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_store.molecules import Molecule
from data_store.structures import Structures

__all__ = ["Subject", "nearest_to", "of_the_same_atoms", "subject_of"]


class Subject(NamedTuple):
    """All atoms of a replica, and its box.

    Parameters
    ----------
    molecule : Molecule
    cell_A : ndarray, shape (3, 3), or None
        None where there is no box.
    """

    molecule: Molecule
    cell_A: NDArray[np.float64] | None = None


def subject_of(name: str, starts: Structures) -> Subject:
    """Subject of a report on a liquid or a mixture.

    Parameters
    ----------
    name : str
    starts : Structures
        That dynamics began from, all of one kind.
    """
    numbers = tuple(int(number) for number in starts.numbers_of(0))
    charges = (int(starts.charges[0]), *[0] * (len(numbers) - 1))
    whole = Molecule(
        name=name,
        numbers=numbers,
        bonds=(),
        bond_orders=(),
        formal_charges=charges,
        multiplicity=int(starts.multiplicities[0]),
        reference_positions=starts.positions_of(0).astype(np.float64),
    )
    cell = np.where(starts.pbc[0][:, None], starts.cells[0], 0.0)
    return Subject(whole, cell if starts.pbc[0].any() else None)


def of_the_same_atoms(structures: Structures, molecule: Molecule) -> NDArray[np.float64]:
    """Positions of the structures that are of these atoms in this order, (S, N, 3) in Å."""
    numbers = np.array(molecule.numbers)
    rows = [
        index
        for index in range(len(structures))
        if np.array_equal(structures.numbers_of(index), numbers)
    ]
    if not rows:
        return np.zeros((0, len(numbers), 3))
    return structures.take(rows).dense_positions().astype(np.float64)


def nearest_to(
    frames: NDArray[np.float32], atom: int, cell_A: NDArray[np.float64] | None
) -> NDArray[np.float32]:
    """Frames (F, N, 3) with all atoms in the image that is nearest to one of them, in Å."""
    if cell_A is None or not len(frames):
        return frames
    apart = frames.astype(np.float64) - frames[:, atom, None]
    whole = np.round(apart @ np.linalg.pinv(cell_A)) @ cell_A
    return np.asarray(frames - whole, dtype=np.float32)
