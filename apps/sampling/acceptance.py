"""The acceptance window: which candidates are kept, and why the others are not.

Unreasonable structures are wanted, impossible ones are not: a force field says nothing useful where
atoms sit on each other. What is rejected is counted by the first reason that applies.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apps.sampling.native.batches import closest, is_compiled
from apps.sampling.settings import SamplingSettings

__all__ = ["REASONS", "accept", "shortest_distances"]

_BLOCK = 1024
"""Structures whose distances are held at once."""

REASONS = ("not_finite", "close_contact", "close_hydrogens", "high_energy", "large_force")
"""Reasons of rejection, in the order in which they are tried."""


def accept(
    numbers: NDArray[np.int64],
    positions: NDArray[np.float64],
    energies: NDArray[np.float64],
    forces: NDArray[np.float64],
    window: SamplingSettings,
) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Apply the window.

    Parameters
    ----------
    numbers : ndarray, shape (N,)
    positions, forces : ndarray, shape (S, N, 3)
        In Å and eV/Å.
    energies : ndarray, shape (S,)
        Above the minimum, in eV.
    window : SamplingSettings

    Returns
    -------
    accepted : ndarray of bool, shape (S,)
    rejections : dict of str to int
        Count of every reason in `REASONS`.
    """
    finite = np.isfinite(positions).all((1, 2)) & np.isfinite(energies)
    finite &= np.isfinite(forces).all((1, 2))
    others, hydrogens = shortest_distances(numbers, positions)
    largest = np.sqrt(np.nanmax((forces**2).sum(-1), axis=1, initial=0.0))
    verdicts = (
        ~finite,
        others < window.min_distance_A,
        hydrogens < min(window.min_distance_HH_A, window.min_distance_A),
        energies > window.max_energy_eV_per_atom * len(numbers),
        largest > window.max_force_eV_per_A,
    )
    accepted = np.ones(len(positions), dtype=bool)
    rejections = {}
    for reason, verdict in zip(REASONS, verdicts, strict=True):
        rejections[reason] = int((accepted & verdict).sum())
        accepted &= ~verdict
    return accepted, rejections


def shortest_distances(
    numbers: NDArray[np.int64], positions: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shortest distance of two atoms not both hydrogens, and of two hydrogens, (S,) each, in Å.

    Infinite where there is no such pair.
    """
    hydrogens = np.asarray(numbers) == 1
    if is_compiled():
        return closest(positions, hydrogens)
    both = hydrogens[:, None] & hydrogens[None, :]
    found = np.empty((2, len(positions)))
    for start in range(0, len(positions), _BLOCK):
        rows = slice(start, start + _BLOCK)
        distances = _distances(positions[rows])
        found[:, rows] = _closest(distances, ~both), _closest(distances, both)
    return found[0], found[1]


def _distances(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    distances = np.linalg.norm(positions[:, :, None] - positions[:, None, :], axis=-1)
    atoms = np.arange(positions.shape[1])
    distances[:, atoms, atoms] = np.inf
    return np.asarray(distances)


def _closest(distances: NDArray[np.float64], among: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(np.where(among, distances, np.inf).min(axis=(1, 2)))
