"""Failure criteria: pure functions of a batch of replicas, evaluated where the replicas are.

Each says which replicas failed, the quantity that decided, and the atoms it belongs to. Thresholds
come from the settings; a criterion keeps no state between checks and reads nothing back to the
host. Since when a condition has held that must last is the engine's to know
(`apps.dynamics.lasting`). What each is in words, its unit and its source are in
`apps.dynamics.criteria_records`; those that other works define are in
`apps.dynamics.criteria_published`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from apps.dynamics.criteria_registry import find_criterion
from apps.dynamics.findings import Finding, Units, no_atoms, nothing_found
from apps.dynamics.images import nearest_images, nearest_pairs
from apps.dynamics.integrators import PhasePoint
from apps.dynamics.lasting import Since, changed, lasted, lasting_steps
from apps.dynamics.settings import DynamicsSettings
from apps.dynamics.thermal import kinetic_energy

if TYPE_CHECKING:
    from apps.dynamics.criteria_records import Criterion, Judge

__all__ = [
    "Finding",
    "Units",
    "Watched",
    "distances_of",
    "first_failure",
    "judges",
    "no_atoms",
    "nothing_found",
    "too_close",
    "worst_bond",
]


@dataclass(frozen=True)
class Watched:
    """What criteria know of the system.

    Parameters
    ----------
    numbers : Tensor of int64, shape (N,)
        Atomic numbers.
    masses_amu : Tensor, shape (N,)
    bonds : Tensor of int64, shape (M, 2)
    bond_lengths_A : Tensor, shape (M,)
        Reference: the mean over the labels of the smallest pool.
    others : Tensor of int64, shape (P, 2)
        Pairs that are not bonded.
    least_distances_A : Tensor, shape (P,)
    hot_eV : float
        Kinetic energy that a sound replica does not reach.
    temperature_K : float
        Of the run: of the thermostat, or of the first velocities.
    cell : Tensor of float64, shape (3, 3), or None
        Rows in Å, of a box that is periodic in all directions; None where there is none. Distances
        are then those of nearest images.
    molecule_of : Tensor of int64, shape (N,), or None
        Which molecule of a box an atom belongs to, numbered from 0.
    energy_line_eV : float
        Energy of this composition on the line through the labels (`apps.dynamics.energy_bounds`);
        not a number where there is none.
    energy_bounds_eV : tuple of float
        Least and largest plausible potential energy above that line, in eV per atom.
    """

    numbers: Tensor
    masses_amu: Tensor
    bonds: Tensor
    bond_lengths_A: Tensor
    others: Tensor
    least_distances_A: Tensor
    hot_eV: float
    temperature_K: float
    cell: Tensor | None = None
    molecule_of: Tensor | None = None
    energy_line_eV: float = math.nan
    energy_bounds_eV: tuple[float, float] = (-math.inf, math.inf)


def worst_bond(point: PhasePoint, watched: Watched) -> tuple[Tensor, Tensor]:
    """Largest change (R,) of a bond's length from its reference in Å, and its atoms (R, 2).

    There must be a bond.
    """
    lengths = distances_of(point.positions, watched.bonds, watched.cell)
    change = (lengths - watched.bond_lengths_A).abs()
    value, worst = change.max(dim=1)
    return value, watched.bonds[worst]


def distances_of(positions: Tensor, pairs: Tensor, cell: Tensor | None) -> Tensor:
    """Distances (R, P) of pairs in Å, in the nearest image where there is a box."""
    vectors = positions[:, pairs[:, 0]] - positions[:, pairs[:, 1]]
    lengths: Tensor = torch.linalg.vector_norm(nearest_images(vectors, cell), dim=-1)
    return lengths


def bond_stretch(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    """A bond's length is further from its reference than ``stretch_A``; value in Å."""
    if not len(watched.bonds):
        return nothing_found(point)
    value, atoms = worst_bond(point, watched)
    return Finding(value > settings.stretch_A, value, atoms)


def close_contact(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    """Two atoms that are not bonded are closer than allowed; value in Å."""
    if not len(watched.others):
        return nothing_found(point)
    if watched.cell is not None:
        atoms = len(watched.numbers)
        reach = watched.least_distances_A.new_zeros(atoms, atoms)
        i, j = watched.others.unbind(1)
        reach[i, j] = reach[j, i] = watched.least_distances_A
        return too_close(point, reach, watched.cell)
    distances = distances_of(point.positions, watched.others, None)
    worst = (distances / watched.least_distances_A).argmin(dim=1)
    value = distances.gather(1, worst[:, None])[:, 0]
    return Finding(value < watched.least_distances_A[worst], value, watched.others[worst])


def too_close(point: PhasePoint, reach: Tensor, cell: Tensor | None) -> Finding:
    """Two atoms are nearer than the reach (N, N) of their pair in Å; value in Å."""
    shares, others = nearest_pairs(point.positions, reach, cell)
    share, first = shares.min(dim=1)
    second = others.gather(1, first[:, None])[:, 0]
    value = share * reach[first, second]
    return Finding(share < 1.0, value, torch.stack([first, second], dim=1))


def hot(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    """Kinetic energy beyond a far quantile of its χ² distribution; value in eV."""
    value = kinetic_energy(point.velocities, watched.masses_amu)
    return Finding(value > watched.hot_eV, value, no_atoms(value))


def not_finite(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    """A position, velocity, force or energy is no number any more."""
    total = (point.positions + point.velocities + point.forces).sum((1, 2)) + point.energies
    return Finding(~torch.isfinite(total), torch.full_like(total, torch.nan), no_atoms(total))


def large_force(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    """A force beyond ``max_force_eV_per_A``; value in eV/Å."""
    value, atom = torch.linalg.vector_norm(point.forces, dim=-1).max(dim=1)
    atoms = no_atoms(value)
    atoms[:, 0] = atom
    return Finding(value > settings.max_force_eV_per_A, value, atoms)


@cache
def judges(names: tuple[str, ...]) -> tuple[Judge, ...]:
    """Functions of criteria by name, loaded once.

    Raises
    ------
    InputError
        If one cannot be found or loaded.
    """
    return tuple(find_criterion(name).judge() for name in names)


@cache
def _records(names: tuple[str, ...]) -> tuple[Criterion, ...]:
    return tuple(find_criterion(name) for name in names)


def first_failure(
    point: PhasePoint,
    watched: Watched,
    settings: DynamicsSettings,
    step: int = 0,
    since: Since | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Evaluate the declared criteria; the first in their order that applies names the cause.

    Parameters
    ----------
    point : PhasePoint
    watched : Watched
    settings : DynamicsSettings
    step : int
        Of this check.
    since : dict of str to Tensor, optional
        What is kept between checks: since when conditions that must last have held, and values at
        the first check; changed in place.

    Returns
    -------
    cause : Tensor of int64, shape (R,)
        Place in ``settings.criteria``, −1 where none applies.
    value : Tensor, shape (R,)
    atoms : Tensor of int64, shape (R, 2)
    """
    since = {} if since is None else since
    cause = torch.full((len(point.energies),), -1, device=point.energies.device)
    value = torch.full_like(point.energies, torch.nan)
    atoms = no_atoms(value)
    records = _records(settings.criteria)
    for place, (record, judge) in enumerate(zip(records, judges(settings.criteria), strict=True)):
        finding = judge(point, watched, settings)
        if steps := lasting_steps(record, settings):
            before = since.get(record.name)
            finding, since[record.name] = lasted(finding, steps, step, before)
        elif record.largest_change:
            bound = float(dict(settings)[record.largest_change])
            before = since.get(record.name)
            finding, since[record.name] = changed(finding, bound, before)
        new = finding.failed & (cause < 0)
        cause = torch.where(new, place, cause)
        value = torch.where(new, finding.value, value)
        atoms = torch.where(new[:, None], finding.atoms, atoms)
    return cause, value, atoms
