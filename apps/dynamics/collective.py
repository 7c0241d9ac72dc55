r"""Collective variables: pure functions of positions, differentiated by torch.

A variable is a sum of terms of one kind (`apps.dynamics.metadynamics_settings.Variable`). They are
invariant to translation, rotation and inversion, and to permutations within a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from apps.dynamics.images import nearest_images
from apps.dynamics.metadynamics_settings import CoordinationTerm, DistanceTerm, Variable

__all__ = ["added", "collective_variables", "switching", "with_gradients"]


def switching(distances_A: Tensor, r0_A: float, n: int, m: int) -> Tensor:
    r"""Share with which a pair at a distance counts: 1 near, 0 far.

    .. math:: s(r) = \frac{1 - x^n}{1 - x^m}
        = \frac{\sum_{k<n} x^k}{\sum_{k<m} x^k}, \qquad x = r / r_0

    The second form has no hole at :math:`x = 1`, where the value is n/m. Iannuzzi, Laio and
    Parrinello 2003, doi:10.1103/PhysRevLett.90.238302.

    Parameters
    ----------
    distances_A : Tensor
    r0_A : float
    n, m : int
    """
    x = distances_A / r0_A
    if m == 2 * n:
        return 1.0 / (1.0 + _power(x, n))
    low = _powers_below(x, n)
    return low / (low + _power(x, n) * _powers_below(x, m - n))


def _power(x: Tensor, exponent: int) -> Tensor:
    """By products: they round alike wherever in a tensor a number stands, torch's powers do not."""
    half = _power(x, exponent // 2) if exponent > 1 else torch.ones_like(x)
    return half * half * x if exponent % 2 else half * half


def _powers_below(x: Tensor, exponent: int) -> Tensor:
    """1 + x + … up to the power before this one."""
    total = torch.ones_like(x)
    for _ in range(exponent - 1):
        total = total * x + 1.0
    return total


def collective_variables(
    positions: Tensor, variables: Sequence[Variable], cell: Tensor | None = None
) -> Tensor:
    """Values of variables, shape (R, D).

    Parameters
    ----------
    positions : Tensor, shape (R, N, 3)
        In Å.
    variables : sequence of Variable
    cell : Tensor, shape (3, 3), optional
        Rows are edges of a periodic box, in Å. Distances are then those of nearest images, found by
        rounding: of a rectangular box always, else where they are below half of its least height.
    """
    columns = [
        torch.stack([t.coefficient * _term(positions, t, cell) for t in v.terms]).sum(0)
        for v in variables
    ]
    return torch.stack(columns, dim=-1)


def with_gradients(
    positions: Tensor, variables: Sequence[Variable], cell: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Values (R, D) and their gradients by positions (R, D, N, 3)."""
    x = positions.detach().requires_grad_(True)
    with torch.enable_grad():
        values = collective_variables(x, variables, cell)
        gradients = [
            torch.autograd.grad(column.sum(), x, retain_graph=True)[0]
            for column in values.unbind(-1)
        ]
    return values.detach(), torch.stack(gradients, dim=1)


def _term(positions: Tensor, term: DistanceTerm | CoordinationTerm, cell: Tensor | None) -> Tensor:
    if isinstance(term, DistanceTerm):
        a, b = term.atoms
        return _lengths(positions[:, b] - positions[:, a], cell)
    a_rows, b_rows = _pairs(term.group_a, term.group_b, positions.device)
    lengths = _lengths(positions[:, b_rows] - positions[:, a_rows], cell)
    return added(switching(lengths, term.r0_A, term.n, term.m))


def added(x: Tensor) -> Tensor:
    """Sum over the last axis, in an order that the size of the batch has no part in.

    torch rounds sums of a batch of one or two replicas otherwise.
    """
    while (size := x.shape[-1]) > 1:
        half = size // 2
        x = torch.cat([x[..., :half] + x[..., half : 2 * half], x[..., 2 * half :]], dim=-1)
    return x[..., 0]


@lru_cache(maxsize=64)
def _pairs(
    group_a: tuple[int, ...], group_b: tuple[int, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """First and second atom of each pair, kept on the device: no step waits for the host."""
    pairs = torch.tensor([(a, b) for a in group_a for b in group_b], device=device)
    return pairs[:, 0], pairs[:, 1]


def _lengths(vectors: Tensor, cell: Tensor | None) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(nearest_images(vectors, cell), dim=-1)
    return lengths
