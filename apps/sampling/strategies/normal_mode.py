r"""Normal modes: the relaxed molecule displaced along its vibrations, by energies of a temperature.

The Hessian is that of the teacher, by central differences of its forces. Displacements are straight
lines in Cartesian space: far from the minimum they stretch bonds that a real vibration would turn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apps.sampling.field import Field, Teacher
from apps.sampling.settings import NormalModeSettings
from data_store.units import AMU_A2_PER_FS2_eV, ATOMIC_MASSES_amu, BOLTZMANN_eV_PER_K

__all__ = ["displace_along_modes", "vibrations"]

_STEP_A = 1e-3
_LINEAR = 1e-3
"""Singular value of a rotation, over the largest one, below which it moves nothing."""

_LIGHT_cm_PER_fs = 2.99792458e-5


def displace_along_modes(
    teacher: Teacher,
    base: NDArray[np.float64],
    settings: NormalModeSettings,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    r"""Displace each structure along all vibrations at once.

    Of ``n`` vibrations the harmonic energy is :math:`E = n k_B T / 2` with a uniform ``T``, split
    at random: the point is uniform on the sphere :math:`\sum_i \lambda_i Q_i^2 / 2 = E`, so that
    each mode has :math:`k_B T / 2` in the mean. Modes softer than a limit, unstable ones too, are
    displaced as if they were as stiff as that, and so have less.

    Parameters
    ----------
    teacher : Teacher
        Of two atoms or more.
    base : ndarray, shape (S, N, 3)
        The relaxed geometry, in Å.
    settings : NormalModeSettings
    rng : numpy.random.Generator
    """
    stiffness, modes = vibrations(teacher, teacher.relaxed_positions)
    temperatures = rng.uniform(*settings.temperatures_K, size=len(base))
    energies = 0.5 * len(modes) * BOLTZMANN_eV_PER_K * temperatures
    on_sphere = rng.normal(size=(len(base), len(modes)))
    on_sphere /= np.linalg.norm(on_sphere, axis=1, keepdims=True)
    least = _stiffness(settings.softest_per_cm)
    amplitudes = on_sphere * np.sqrt(2.0 * energies[:, None] / np.maximum(stiffness, least))
    return np.asarray(base + np.einsum("sm,mnx->snx", amplitudes, modes))


def _stiffness(wavenumber_per_cm: float) -> float:
    """Mass-weighted force constant of a wavenumber, in eV/(amu Å²)."""
    frequency = 2.0 * np.pi * _LIGHT_cm_PER_fs * wavenumber_per_cm
    return float(frequency**2 * AMU_A2_PER_FS2_eV)


def vibrations(
    field: Field, positions: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Harmonic vibrations about a geometry: 3N − 6 of them, 3N − 5 where it is linear.

    Parameters
    ----------
    field : Field
    positions : ndarray, shape (N, 3)
        In Å.

    Returns
    -------
    stiffness : ndarray, shape (M,)
        Mass-weighted force constants in eV/(amu Å²), ascending; negative where unstable.
    modes : ndarray, shape (M, N, 3)
        Displacements in Å of one Å √amu; orthonormal when mass-weighted.
    """
    roots = np.repeat(np.sqrt(ATOMIC_MASSES_amu[list(field.molecule.numbers)]), 3)
    weighted = _hessian(field, positions) / np.outer(roots, roots)
    inside = _internal(positions, roots)
    stiffness, vectors = np.linalg.eigh(inside.T @ weighted @ inside)
    modes = (inside @ vectors).T / roots
    return stiffness, modes.reshape(-1, *positions.shape)


def _hessian(field: Field, positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Second derivatives in eV/Å², (3N, 3N)."""
    steps = _STEP_A * np.eye(positions.size).reshape(-1, *positions.shape)
    _, ahead = field.energies_and_forces(positions + steps)
    _, behind = field.energies_and_forces(positions - steps)
    rows = (behind - ahead).reshape(positions.size, -1) / (2.0 * _STEP_A)
    return np.asarray(0.5 * (rows + rows.T))


def _internal(positions: NDArray[np.float64], roots: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal mass-weighted directions that are no rigid motion, (3N, M)."""
    masses = roots[::3, None] ** 2
    arms = positions - (masses * positions).sum(0) / masses.sum()
    shifts = [np.broadcast_to(axis, positions.shape) for axis in np.eye(3)]
    turns = [np.cross(axis, arms) for axis in np.eye(3)]
    rigid = roots * np.array(shifts + turns).reshape(6, -1)
    directions, sizes, _ = np.linalg.svd(rigid.T)
    return np.asarray(directions[:, int((sizes > _LINEAR * sizes[0]).sum()) :])
