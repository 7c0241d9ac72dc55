"""Energies and forces of any potential: differentiation and shift, in one place."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from apps.potential.batch import AnyBatch, Batch, DenseBatch, GraphBatch
from apps.potential.protocol import Potential

__all__ = ["ForceFunction", "energies_and_forces", "molecular_force_function", "total_energies"]

ForceFunction = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From positions (R, N, 3) in Å to energies (R,) in eV and forces (R, N, 3) in eV/Å."""


def energies_and_forces(
    potential: Potential, batch: AnyBatch, *, create_graph: bool = False
) -> tuple[Tensor, Tensor]:
    r"""Network energies and forces :math:`F = -\partial E / \partial x`.

    Parameters
    ----------
    potential : Potential
    batch : DenseBatch, GraphBatch or TableBatch
    create_graph : bool
        Whether the forces will be differentiated (training).

    Returns
    -------
    energies : Tensor, shape (structures,)
        In eV, without the shift (`total_energies` adds it).
    forces : Tensor, shape of the positions
        In eV/Å.
    """
    with torch.enable_grad():
        positions = batch.positions.detach().requires_grad_(True)
        # Tables are for potentials that say that they take them.
        moving = cast(Batch, replace(batch, positions=positions))
        energies = potential.network_energy(moving)
        (gradient,) = torch.autograd.grad(energies.sum(), positions, create_graph=create_graph)
    return (energies if create_graph else energies.detach()), -gradient


def total_energies(potential: Potential, batch: AnyBatch, network_energies: Tensor) -> Tensor:
    """Energies with the shift of each element, in float64 and eV; shape (structures,)."""
    atomic = potential.shift_eV[batch.numbers] * (batch.numbers > 0)
    if isinstance(batch, GraphBatch):
        return network_energies.to(torch.float64).index_add(0, batch.structure, atomic)
    return network_energies.to(torch.float64) + atomic.sum(-1)


def molecular_force_function(potential: Potential, numbers: Tensor) -> ForceFunction:
    """Energies (with shift) and forces of copies of one molecule: the inner loop of dynamics.

    Parameters
    ----------
    potential : Potential
        Copied; later changes of it have no effect.
    numbers : Tensor of int64, shape (N,)

    Raises
    ------
    InputError
        If it holds an element that the potential does not know.
    """
    potential.check_species(numbers)
    frozen = copy.deepcopy(potential).requires_grad_(False)
    shift = frozen.shift_eV[numbers].sum()

    def force_function(positions: Tensor) -> tuple[Tensor, Tensor]:
        batch = DenseBatch(numbers.expand(positions.shape[0], -1), positions)
        energies, forces = energies_and_forces(frozen, batch)
        return energies.to(torch.float64) + shift, forces

    return force_function
