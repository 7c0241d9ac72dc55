"""Energies and forces of a block's replicas, compiled where the run is long enough to repay it.

The compiled form takes replicas in chunks of a fixed number of rows, so that who has left the batch
changes neither the graph nor the rounding of those who are left.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from apps.potential.batch import DenseBatch
from apps.potential.compiled import (
    Case,
    Compiled,
    Evaluation,
    Stateless,
    compare,
    compiled,
    first_line,
    flat_weights,
    repays,
    rows_of_chunk,
)
from apps.potential.evaluate import ForceFunction, energies_and_forces, molecular_force_function
from apps.potential.protocol import Potential

__all__ = ["compiled_force_function", "force_function_for"]


class _EnergiesAndForces(nn.Module):
    """Of a dense batch; a module, so that its state can be taken out."""

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential

    def forward(self, numbers: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        return energies_and_forces(self.potential, DenseBatch(numbers, positions))


def force_function_for(
    potential: Potential, numbers: Tensor, replicas: int, steps: int
) -> tuple[ForceFunction, Evaluation]:
    """Energies (with shift) and forces of copies of one molecule, in the way that suits the work.

    Parameters
    ----------
    potential : Potential
        Copied; later changes of it have no effect.
    numbers : Tensor of int64, shape (N,)
    replicas, steps : int
        How much is to be done, at most.

    Raises
    ------
    InputError
        If the molecule holds an element that the potential does not know.
    """
    plain = molecular_force_function(potential, numbers)
    evaluation = repays(potential, numbers.device, float(replicas * steps * len(numbers)))
    if not evaluation.compiled:
        return plain, evaluation
    try:
        fast = compiled_force_function(potential, numbers, replicas)
        sample = _scattered(len(numbers)).to(numbers.device)
        compare(fast(sample), plain(sample))
    except RuntimeError as error:
        return plain, Evaluation(False, first_line(error))
    return fast, evaluation


def compiled_force_function(potential: Potential, numbers: Tensor, replicas: int) -> ForceFunction:
    """Energies (with shift) and forces of float64 positions of up to so many replicas, or more.

    Raises
    ------
    RuntimeError
        If it cannot be compiled.
    """
    rows = rows_of_chunk(replicas, len(numbers), potential.device)
    graph = _graph(Case("energies and forces", potential, rows, len(numbers)))
    weights = flat_weights(potential)
    buffers = [buffer.detach().clone() for buffer in potential.buffers()]
    shift, kinds = potential.shift_eV[numbers].sum(), numbers.repeat(rows, 1)

    def force_function(positions: Tensor) -> tuple[Tensor, Tensor]:
        count = len(positions)
        filling = positions[:1].expand(-count % rows, -1, -1)
        chunks = torch.cat([positions, filling]).split(rows)
        found = [graph(weights, buffers, kinds, chunk) for chunk in chunks]
        energies = torch.cat([energies for energies, _ in found])[:count]
        forces = torch.cat([forces for _, forces in found])[:count]
        return energies.to(torch.float64) + shift, forces

    return force_function


@lru_cache(maxsize=8)
def _graph(case: Case) -> Compiled:
    potential = case.potential
    numbers = torch.full((case.rows, case.atoms), potential.species[0], device=potential.device)
    state = (flat_weights(potential), list(potential.buffers()))
    positions = _scattered(case.atoms, case.rows).to(potential.device)
    return compiled(Stateless(_EnergiesAndForces(potential)), (*state, numbers, positions))


def _scattered(atoms: int, rows: int = 3) -> Tensor:
    """Positions of atoms about an Ångström apart, in float64."""
    generator = torch.Generator().manual_seed(0)
    edge = max(2.0, 1.5 * atoms ** (1 / 3))
    places = torch.rand(rows, atoms, 3, generator=generator, dtype=torch.float64)
    return places.mul_(edge)
