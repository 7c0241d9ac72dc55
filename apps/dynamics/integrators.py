r"""One step of dynamics: BAOAB for the Langevin equation, velocity Verlet for constant energy.

Pure functions of phase-space points; all replicas of a batch take the step together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from data_store.units import AMU_A2_PER_FS2_eV, BOLTZMANN_eV_PER_K

__all__ = ["INTEGRATORS", "PhasePoint", "Thermostat", "baoab", "velocity_verlet"]

ForceFunction = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class PhasePoint:
    """Where all replicas of a batch are.

    Parameters
    ----------
    positions : Tensor, shape (R, N, 3)
        In Å.
    velocities : Tensor, shape (R, N, 3)
        In Å/fs.
    forces : Tensor, shape (R, N, 3)
        In eV/Å, at these positions.
    energies : Tensor, shape (R,)
        In eV, at these positions.
    """

    positions: Tensor
    velocities: Tensor
    forces: Tensor
    energies: Tensor


@dataclass(frozen=True)
class Thermostat:
    """Temperature and friction."""

    temperature_K: float
    friction_per_fs: float


def _kick(point: PhasePoint, masses_amu: Tensor, time_fs: float) -> Tensor:
    return point.velocities + (time_fs / AMU_A2_PER_FS2_eV) * point.forces / masses_amu[:, None]


def baoab(
    point: PhasePoint,
    force_function: ForceFunction,
    masses_amu: Tensor,
    timestep_fs: float,
    thermostat: Thermostat,
    noise: Tensor,
) -> PhasePoint:
    r"""Langevin step: half kick, half drift, friction and noise, half drift, half kick.

    .. math:: v \leftarrow e^{-\gamma h} v + \sqrt{(1 - e^{-2 \gamma h}) k_B T / m}\; \xi

    Leimkuhler and Matthews 2013, doi:10.1093/amrx/abs010. On a harmonic system positions sample the
    Boltzmann distribution exactly, at any stable step.

    Parameters
    ----------
    point : PhasePoint
    force_function : callable
        From positions to energies and forces; called once.
    masses_amu : Tensor, shape (N,)
    timestep_fs : float
        ``h``.
    thermostat : Thermostat
    noise : Tensor, shape (R, N, 3)
        Standard normal ``ξ``.
    """
    decay = math.exp(-thermostat.friction_per_fs * timestep_fs)
    variance = BOLTZMANN_eV_PER_K * thermostat.temperature_K / AMU_A2_PER_FS2_eV
    width = ((1.0 - decay * decay) * variance / masses_amu).sqrt()[:, None]
    velocities = _kick(point, masses_amu, 0.5 * timestep_fs)
    positions = point.positions + (0.5 * timestep_fs) * velocities
    velocities = decay * velocities + width * noise
    positions = positions + (0.5 * timestep_fs) * velocities
    energies, forces = force_function(positions)
    moved = PhasePoint(positions, velocities, forces, energies)
    velocities = _kick(moved, masses_amu, 0.5 * timestep_fs)
    return PhasePoint(positions, velocities, forces, energies)


def velocity_verlet(
    point: PhasePoint,
    force_function: ForceFunction,
    masses_amu: Tensor,
    timestep_fs: float,
    thermostat: Thermostat,
    noise: Tensor,
) -> PhasePoint:
    """Step at constant energy (Swope et al. 1982, doi:10.1063/1.442716), without any noise."""
    velocities = _kick(point, masses_amu, 0.5 * timestep_fs)
    positions = point.positions + timestep_fs * velocities
    energies, forces = force_function(positions)
    moved = PhasePoint(positions, velocities, forces, energies)
    return PhasePoint(positions, _kick(moved, masses_amu, 0.5 * timestep_fs), forces, energies)


INTEGRATORS = {"langevin": baoab, "nve": velocity_verlet}
"""By name of the ensemble."""
