"""Bond scans: one bond from strong compression to dissociation, over random other modes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apps.sampling.settings import ScanSettings
from apps.sampling.strategies.moves import companions, set_distance, side_of_bond
from data_store.molecules import Molecule

__all__ = ["scan_bonds"]


def scan_bonds(
    molecule: Molecule,
    base: NDArray[np.float64],
    settings: ScanSettings,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Set one random bond of each structure to a log-uniform multiple of its length at rest.

    The fragment beyond the bond moves rigidly; in a ring, both atoms with their hydrogens.

    Parameters
    ----------
    molecule : Molecule
        With at least one bond.
    base : ndarray, shape (S, N, 3)
    settings : ScanSettings
    rng : numpy.random.Generator
    """
    rest = molecule.reference_positions
    low, high = np.log(settings.stretch)
    chosen = rng.integers(len(molecule.bonds), size=len(base))
    ratios = np.exp(rng.uniform(low, high, size=len(base)))
    nothing = np.zeros(len(molecule.numbers), dtype=bool)
    scanned = np.empty_like(base)
    for bond, (i, j) in enumerate(molecule.bonds):
        side = side_of_bond(molecule, i, j)
        moving = (nothing, side) if side is not None else (
            companions(molecule, i, j), companions(molecule, j, i)
        )  # fmt: skip
        rows = np.flatnonzero(chosen == bond)
        lengths = ratios[rows] * np.linalg.norm(rest[j] - rest[i])
        scanned[rows] = set_distance(base[rows], (i, j), lengths, moving)
    return scanned
