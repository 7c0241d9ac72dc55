"""Gradient of the loss on a share of a batch: as defined, or by a compiled graph.

Both add the gradient to the model's and give the sums that `loss_sums` gives. The compiled graph
holds everything from positions to the gradient of all weights, differentiated twice; a share is
taken in chunks of a fixed number of structures, the last one filled up with padding atoms alone,
which contribute nothing. Periodic structures are evaluated on lists of their pairs as defined, and
compiled on tables of neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

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
from apps.potential.protocol import Potential
from apps.training.flat_model import FlatModel
from apps.training.labelled_boxes import LabelledBoxes
from apps.training.labelled_set import LabelledSet, TrainingSet
from apps.training.loss import LossWeights, loss_sums

__all__ = [
    "AddGradient",
    "Prices",
    "compiled_gradient",
    "gradient_for",
    "plain_gradient",
    "repays_training",
]

_COST = 4.0
"""Of a gradient of weights, in evaluations of energies and forces."""

_AS_MUCH = 4
"""What is kept of an atom with a table of neighbours, over one of a molecule with some 20: chunks
are so many times smaller."""


class Prices(NamedTuple):
    """What a unit of each sum counts in the loss: weight over the count in the whole batch."""

    force: Tensor | float
    energy: Tensor | float


AddGradient = Callable[[FlatModel, LabelledSet, Prices], tuple[Tensor, Tensor]]
"""Adds a share's gradient to the model's; the force and energy sums of `loss_sums`."""


def plain_gradient(weights: LossWeights) -> AddGradient:
    """Gradient by differentiation of the potential as it is defined."""

    def add(model: FlatModel, share: LabelledSet, prices: Prices) -> tuple[Tensor, Tensor]:
        sums = []
        for piece in share.pieces():
            force, energy = loss_sums(model.potential, piece, weights)
            (prices.force * force + prices.energy * energy).backward()
            sums.append(torch.stack([force.detach(), energy.detach()]))
        force, energy = torch.stack(sums).sum(0)
        return force, energy

    return add


def compiled_gradient(potential: Potential, weights: LossWeights, share: int) -> AddGradient:
    """Gradient of shares of about so many structures by a compiled graph.

    Raises
    ------
    RuntimeError
        If it cannot be compiled; on the first call, if its result is not that of the original.
    """

    def add(model: FlatModel, chosen: LabelledSet, prices: Prices) -> tuple[Tensor, Tensor]:
        chosen = chosen.tabled if isinstance(chosen, LabelledBoxes) else chosen
        atoms = chosen.padded_atoms
        rows = rows_of_chunk(share, _as_much(chosen) * atoms, potential.device)
        graph = _graph(_case(model.potential, chosen, rows, weights))
        state = (model.weights.detach(), list(model.potential.buffers()))
        both = model.weights.detach().new_empty(2)
        both[0], both[1] = prices.force, prices.energy
        force, energy = model.weights.new_zeros(2).detach()
        for chunk in _chunks(chosen, rows):
            more_force, more_energy, gradient = graph(*state, both, *chunk)
            model.gradient.add_(gradient)
            force, energy = force + more_force, energy + more_energy
        return force, energy

    return add


def gradient_for(
    model: FlatModel, weights: LossWeights, labelled: TrainingSet, share: int, steps: int
) -> tuple[AddGradient, Evaluation]:
    """The way that suits so many steps over shares of so many structures; and which it is."""
    plain = plain_gradient(weights)
    evaluation = repays_training(
        model.potential, labelled.device, share, steps, labelled.padded_atoms
    )
    first = labelled.take(torch.arange(min(share, len(labelled))))
    if evaluation.compiled and isinstance(first, LabelledBoxes) and not model.potential.tables:
        evaluation = Evaluation(False, f"{model.potential.architecture} takes no tables")
    if not evaluation.compiled:
        return plain, evaluation
    try:
        fast = compiled_gradient(model.potential, weights, share)
        _compare_once(model, first, fast, plain)
    except RuntimeError as error:
        return plain, Evaluation(False, first_line(error))
    return fast, evaluation


def repays_training(
    potential: Potential, device: torch.device, share: int, steps: int, atoms: int
) -> Evaluation:
    """Whether to compile so many steps over shares of so many structures of so many atoms."""
    return repays(potential, device, _COST * share * steps * atoms)


def _compare_once(
    model: FlatModel, sample: LabelledSet, fast: AddGradient, plain: AddGradient
) -> None:
    found = []
    for add in (fast, plain):
        model.gradient.zero_()
        sums = add(model, sample, Prices(1.0 / sample.atoms, 1.0 / len(sample)))
        found.append((*sums, model.gradient.clone()))
    model.gradient.zero_()
    compare(*found)


class _Sums(nn.Module):
    """The loss of a chunk; a module, so that the potential's state can be taken out."""

    def __init__(
        self, potential: Potential, weights: LossWeights, kind: Callable[..., LabelledSet]
    ) -> None:
        super().__init__()
        self.potential, self.weights, self.kind = potential, weights, kind

    def forward(self, *chunk: Tensor) -> tuple[Tensor, Tensor]:
        return loss_sums(self.potential, self.kind(*chunk), self.weights)


def _as_much(chosen: LabelledSet) -> int:
    """What is kept of an atom of these, over one of a molecule."""
    return _AS_MUCH if isinstance(chosen, LabelledBoxes) else 1


def _case(potential: Potential, chosen: LabelledSet, rows: int, weights: LossWeights) -> Case:
    """The graph of chunks of so many such structures."""
    atoms = chosen.padded_atoms
    if not isinstance(chosen, LabelledBoxes):
        return Case("gradient", potential, rows, atoms, (weights, LabelledSet))
    places = chosen.used.shape[-1]
    like = next(iter(_chunks(chosen, rows)))
    return Case("gradient", potential, rows, atoms, (weights, type(chosen), places), like)


@lru_cache(maxsize=8)
def _graph(case: Case) -> Compiled:
    weights, kind, *_ = case.details
    sums = Stateless(_Sums(case.potential, weights, kind))

    def gradient(
        flat: Tensor, buffers: list[Tensor], prices: Tensor, *chunk: Tensor
    ) -> tuple[Tensor, ...]:
        flat = flat.detach().requires_grad_(True)
        force, energy = sums(flat, buffers, *chunk)
        loss = prices[0] * force + prices[1] * energy
        (found,) = torch.autograd.grad(loss, flat)
        return force.detach(), energy.detach(), found

    state = (flat_weights(case.potential), list(case.potential.buffers()))
    prices = torch.ones(2, dtype=case.potential.dtype, device=case.potential.device)
    return compiled(gradient, (*state, prices, *(case.like or _sample(case))))


def _sample(case: Case) -> tuple[Tensor, ...]:
    """Something of a chunk's shapes and types."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.full((case.rows, case.atoms), case.potential.species[0])
    positions = 3.0 * torch.rand(case.rows, case.atoms, 3, generator=generator)
    energies = torch.zeros(case.rows, dtype=torch.float64)
    sample = (numbers, positions, torch.ones_like(positions), energies)
    return tuple(tensor.to(case.potential.device) for tensor in sample)


def _chunks(chosen: LabelledSet, rows: int) -> Any:
    """Its tensors (numbers, positions, forces, energies, …), a chunk at a time."""
    filling = -len(chosen) % rows
    full = [
        torch.cat([a, a.new_zeros(filling, *a.shape[1:])]) if filling else a for a in chosen.tensors
    ]
    return zip(*(a.split(rows) for a in full), strict=True)
