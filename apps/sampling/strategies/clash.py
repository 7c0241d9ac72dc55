"""Clashes: two atoms that are not bonded, pulled into contact."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apps.sampling.native.batches import is_compiled, project
from apps.sampling.settings import ClashSettings
from data_store.molecules import Molecule
from data_store.units import COVALENT_RADII_A

__all__ = ["clashing_pairs", "pull_together"]

_PROJECTIONS = 60
"""Rounds over all bonds; for small molecules the error then is below 0.01 Å."""


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

    Bonds keep the lengths they had, by projecting on one after the other (SHAKE, Ryckaert et al.
    1977, doi:10.1016/0021-9991(77)90098-5, with equal masses): angles and torsions give way, as in
    a real collision. Rings that cannot give way keep some strain in their bonds.

    Parameters
    ----------
    molecule : Molecule
        With at least one pair (`clashing_pairs`).
    base : ndarray, shape (S, N, 3)
    settings : ClashSettings
    rng : numpy.random.Generator
    """
    pairs = np.array(clashing_pairs(molecule))
    radii = COVALENT_RADII_A[list(molecule.numbers)]
    i, j = pairs[rng.integers(len(pairs), size=len(base))].T
    contact = rng.uniform(*settings.contact, size=len(base)) * (radii[i] + radii[j])
    if is_compiled():
        return project(base, molecule.bonds, i, j, contact, _PROJECTIONS)
    return _projected(molecule, base, i, j, contact)


def _projected(
    molecule: Molecule,
    base: NDArray[np.float64],
    i: NDArray[np.int64],
    j: NDArray[np.int64],
    contact: NDArray[np.float64],
) -> NDArray[np.float64]:
    """What `apps.sampling.native` does, in numpy."""
    pulled, rows = base.copy(), np.arange(len(base))
    squares = [((base[:, b] - base[:, a]) ** 2).sum(-1) for a, b in molecule.bonds]
    for _ in range(_PROJECTIONS):
        _put(pulled, rows, i, j, contact)
        for (a, b), square in zip(molecule.bonds, squares, strict=True):
            _approach(pulled, a, b, square)
    _put(pulled, rows, i, j, contact)
    return pulled


def _put(
    positions: NDArray[np.float64],
    rows: NDArray[np.int64],
    i: NDArray[np.int64],
    j: NDArray[np.int64],
    distance: NDArray[np.float64],
) -> None:
    """Give atoms i and j of each structure a distance, moving both by half, in place."""
    line = positions[rows, j] - positions[rows, i]
    length = np.linalg.norm(line, axis=-1)
    change = (0.5 * (distance - length) / np.maximum(length, 1e-6))[:, None] * line
    positions[rows, i] -= change
    positions[rows, j] += change


def _approach(positions: NDArray[np.float64], i: int, j: int, wanted: NDArray[np.float64]) -> None:
    """Bring the squared distance of two atoms nearer to what it should be, in place.

    The step (d² − r²) / (d² + r²) is that of r to d, to second order in the error, without a root.
    """
    line = positions[:, j] - positions[:, i]
    squared = (line**2).sum(-1)
    change = (0.5 * (wanted - squared) / np.maximum(wanted + squared, 1e-12))[:, None] * line
    positions[:, i] -= change
    positions[:, j] += change
