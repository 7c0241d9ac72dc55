"""Batches that a potential is evaluated on: dense for molecules, a pair list for anything else.

A molecule's atoms all see each other, so that all pairs of a padded batch are less work than a
list of them. Periodic systems come with a neighbour list (`apps.potential.neighbors`). Both give
the same energies.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Batch", "DenseBatch", "GraphBatch"]


@dataclass(frozen=True)
class DenseBatch:
    """Isolated molecules, padded to a common number of atoms.

    Parameters
    ----------
    numbers : Tensor of int64, shape (B, N)
        Atomic numbers; 0 is padding.
    positions : Tensor, shape (B, N, 3)
        In Å; padding may hold anything finite.
    """

    numbers: Tensor
    positions: Tensor


@dataclass(frozen=True)
class GraphBatch:
    """Structures with a list of directed pairs, each pair in both directions.

    Parameters
    ----------
    numbers : Tensor of int64, shape (A,)
    positions : Tensor, shape (A, 3)
        In Å.
    structure : Tensor of int64, shape (A,)
        Which structure an atom belongs to.
    pairs : Tensor of int64, shape (2, P)
        Centre and neighbour, closer than the cutoff.
    shifts : Tensor, shape (P, 3)
        Added to the neighbour's position to reach the right periodic image, in Å.
    n_structures : int
    """

    numbers: Tensor
    positions: Tensor
    structure: Tensor
    pairs: Tensor
    shifts: Tensor
    n_structures: int


Batch = DenseBatch | GraphBatch
