r"""Langevin dynamics of copies of a molecule on any force field, in numpy or by the field itself.

For teachers without an OpenMM system, or faster than it. All copies take a step together; they do
not see each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apps.sampling.field import Advancing, Field, LangevinStep, PhasePoint
from apps.sampling.settings import LangevinSettings
from data_store.streams import stream
from data_store.units import AMU_A2_PER_FS2_eV, ATOMIC_MASSES_amu, BOLTZMANN_eV_PER_K

__all__ = ["PhasePoint", "Thermostat", "baoab", "langevin_frames"]

_STEPS_AT_ONCE = 40
"""Steps whose noise is held at once."""

ForceFunction = Callable[[NDArray[np.float64]], NDArray[np.float64]]


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
    step = _step_of(thermostat, masses_amu, timestep_fs)
    velocities = point.velocities + step.half_kick * point.forces
    positions = point.positions + 0.5 * timestep_fs * velocities
    velocities = step.decay * velocities + step.width * noise
    positions = positions + 0.5 * timestep_fs * velocities
    forces = force_function(positions)
    return PhasePoint(positions, velocities + step.half_kick * forces, forces)


def _step_of(
    thermostat: Thermostat, masses_amu: NDArray[np.float64], timestep_fs: float
) -> LangevinStep:
    half_kick = 0.5 * timestep_fs / AMU_A2_PER_FS2_eV / masses_amu[:, None]
    decay = math.exp(-thermostat.friction_per_fs * timestep_fs)
    width = math.sqrt(1.0 - decay * decay) * thermostat.velocity_widths(masses_amu)
    return LangevinStep(timestep_fs, decay, half_kick, width)


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
    thermostat = Thermostat(temperature_K, 1e-3 * settings.friction_per_ps)
    rng = stream(seed, "langevin")
    point = _start(field, thermostat, copies, rng)
    point = _moved(field, point, thermostat, settings, settings.equilibration_fs, rng)
    kept = []
    for _ in range(frames):
        stride_fs = max(settings.stride_fs, settings.timestep_fs)
        point = _moved(field, point, thermostat, settings, stride_fs, rng)
        kept.append(point.positions)
    return np.stack(kept)


def _start(
    field: Field, thermostat: Thermostat, copies: int, rng: np.random.Generator
) -> PhasePoint:
    """The reference geometry, with velocities of the temperature."""
    masses = ATOMIC_MASSES_amu[list(field.molecule.numbers)]
    start = np.repeat(field.molecule.reference_positions[None], copies, axis=0)
    velocities = thermostat.velocity_widths(masses) * rng.normal(size=start.shape)
    return PhasePoint(start, velocities, field.energies_and_forces(start)[1])


def _moved(
    field: Field,
    point: PhasePoint,
    thermostat: Thermostat,
    settings: LangevinSettings,
    time_fs: float,
    rng: np.random.Generator,
) -> PhasePoint:
    """Where all copies are after some time: in one call where the field can, else step by step."""
    masses = ATOMIC_MASSES_amu[list(field.molecule.numbers)]

    def forces(positions: NDArray[np.float64]) -> NDArray[np.float64]:
        return field.energies_and_forces(positions)[1]

    steps = round(time_fs / settings.timestep_fs)
    for first in range(0, steps, _STEPS_AT_ONCE):
        shape = (min(_STEPS_AT_ONCE, steps - first), *point.positions.shape)
        noise, moved = rng.normal(size=shape), None
        if isinstance(field, Advancing):
            moved = field.advance(point, _step_of(thermostat, masses, settings.timestep_fs), noise)
        if moved is None:
            for drawn in noise:
                point = baoab(point, forces, masses, settings.timestep_fs, thermostat, drawn)
        else:
            point = moved
    return point
