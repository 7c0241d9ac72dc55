"""Starting velocities, and how much kinetic energy a temperature can explain."""

from __future__ import annotations

import torch
from torch import Tensor

from data_store.units import AMU_A2_PER_FS2_eV, BOLTZMANN_eV_PER_K

__all__ = ["kinetic_energy", "maxwell_boltzmann"]


def maxwell_boltzmann(
    masses_amu: Tensor,
    temperature_K: float,
    replicas: int,
    generator: torch.Generator,
    *,
    at_rest: bool,
) -> Tensor:
    r"""Velocities from :math:`p(v) \propto \exp(-m v^2 / 2 k_B T)`.

    Parameters
    ----------
    masses_amu : Tensor, shape (N,)
    temperature_K : float
    replicas : int
    generator : torch.Generator
    at_rest : bool
        Remove the motion of the centre of mass (three degrees of freedom fewer); for NVE.

    Returns
    -------
    Tensor of float64, shape (replicas, N, 3)
        In Å/fs.
    """
    width = torch.sqrt(BOLTZMANN_eV_PER_K * temperature_K / (masses_amu * AMU_A2_PER_FS2_eV))
    shape = (replicas, len(masses_amu), 3)
    velocities = width[:, None] * torch.randn(shape, dtype=torch.float64, generator=generator)
    if at_rest:
        weights = masses_amu / masses_amu.sum()
        velocities = velocities - (weights[:, None] * velocities).sum(-2, keepdim=True)
    return velocities


def kinetic_energy(velocities: Tensor, masses_amu: Tensor) -> Tensor:
    """Kinetic energy of each replica, shape (R,), in eV."""
    squared = (velocities * velocities).sum(-1)
    return 0.5 * AMU_A2_PER_FS2_eV * (masses_amu * squared).sum(-1)
