"""Clashes: two atoms that are not bonded, pulled into contact."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apps.sampling.settings import ClashSettings
from apps.sampling.strategies.moves import companions, set_distance
from data_store.molecules import Molecule
from data_store.units import COVALENT_RADII_A

__all__ = ["clashing_pairs", "pull_together"]


def clashing_pairs(molecule: Molecule) -> list[tuple[int, int]]:
    """Pairs three bonds apart or more; two where there are none; empty for a diatomic."""
    distance = molecule.bond_distance_matrix()
    for least in (3, 2):
        pairs = [(int(i), int(j)) for i, j in np.argwhere(np.triu(distance >= least, k=1))]
        if pairs:
            return pairs
    return []


def pull_together(
    molecule: Molecule,
    base: NDArray[np.float64],
    settings: ClashSettings,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Bring one random pair of each structure to a multiple of the sum of covalent radii.

    Both atoms move, each with its hydrogens.

    Parameters
    ----------
    molecule : Molecule
        With at least one pair (`clashing_pairs`).
    base : ndarray, shape (S, N, 3)
    settings : ClashSettings
    rng : numpy.random.Generator
    """
    pairs = clashing_pairs(molecule)
    radii = COVALENT_RADII_A[list(molecule.numbers)]
    chosen = rng.integers(len(pairs), size=len(base))
    contacts = rng.uniform(*settings.contact, size=len(base))
    pulled = np.empty_like(base)
    for row, (pair, contact) in enumerate(zip(chosen, contacts, strict=True)):
        i, j = pairs[pair]
        moving = companions(molecule, i, j), companions(molecule, j, i)
        # An atom bonded to both would be pulled both ways: it stays.
        shared = moving[0] & moving[1]
        moving = moving[0] & ~shared, moving[1] & ~shared
        pulled[row] = set_distance(base[row], (i, j), contact * (radii[i] + radii[j]), moving)
    return pulled
