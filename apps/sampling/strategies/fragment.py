"""Fragments: the molecule pulled apart at one bond, the pieces turned against each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apps.sampling.settings import FragmentSettings
from apps.sampling.strategies.moves import rotate, set_distance, side_of_bond
from data_store.molecules import Molecule

__all__ = ["acyclic_bonds", "pull_apart"]


def acyclic_bonds(molecule: Molecule) -> list[tuple[int, int]]:
    """Bonds whose cut gives two pieces."""
    return [bond for bond in molecule.bonds if side_of_bond(molecule, *bond) is not None]


def pull_apart(
    molecule: Molecule,
    base: NDArray[np.float64],
    settings: FragmentSettings,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Cut one random bond of each structure and move the piece beyond it out along the bond.

    The bond comes out longer than at rest by a log-uniform distance, and the piece is turned about
    the bond by any angle. A force field whose bonds never break gives most of these an energy that
    the acceptance window rejects.

    Parameters
    ----------
    molecule : Molecule
        With at least one bond outside rings (`acyclic_bonds`).
    base : ndarray, shape (S, N, 3)
    settings : FragmentSettings
    rng : numpy.random.Generator
    """
    rest, bonds = molecule.reference_positions, acyclic_bonds(molecule)
    sides = [side_of_bond(molecule, *bond) for bond in bonds]
    low, high = np.log(settings.beyond_A)
    chosen = rng.integers(len(bonds), size=len(base))
    beyond = np.exp(rng.uniform(low, high, size=len(base)))
    turns = rng.uniform(0.0, 2.0 * np.pi, size=len(base))
    nothing = np.zeros(len(molecule.numbers), dtype=bool)
    apart = np.empty_like(base)
    for row, (bond, distance, turn) in enumerate(zip(chosen, beyond, turns, strict=True)):
        (i, j), side = bonds[bond], sides[bond]
        length = float(np.linalg.norm(rest[j] - rest[i]) + distance)
        moved = set_distance(base[row], (i, j), length, (nothing, side))
        apart[row] = rotate(moved, side, moved[j], moved[j] - moved[i], turn)
    return apart
