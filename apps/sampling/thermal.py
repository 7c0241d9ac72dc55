"""Langevin dynamics with a teacher: in OpenMM where it gives an exact system, in numpy elsewhere.

OpenMM runs many copies of the molecule in one context. Its Reference platform is the fastest one
for small molecules and repeats bitwise. Copies do not see each other, so that a system of 16 copies
is 16 trajectories.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import openmm
from numpy.typing import NDArray
from openmm import unit

from apps.sampling.field import Teacher
from apps.sampling.langevin import langevin_frames
from apps.sampling.settings import LangevinSettings
from data_store.streams import stream_seed

__all__ = ["thermal_frames"]


def thermal_frames(
    teacher: Teacher,
    temperature_K: float,
    copies: int,
    frames: int,
    settings: LangevinSettings,
    seed: int,
) -> NDArray[np.float64]:
    """Frames of independent trajectories at one temperature.

    Parameters
    ----------
    teacher : Teacher
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
    system = teacher.openmm_system(copies)
    if system is None:
        return langevin_frames(teacher, temperature_K, copies, frames, settings, seed)
    integrator = openmm.LangevinMiddleIntegrator(
        temperature_K, settings.friction_per_ps, settings.timestep_fs * 1e-3
    )
    integrator.setRandomNumberSeed(_positive(seed, "noise"))
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    start = np.tile(teacher.molecule.reference_positions, (copies, 1))
    context.setPositions(start * 0.1)
    context.setVelocitiesToTemperature(temperature_K, _positive(seed, "velocities"))
    integrator.step(round(settings.equilibration_fs / settings.timestep_fs))
    return np.stack(list(_frames(context, integrator, copies, frames, settings)))


def _frames(
    context: openmm.Context,
    integrator: openmm.Integrator,
    copies: int,
    frames: int,
    settings: LangevinSettings,
) -> Iterator[NDArray[np.float64]]:
    stride = max(1, round(settings.stride_fs / settings.timestep_fs))
    for _ in range(frames):
        integrator.step(stride)
        state = context.getState(getPositions=True)
        positions = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
        yield np.asarray(positions, dtype=np.float64).reshape(copies, -1, 3)


def _positive(seed: int, use: str) -> int:
    """Seed in 1 … 2³¹ − 2: OpenMM takes 0 for "choose one yourself"."""
    return 1 + stream_seed(seed, use) % (2**31 - 2)
