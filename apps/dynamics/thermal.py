r"""Thermal velocities: a Maxwell–Boltzmann start, kinetic energies and degrees of freedom.

Momentum is removed from the start, angular momentum is not: Langevin dynamics exchanges both with
its bath anyway, and under Newton's equations a rotating molecule is as legal as one at rest. No
rescaling to the exact temperature either: the start is a draw from the ensemble.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_store.units import AMU_A2_PER_FS2_eV, BOLTZMANN_eV_PER_K

__all__ = [
    "degrees_of_freedom",
    "kinetic_energies",
    "kinetic_temperatures",
    "maxwell_boltzmann",
    "remove_momentum",
    "thermal_speeds",
]


def thermal_speeds(masses: Tensor, temperature_K: float) -> Tensor:
    r"""Standard deviation of each velocity component, :math:`\sqrt{k_B T / m}` in Å/fs.

    Parameters
    ----------
    masses : Tensor, shape (N,)
        In amu.
    temperature_K : float

    Returns
    -------
    Tensor, shape (N, 1)
    """
    return torch.sqrt(BOLTZMANN_eV_PER_K * temperature_K / (masses * AMU_A2_PER_FS2_eV))[:, None]


def maxwell_boltzmann(
    masses: Tensor, temperature_K: float, replicas: int, rng: np.random.Generator
) -> Tensor:
    r"""Velocities from :math:`p(v) \propto \exp(-m v^2 / 2 k_B T)`, momentum removed.

    Parameters
    ----------
    masses : Tensor of float64, shape (N,)
        In amu.
    temperature_K : float
    replicas : int
    rng : numpy.random.Generator
        Drawn on the host, so that all devices start alike.

    Returns
    -------
    Tensor of float64, shape (replicas, N, 3)
        In Å/fs; :math:`2 E_{kin} / k_B T` is :math:`\chi^2` with 3N − 3 degrees of freedom.
    """
    draws: NDArray[np.float64] = rng.standard_normal((replicas, masses.shape[0], 3))
    velocities = torch.from_numpy(draws).to(masses.device) * thermal_speeds(masses, temperature_K)
    return remove_momentum(velocities, masses)


def remove_momentum(velocities: Tensor, masses: Tensor) -> Tensor:
    """Velocities (R, N, 3) relative to each replica's centre of mass."""
    weights = (masses / masses.sum())[:, None]
    return velocities - (weights * velocities).sum(-2, keepdim=True)


def kinetic_energies(velocities: Tensor, masses: Tensor) -> Tensor:
    r"""Kinetic energies :math:`\sum_i m_i v_i^2 / 2` in eV, shape (R,)."""
    squares = (velocities * velocities).sum(-1)
    return 0.5 * AMU_A2_PER_FS2_eV * (masses * squares).sum(-1)


def kinetic_temperatures(velocities: Tensor, masses: Tensor, freedoms: int) -> Tensor:
    r"""Kinetic temperatures :math:`2 E_{kin} / (f k_B)` in K, shape (R,)."""
    return kinetic_energies(velocities, masses) * (2.0 / (freedoms * BOLTZMANN_eV_PER_K))


def degrees_of_freedom(atoms: int, ensemble: str) -> int:
    """Momenta that fluctuate: 3N with a Langevin bath, 3N − 3 where total momentum is conserved."""
    return 3 * atoms if ensemble == "langevin" else 3 * atoms - 3
