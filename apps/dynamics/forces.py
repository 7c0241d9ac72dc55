"""Energies and forces of a block's replicas, compiled where the run is long enough to repay it.

The compiled form takes replicas in chunks of a fixed number of rows, so that who has left the batch
changes neither the graph nor the rounding of those who are left. On one core sums over pairs are
those of `apps.potential.native`; on several, on a GPU, and where it cannot be built, all pairs of a
molecule go through matrix products.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn

from apps.memory import ran_out_of_memory
from apps.potential.batch import AnyBatch, DenseBatch, PairBatch
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
from apps.potential.tables import all_pairs

__all__ = ["compiled_force_function", "force_function_for", "graph_of", "suits_native"]

_NATIVE_TIMES = 2
"""Chunks are so many times as large where the tensors of all pairs are never made."""


class _EnergiesAndForces(nn.Module):
    """Of a batch of one kind; a module, so that its state can be taken out."""

    def __init__(self, potential: Potential, kind: Callable[..., AnyBatch]) -> None:
        super().__init__()
        self.potential, self.kind = potential, kind

    def forward(self, *fields: Tensor) -> tuple[Tensor, Tensor]:
        return energies_and_forces(self.potential, self.kind(*fields))


def suits_native(potential: Potential) -> bool:
    """Whether sums over pairs by code of our own serve it: they take tables, and use one core."""
    return potential.tables and potential.device.type == "cpu" and torch.get_num_threads() == 1


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
    sample = _scattered(len(numbers)).to(numbers.device)
    for native in (True, False) if suits_native(potential) else (False,):
        try:
            fast = _within_memory(potential, numbers, replicas, native, sample)
            compare(fast(sample), plain(sample))
        except RuntimeError as error:
            evaluation = Evaluation(False, first_line(error))
        else:
            return fast, Evaluation(True, native=native)
    return plain, evaluation


def _within_memory(
    potential: Potential, numbers: Tensor, replicas: int, native: bool, sample: Tensor
) -> ForceFunction:
    """Compiled for the largest chunk, or half of it and so on, for which there is memory."""
    most = replicas
    while most:
        fast = compiled_force_function(potential, numbers, most, native=native)
        try:
            fast(sample)
        except RuntimeError as error:
            if not ran_out_of_memory(error):
                raise
        else:
            return fast
        most = _rows(most, numbers, native) // 2
        if numbers.is_cuda:
            torch.cuda.empty_cache()
    raise RuntimeError("no memory for a compiled chunk of one molecule")


def _rows(replicas: int, numbers: Tensor, native: bool) -> int:
    return rows_of_chunk(
        replicas, len(numbers), numbers.device, times=_NATIVE_TIMES if native else 1
    )


def compiled_force_function(
    potential: Potential, numbers: Tensor, replicas: int, *, native: bool = False
) -> ForceFunction:
    """Energies (with shift) and forces of float64 positions of up to so many replicas, or more.

    Parameters
    ----------
    potential : Potential
    numbers : Tensor of int64, shape (N,)
    replicas : int
    native : bool
        Whether sums over pairs are made by code of our own; only where it `suits_native`.

    Raises
    ------
    RuntimeError
        If it cannot be compiled.
    """
    atoms, rows = len(numbers), _rows(replicas, numbers, native)
    kinds = numbers.repeat(rows, 1)
    listed = [part.repeat(rows, 1, 1) for part in all_pairs(atoms)] if native else []
    sample = _scattered(atoms, rows).to(potential.device)
    graph = graph_of(potential, PairBatch if native else DenseBatch, (kinds, sample, *listed))
    weights = flat_weights(potential)
    buffers = [buffer.detach().clone() for buffer in potential.buffers()]
    shift = potential.shift_eV[numbers].sum()

    def force_function(positions: Tensor) -> tuple[Tensor, Tensor]:
        count = len(positions)
        filling = positions[:1].expand(-count % rows, -1, -1)
        chunks = torch.cat([positions, filling]).split(rows)
        found = [graph(weights, buffers, kinds, chunk, *listed) for chunk in chunks]
        energies = torch.cat([energies for energies, _ in found])[:count]
        forces = torch.cat([forces for _, forces in found])[:count]
        return energies.to(torch.float64) + shift, forces

    return force_function


def graph_of(
    potential: Potential, kind: Callable[..., AnyBatch], fields: tuple[Tensor, ...]
) -> Compiled:
    """Energies and forces as a graph of weights, buffers and fields like those of a batch.

    Equal shapes share it, whatever the elements, weights and lists.

    Raises
    ------
    RuntimeError
        If it cannot be compiled.
    """
    rows, atoms = fields[0].shape
    details = (kind, *(field.shape for field in fields[2:]))
    return _graph(Case("energies and forces", potential, rows, atoms, details, fields))


@lru_cache(maxsize=8)
def _graph(case: Case) -> Compiled:
    state = (flat_weights(case.potential), list(case.potential.buffers()))
    function = Stateless(_EnergiesAndForces(case.potential, case.details[0]))
    return compiled(function, (*state, *case.like))


def _scattered(atoms: int, rows: int = 3) -> Tensor:
    """Positions of atoms about an Ångström apart, in float64."""
    generator = torch.Generator().manual_seed(0)
    edge = max(2.0, 1.5 * atoms ** (1 / 3))
    places = torch.rand(rows, atoms, 3, generator=generator, dtype=torch.float64)
    return places.mul_(edge)
