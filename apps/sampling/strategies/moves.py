"""Moving a part of a molecule: which atoms go along, and rigid shifts and turns of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_store.molecules import Molecule

__all__ = ["companions", "neighbours", "rotate", "set_distance", "side_of_bond"]


def side_of_bond(molecule: Molecule, i: int, j: int) -> NDArray[np.bool_] | None:
    """Atoms on the side of `j` when the bond i–j is cut; None where a ring holds it together."""
    around = neighbours(molecule)
    seen, waiting = {j}, [j]
    while waiting:
        atom = waiting.pop()
        for other in around[atom]:
            if {atom, other} != {i, j} and other not in seen:
                seen.add(other)
                waiting.append(other)
    return None if i in seen else _mask(molecule, seen)


def companions(molecule: Molecule, atom: int, without: int) -> NDArray[np.bool_]:
    """An atom and the terminal atoms bonded to it (its hydrogens), but for `without`."""
    around = neighbours(molecule)
    terminal = {n for n in around[atom] if len(around[n]) == 1 and n != without}
    return _mask(molecule, {atom, *terminal})


def neighbours(molecule: Molecule) -> list[set[int]]:
    """Atoms bonded to each atom."""
    found: list[set[int]] = [set() for _ in molecule.numbers]
    for i, j in molecule.bonds:
        found[i].add(j)
        found[j].add(i)
    return found


def _mask(molecule: Molecule, atoms: set[int]) -> NDArray[np.bool_]:
    mask = np.zeros(len(molecule.numbers), dtype=bool)
    mask[list(atoms)] = True
    return mask


def set_distance(
    positions: NDArray[np.float64],
    pair: tuple[int, int],
    distance_A: float | NDArray[np.float64],
    moving: tuple[NDArray[np.bool_], NDArray[np.bool_]],
) -> NDArray[np.float64]:
    """Shift both ends along their line, half each; all at j where nothing moves with i.

    Parameters
    ----------
    positions : ndarray, shape (..., N, 3)
    pair : tuple of int
        The ends, i and j.
    distance_A : float or ndarray, shape (...)
        Their new distance.
    moving : tuple of ndarray of bool, shape (N,)
        What moves with i, and with j.
    """
    i, j = pair
    line = positions[..., j, :] - positions[..., i, :]
    length = np.linalg.norm(line, axis=-1)
    change = ((distance_A - length) / length)[..., None, None] * line[..., None, :]
    share = 0.5 if moving[0].any() else 1.0
    moved = positions.copy()
    moved[..., moving[0], :] -= (1.0 - share) * change
    moved[..., moving[1], :] += share * change
    return moved


def rotate(
    positions: NDArray[np.float64],
    moving: NDArray[np.bool_],
    centre: NDArray[np.float64],
    axis: NDArray[np.float64],
    angle: float,
) -> NDArray[np.float64]:
    """Turn some atoms about an axis through a point (Rodrigues' formula).

    Parameters
    ----------
    positions : ndarray, shape (N, 3)
    moving : ndarray of bool, shape (N,)
    centre, axis : ndarray, shape (3,)
        The axis of any length.
    angle : float
        In radians, right-handed.
    """
    unit = axis / np.linalg.norm(axis)
    arms = positions[moving] - centre
    along = np.outer(arms @ unit, unit)
    turned = positions.copy()
    turned[moving] = (
        centre + along + np.cos(angle) * (arms - along) + np.sin(angle) * np.cross(unit, arms)
    )
    return turned
