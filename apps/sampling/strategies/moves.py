"""Changing one distance of a molecule: which atoms move along with each end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_store.molecules import Molecule

__all__ = ["companions", "set_distance", "side_of_bond"]


def side_of_bond(molecule: Molecule, i: int, j: int) -> NDArray[np.bool_] | None:
    """Atoms on the side of `j` when the bond i–j is cut; None where a ring holds it together."""
    neighbours = _neighbours(molecule)
    seen, waiting = {j}, [j]
    while waiting:
        atom = waiting.pop()
        for other in neighbours[atom]:
            if {atom, other} != {i, j} and other not in seen:
                seen.add(other)
                waiting.append(other)
    return None if i in seen else _mask(molecule, seen)


def companions(molecule: Molecule, atom: int, without: int) -> NDArray[np.bool_]:
    """An atom and the terminal atoms bonded to it (its hydrogens), but for `without`."""
    neighbours = _neighbours(molecule)
    terminal = {n for n in neighbours[atom] if len(neighbours[n]) == 1 and n != without}
    return _mask(molecule, {atom, *terminal})


def _neighbours(molecule: Molecule) -> list[set[int]]:
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
    distance_A: float,
    moving: tuple[NDArray[np.bool_], NDArray[np.bool_]],
) -> NDArray[np.float64]:
    """Shift both ends along their line, half each; all at j where nothing moves with i.

    Parameters
    ----------
    positions : ndarray, shape (N, 3)
    pair : tuple of int
        The ends, i and j.
    distance_A : float
        Their new distance.
    moving : tuple of ndarray of bool, shape (N,)
        What moves with i, and with j.
    """
    i, j = pair
    line = positions[j] - positions[i]
    length = float(np.linalg.norm(line))
    change = (distance_A - length) * line / length
    share = 0.5 if moving[0].any() else 1.0
    moved = positions.copy()
    moved[moving[0]] -= (1.0 - share) * change
    moved[moving[1]] += share * change
    return moved
