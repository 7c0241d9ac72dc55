"""Pairs: two copies of the molecule in contact, in any orientation.

A pair counts as of the trajectory that its first copy comes from.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apps.sampling.settings import PairSettings
from data_store.molecules import Molecule
from data_store.units import COVALENT_RADII_A

__all__ = ["bring_into_contact", "first_contact", "turned"]


def bring_into_contact(
    molecule: Molecule,
    base: NDArray[np.float64],
    settings: PairSettings,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Put a second copy next to each structure: another of the structures, turned at random.

    It comes from a random direction, aimed at a random atom with a random atom of its own, and
    stops where the closest two atoms of different copies are a uniform multiple of the sum of their
    covalent radii apart.

    Parameters
    ----------
    molecule : Molecule
    base : ndarray, shape (S, N, 3)
        In Å.
    settings : PairSettings
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (S, 2N, 3)
        Atoms of the second copy after those of the first.
    """
    count, atoms = base.shape[:2]
    rows = np.arange(count)
    second = turned(base[rng.permutation(count)], rng)
    aimed_at, aiming = rng.integers(atoms, size=(2, count))
    second += (base[rows, aimed_at] - second[rows, aiming])[:, None]
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    radii = COVALENT_RADII_A[list(molecule.numbers)]
    contact = rng.uniform(*settings.contact, size=(count, 1, 1))
    distances = contact * (radii[:, None] + radii[None, :])
    shift = first_contact(base, second, direction, distances)
    return np.concatenate([base, second + (shift[:, None] * direction)[:, None]], axis=1)


def turned(positions: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Each structure in an orientation of its own, uniform over all (Shoemake 1992)."""
    quaternions = rng.normal(size=(len(positions), 4))
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    real, axis = quaternions[:, None, :1], quaternions[:, None, 1:]
    crossed = 2.0 * np.cross(axis, positions)
    return np.asarray(positions + real * crossed + np.cross(axis, crossed))


def first_contact(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    direction: NDArray[np.float64],
    distances: NDArray[np.float64],
) -> NDArray[np.float64]:
    """How far out along the direction the first two atoms touch, (S,) in Å.

    Atoms a and b with the separation d are R apart where |d + t u| = R; the farthest of all such t
    is where a second molecule coming from outside stops.
    """
    apart = second[:, None, :, :] - first[:, :, None, :]
    along = np.einsum("sabx,sx->sab", apart, direction)
    under_root = along**2 - (apart**2).sum(-1) + distances**2
    outer = np.where(under_root >= 0.0, np.sqrt(np.maximum(under_root, 0.0)) - along, -np.inf)
    return np.asarray(outer.max(axis=(1, 2)))
