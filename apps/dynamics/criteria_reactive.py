"""Criteria of dynamics in which bonds may break: what no chemistry does, and what ends a watch.

For molecules of hydrogen and oxygen. A bond is what is closer than `apps.dynamics.species.FORM`
lengths; there is no hysteresis here, for a criterion keeps nothing between checks: what must last
is timed by the engine. Other elements are not judged by `valence`, since nobody has measured for
them what published reaction paths visit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from apps.dynamics.criteria import Watched
from apps.dynamics.findings import Finding, Units, no_atoms
from apps.dynamics.images import nearest_images
from apps.dynamics.integrators import PhasePoint
from apps.dynamics.settings import DynamicsSettings
from apps.dynamics.species import FORM, bond_length_A
from apps.dynamics.thermal import kinetic_energy

__all__ = ["MOST_BONDS", "dissociated", "energy_runaway", "nve_drift", "valence"]

MOST_BONDS = {1: 1, 8: 2}
"""Bonds that an atom of H and of O may have for good."""


def valence(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    """A hydrogen has more than one bond, or an oxygen more than two; value: bonds of that atom."""
    distances = _distances(point.positions, watched)
    device = watched.numbers.device
    elements = list(MOST_BONDS)
    lengths = torch.tensor(
        [[bond_length_A(a, b) for b in elements] for a in elements],
        dtype=distances.dtype, device=device,
    )  # fmt: skip
    is_of = torch.stack([watched.numbers == z for z in elements]).to(distances.dtype)  # (2, N)
    bounds = FORM * is_of.T @ lengths @ is_of  # (N, N); 0 where one is of another element
    bounds = bounds - torch.diag(torch.diagonal(bounds))
    near = distances < bounds
    bonds = near.sum(-1)
    most = is_of.T @ torch.tensor(
        [MOST_BONDS[z] for z in elements], dtype=is_of.dtype, device=device
    )
    excess = bonds - most
    # Of atoms with as many bonds too many, the one that is crowded most.
    crowding = torch.where(near, 1.0 - distances / bounds.clamp(min=1e-9), 0.0).sum(-1)
    worst = (excess + 0.01 * crowding).argmax(dim=1)
    atoms = no_atoms(point.energies)
    atoms[:, 0] = worst
    values = bonds.to(point.energies.dtype)
    too_many = (excess > 0) & (most > 0)
    each = torch.stack([torch.arange(len(most), device=device), torch.full_like(most, -1)], dim=1)
    return Finding(
        too_many.any(dim=1), values.gather(1, worst[:, None])[:, 0], atoms,
        Units(too_many, values, each.long()),
    )  # fmt: skip


def _distances(positions: Tensor, watched: Watched) -> Tensor:
    """All distances (R, N, N), in the nearest image where there is a box."""
    vectors = nearest_images(positions[:, :, None] - positions[:, None], watched.cell)
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=-1)
    return lengths


def energy_runaway(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    """The potential energy is lower or higher than is plausible; value in eV per atom.

    Above the labels' composition line, for which see `apps.dynamics.energy_bounds`.
    """
    value = (point.energies - watched.energy_line_eV) / len(watched.numbers)
    low, high = watched.energy_bounds_eV
    return Finding((value < low) | (value > high), value, no_atoms(value))


def nve_drift(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    """Total energy in eV per atom: what it is at the start is kept, and its change judged."""
    total = point.energies + kinetic_energy(point.velocities, watched.masses_amu)
    value = total / len(watched.numbers)
    return Finding(torch.zeros_like(value, dtype=torch.bool), value, no_atoms(value))


def dissociated(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    """A fragment is further than ``dissociation_A`` from all others; value in Å.

    The value is the widest gap that cannot be gone around: over all pairs of atoms, the largest of
    the least longest steps between them (minimax paths, by Floyd and Warshall's recursion).
    """
    paths = _distances(point.positions, watched)
    for via in range(len(watched.numbers)):
        through = torch.maximum(paths[:, :, via, None], paths[:, None, via, :])
        paths = torch.minimum(paths, through)
    value = paths.flatten(1).amax(dim=1)
    return Finding(value > settings.dissociation_A, value, no_atoms(value))
