"""Frames of exploration that may be picked, and on each the disagreement of a committee."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.contract import Request
from apps.selection.picks import disagreement, last_trusted
from data_store.molecules import Molecule
from data_store.parts import Part
from data_store.runs import runs_from_part

__all__ = ["Candidates", "Explored", "candidates_of", "explored_of"]

_AT_ONCE = 128
"""Frames evaluated in one batch."""


@dataclass(frozen=True)
class Explored:
    """What exploration came to at one temperature.

    Parameters
    ----------
    part : Part
    temperature_K : float
    replicas, failures : int
    exposure_ps : float
    """

    part: Part
    temperature_K: float
    replicas: int
    failures: int
    exposure_ps: float


def explored_of(parts: list[Part]) -> list[Explored]:
    """Exploration of a round, by temperature."""
    found = []
    for part in parts:
        runs = runs_from_part(part)
        failures = sum(run.failed for run in runs)
        watched = math.fsum(run.time_ps for run in runs)
        temperature = float(part.metadata["temperature_K"])
        found.append(Explored(part, temperature, len(runs), failures, watched))
    return found


@dataclass(frozen=True, eq=False)
class Candidates:
    """Frames that may be picked.

    Parameters
    ----------
    positions : ndarray, shape (F, N, 3)
        In Å.
    disagreement : ndarray, shape (F,)
        In eV/Å; not finite where two atoms are too near to be shown to an expert.
    at_failure : ndarray of bool, shape (F,)
    replicas : ndarray of int64, shape (F,)
        Numbered over all temperatures.
    told : dict of str to int
        How many of what there were.
    """

    positions: NDArray[np.float32]
    disagreement: NDArray[np.float64]
    at_failure: NDArray[np.bool_]
    replicas: NDArray[np.int64]
    told: dict[str, int]


def candidates_of(
    req: Request, molecule: Molecule, explored: list[Explored], most_eV_per_A: float
) -> Candidates:
    """Saved frames of all replicas, and of each that failed the last that may be shown.

    Parameters
    ----------
    req : Request
        Inputs ``model`` and ``committee``; setting ``least_distance_A``.
    molecule : Molecule
    explored : list of Explored
    most_eV_per_A : float
    """
    shape = (0, len(molecule.numbers), 3)
    positions: list[NDArray[np.float32]] = [np.zeros(shape, np.float32)]
    replicas: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    last: list[NDArray[np.bool_]] = [_flags(0)]
    offset = 0
    for one in explored:
        for kind, is_last in (("saved", False), ("last_frames", True)):
            if f"{kind}_positions" in one.part.units:
                positions.append(one.part.read(f"{kind}_positions", "Å"))
                replicas.append(offset + one.part.read(f"{kind}_replica", "").astype(np.int64))
                last.append(_flags(len(positions[-1]), is_last))
        offset += one.replicas
    every, whose, before = np.concatenate(positions), np.concatenate(replicas), np.concatenate(last)
    values = _values(req, molecule, every)
    kept = ~before
    untrusted = 0
    for replica in np.unique(whose[before]):
        rows = np.flatnonzero(before & (whose == replica))
        place = last_trusted(values[rows], most_eV_per_A)
        untrusted += place is None
        kept[rows if place is None else rows[place]] = place is not None
    told = {
        "failed_replicas": len(np.unique(whose[before])),
        "failed_without_a_frame": untrusted,
        "saved": int((~before).sum()),
        "too_strange": int((~(values[~before] <= most_eV_per_A)).sum()),
    }
    return Candidates(every[kept], values[kept], before[kept], whose[kept], told)


def _flags(count: int, value: bool = False) -> NDArray[np.bool_]:
    return np.full(count, value)


def _values(
    req: Request, molecule: Molecule, positions: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Disagreement on each frame; infinite where two atoms are too near."""
    values = np.full(len(positions), np.inf)
    shown = np.flatnonzero(_least_distances(positions) >= req.settings["least_distance_A"])
    for rows in _blocks(shown):
        values[rows] = disagreement(_forces(req, molecule, positions[rows]))
    values[~np.isfinite(values)] = np.inf
    return values


def _least_distances(positions: NDArray[np.float32]) -> NDArray[np.float64]:
    """Shortest distance in each frame; infinite for a lone atom."""
    one, other = np.triu_indices(positions.shape[1], k=1)
    apart = positions[:, one].astype(np.float64) - positions[:, other]
    return np.asarray(np.linalg.norm(apart, axis=-1).min(axis=-1, initial=np.inf))


def _blocks(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for first in range(0, len(rows), _AT_ONCE):
        yield rows[first : first + _AT_ONCE]


def _forces(req: Request, molecule: Molecule, positions: NDArray[np.float32]) -> NDArray[Any]:
    """Forces of each model of the committee, (models, F, N, 3)."""
    import torch

    from apps.potential.evaluate import molecular_force_function
    from apps.potential.weights import load_potential

    torch.set_num_threads(req.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    numbers = torch.tensor(molecule.numbers, device=device)
    where = torch.from_numpy(positions).to(device)
    found = []
    for part in (*req.input_parts("model"), *req.input_parts("committee")):
        potential = load_potential(part.file("model.safetensors")).to(device)
        _, forces = molecular_force_function(potential, numbers)(where)
        found.append(forces.cpu().numpy())
    return np.stack(found)
