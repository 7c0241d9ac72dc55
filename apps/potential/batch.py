"""Batches that a potential is evaluated on: dense for molecules, a pair list for anything else.

A molecule's atoms all see each other, so that all pairs of a padded batch are less work than a
list of them. Periodic systems come with a neighbour list (`apps.potential.neighbors`). For long
work on them the list is a table of fixed shape (`apps.potential.tables`), which can be compiled and
holds good while atoms move less than half its skin; on a core, pairs are listed once and their sums
are made by compiled code of our own. All give the same energies.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["AnyBatch", "Batch", "DenseBatch", "GraphBatch", "PairBatch", "TableBatch"]


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


@dataclass(frozen=True)
class TableBatch:
    """Structures of one number of atoms with as many places for neighbours at each.

    Only for potentials that say so (`Potential.tables`).

    Parameters
    ----------
    numbers : Tensor of int64, shape (B, N)
        Atomic numbers.
    positions : Tensor, shape (B, N, 3)
        In Å.
    neighbours : Tensor of int64, shape (B, N, K)
        Atoms of the same structure, closer than the cutoff and a skin; an unused place holds the
        centre itself.
    reverse : Tensor of int64, shape (B, N, K)
        Place of the pair seen from its other end, counted through the structure's N·K places; that
        of an unused place is itself.
    shifts : Tensor, shape (B, N, K, 3)
        Added to the neighbour's position to reach the right periodic image, in Å.
    used : Tensor of bool, shape (B, N, K)
    """

    numbers: Tensor
    positions: Tensor
    neighbours: Tensor
    reverse: Tensor
    shifts: Tensor
    used: Tensor


@dataclass(frozen=True)
class PairBatch:
    """Structures of one number of atoms with as many listed pairs, each listed once.

    Only for potentials that say so (`Potential.tables`), and on a CPU (`apps.potential.native`).

    Parameters
    ----------
    numbers : Tensor of int64, shape (B, N)
        Atomic numbers.
    positions : Tensor, shape (B, N, 3)
        In Å.
    pairs : Tensor of int64, shape (B, P, 2)
        Two atoms of the same structure, each pair once.
    shifts : Tensor of float64, shape (B, P, 3)
        Added to the second atom's position to reach the right periodic image, in Å. Of a place that
        is not used it leads beyond every cutoff.
    """

    numbers: Tensor
    positions: Tensor
    pairs: Tensor
    shifts: Tensor


Batch = DenseBatch | GraphBatch
"""What every potential takes."""

AnyBatch = Batch | TableBatch | PairBatch
"""What those take that say so (`Potential.tables`)."""
