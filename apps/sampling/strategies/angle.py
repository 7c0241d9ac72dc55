"""Angle scans: one bond angle opened or closed, over random other modes."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from apps.sampling.settings import AngleSettings
from apps.sampling.strategies.moves import companions, neighbours, rotate, side_of_bond
from data_store.molecules import Molecule

__all__ = ["bend_angles", "bond_angles"]

_STRAIGHT = 1e-3
"""Sine of an angle below which its plane is arbitrary."""


def bond_angles(molecule: Molecule) -> list[tuple[int, int, int]]:
    """Atoms i–j–k of every bond angle, with i < k."""
    return [
        (i, j, k)
        for j, around in enumerate(neighbours(molecule))
        for i, k in combinations(sorted(around), 2)
    ]


def bend_angles(
    molecule: Molecule,
    base: NDArray[np.float64],
    settings: AngleSettings,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Bend one random angle of each structure by a uniform number of degrees.

    The fragment beyond one of its bonds turns rigidly about the normal of the angle's plane; where
    rings hold both, both end atoms turn by half, with their terminal companions. An angle bent
    beyond 180° or below 0° comes out on the other side.

    Parameters
    ----------
    molecule : Molecule
        With at least one angle (`bond_angles`).
    base : ndarray, shape (S, N, 3)
    settings : AngleSettings
    rng : numpy.random.Generator
    """
    angles = bond_angles(molecule)
    moving = [_moving(molecule, *angle) for angle in angles]
    chosen = rng.integers(len(angles), size=len(base))
    bends = np.radians(rng.uniform(*settings.bend_degrees, size=len(base)))
    spare = rng.normal(size=(len(base), 3))
    bent = base.copy()
    for row, (angle, bend) in enumerate(zip(chosen, bends, strict=True)):
        i, j, k = angles[angle]
        centre = base[row, j]
        normal = _normal(base[row, i] - centre, base[row, k] - centre, spare[row])
        for atoms, share in moving[angle]:
            bent[row] = rotate(bent[row], atoms, centre, normal, share * bend)
    return bent


def _moving(molecule: Molecule, i: int, j: int, k: int) -> list[tuple[NDArray[np.bool_], float]]:
    """What turns, and by which share of the bend."""
    for end, sign in ((k, 1.0), (i, -1.0)):
        side = side_of_bond(molecule, j, end)
        if side is not None:
            return [(side, sign)]
    return [(companions(molecule, k, j), 0.5), (companions(molecule, i, j), -0.5)]


def _normal(
    first: NDArray[np.float64], last: NDArray[np.float64], spare: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Normal of the plane of two bonds; at random across them where they are one line."""
    normal = np.cross(first, last)
    if np.linalg.norm(normal) < _STRAIGHT * np.linalg.norm(first) * np.linalg.norm(last):
        normal = np.cross(first, spare)
    return np.asarray(normal)
