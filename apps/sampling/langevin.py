r"""Langevin dynamics of many copies of a molecule on any force field, in numpy.

For teachers without an OpenMM system, or faster than it. All copies take a step together; they do
not see each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apps.sampling.field import Field
from apps.sampling.settings import LangevinSettings
from data_store.streams import stream
from data_store.units import AMU_A2_PER_FS2_eV, ATOMIC_MASSES_amu, BOLTZMANN_eV_PER_K

__all__ = ["PhasePoint", "Thermostat", "baoab", "langevin_frames"]

ForceFunction = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class PhasePoint:
    """Where all copies are: positions (Å), velocities (Å/fs) and forces (eV/Å), (R, N, 3) each."""

    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]
    forces: NDArray[np.float64]


@dataclass(frozen=True)
class Thermostat:
    """Temperature and friction."""

    temperature_K: float
    friction_per_fs: float

    def velocity_widths(self, masses_amu: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standard deviation of each component of a velocity, (N, 1), in Å/fs."""
        energy = BOLTZMANN_eV_PER_K * self.temperature_K / AMU_A2_PER_FS2_eV
        return np.asarray(np.sqrt(energy / masses_amu)[:, None])


def baoab(
    point: PhasePoint,
    force_function: ForceFunction,
    masses_amu: NDArray[np.float64],
    timestep_fs: float,
    thermostat: Thermostat,
    noise: NDArray[np.float64],
) -> PhasePoint:
    r"""Langevin step: half kick, half drift, friction and noise, half drift, half kick.

    .. math:: v \leftarrow e^{-\gamma h} v + \sqrt{(1 - e^{-2 \gamma h}) k_B T / m}\; \xi

    Leimkuhler and Matthews 2013, doi:10.1093/amrx/abs010.

    Parameters
    ----------
    point : PhasePoint
    force_function : callable
        From positions to forces; called once.
    masses_amu : ndarray, shape (N,)
    timestep_fs : float
        ``h``.
    thermostat : Thermostat
    noise : ndarray, shape (R, N, 3)
        Standard normal ``ξ``.
    """
    half_kick = 0.5 * timestep_fs / AMU_A2_PER_FS2_eV / masses_amu[:, None]
    decay = math.exp(-thermostat.friction_per_fs * timestep_fs)
    width = math.sqrt(1.0 - decay * decay) * thermostat.velocity_widths(masses_amu)
    velocities = point.velocities + half_kick * point.forces
    positions = point.positions + 0.5 * timestep_fs * velocities
    velocities = decay * velocities + width * noise
    positions = positions + 0.5 * timestep_fs * velocities
    forces = force_function(positions)
    return PhasePoint(positions, velocities + half_kick * forces, forces)


def langevin_frames(
    field: Field,
    temperature_K: float,
    copies: int,
    frames: int,
    settings: LangevinSettings,
    seed: int,
) -> NDArray[np.float64]:
    """Frames of independent trajectories from the reference geometry.

    Parameters
    ----------
    field : Field
    temperature_K : float
    copies : int
        Trajectories.
    frames : int
        Of each.
    settings : LangevinSettings
    seed : int
        Decides velocities and noise.

    Returns
    -------
    ndarray, shape (frames, copies, N, 3)
        In Å.
    """
    steps = _trajectory(field, Thermostat(temperature_K, 1e-3 * settings.friction_per_ps),
                        copies, settings.timestep_fs, stream(seed, "langevin"))  # fmt: skip
    before = round(settings.equilibration_fs / settings.timestep_fs)
    stride = max(1, round(settings.stride_fs / settings.timestep_fs))
    kept = []
    for step in range(1, before + frames * stride + 1):
        positions = next(steps)
        if step > before and (step - before) % stride == 0:
            kept.append(positions)
    return np.stack(kept)


def _trajectory(
    field: Field,
    thermostat: Thermostat,
    copies: int,
    timestep_fs: float,
    rng: np.random.Generator,
) -> Iterator[NDArray[np.float64]]:
    masses = ATOMIC_MASSES_amu[list(field.molecule.numbers)]
    start = np.repeat(field.molecule.reference_positions[None], copies, axis=0)

    def forces(positions: NDArray[np.float64]) -> NDArray[np.float64]:
        return field.energies_and_forces(positions)[1]

    velocities = thermostat.velocity_widths(masses) * rng.normal(size=start.shape)
    point = PhasePoint(start, velocities, forces(start))
    while True:
        noise = rng.normal(size=start.shape)
        point = baoab(point, forces, masses, timestep_fs, thermostat, noise)
        yield point.positions
