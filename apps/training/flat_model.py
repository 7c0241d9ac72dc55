"""`FlatModel`: a potential whose parameters, and their gradients, are each one vector.

One vector makes an optimiser step, an average of weights, a clip and an all-reduce one operation
each, which for small networks is most of the time saved; and a checkpoint is a handful of arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from apps.potential.protocol import Potential

__all__ = ["FlatModel"]


class FlatModel:
    """Parameters of a potential laid end to end.

    Parameters
    ----------
    potential : Potential
        From now on its parameters are views of `weights`.

    Attributes
    ----------
    weights : nn.Parameter, shape (P,)
        Its ``grad`` is the vector of all gradients.
    """

    def __init__(self, potential: Potential) -> None:
        self.potential = potential
        parameters = list(potential.parameters())
        flat = torch.cat([p.detach().reshape(-1) for p in parameters])
        self.weights = nn.Parameter(flat, requires_grad=False)
        self.weights.grad = torch.zeros_like(flat)
        first = 0
        for parameter in parameters:
            last = first + parameter.numel()
            parameter.data = self.weights.data[first:last].view_as(parameter)
            parameter.grad = self.weights.grad[first:last].view_as(parameter)
            first = last

    @property
    def gradient(self) -> Tensor:
        """All gradients; backward passes add to it."""
        gradient = self.weights.grad
        assert gradient is not None  # set on construction, never removed
        return gradient

    @contextmanager
    def using(self, weights: Tensor) -> Iterator[Potential]:
        """The potential with other weights, for as long as the block lasts."""
        kept = self.weights.detach().clone()
        self.weights.data.copy_(weights)
        try:
            yield self.potential
        finally:
            self.weights.data.copy_(kept)
