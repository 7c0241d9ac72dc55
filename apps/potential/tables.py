r"""Neighbour tables: of boxes on the device they are on, for a `TableBatch`.

A table lists, for every atom of structures of one shape, the atoms within the cutoff and a *skin*,
in a canonical order (by neighbour, then by image). It holds good while no atom has moved more than
half the skin since it was made: two atoms then come closer by less than the skin. Each pair is
listed at both its ends, and each end knows the place of the other, so that what neighbours receive
in differentiation is gathered like what they give; nothing is added up by scattering.

All pairs of a structure are looked at, and all images that can reach: O(N²) for some hundred
atoms, in tensor operations alone. It is no cell list for large systems.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from apps.potential.batch import GraphBatch, TableBatch
from data_store.errors import InputError

__all__ = [
    "Table",
    "all_pairs",
    "collected",
    "completed_cell",
    "gathered",
    "graph_of_table",
    "neighbour_table",
    "numbers_of_neighbours",
    "pair_vectors",
    "pairs_once",
    "resized",
    "room_for",
]

_ROOM = 8
"""Places for neighbours are made by so many."""

_FAR_A = 1e4
"""Shift of a place for a pair that is not used."""

_SPARE = 1.1
"""Places over those needed at first: neighbours come and go."""


@dataclass(frozen=True)
class Table:
    """Neighbours of all atoms; fields as in `TableBatch`.

    Parameters
    ----------
    neighbours, reverse : Tensor of int64, shape (B, N, K)
    shifts : Tensor of float64, shape (B, N, K, 3)
    used : Tensor of bool, shape (B, N, K)
    """

    neighbours: Tensor
    reverse: Tensor
    shifts: Tensor
    used: Tensor


def room_for(most: int) -> int:
    """Places for neighbours to make where an atom has so many at most."""
    return _ROOM * math.ceil(max(1.0, _SPARE * most) / _ROOM)


def neighbour_table(
    positions: Tensor, cell: Tensor, pbc: tuple[bool, bool, bool], reach_A: float, places: int = 0
) -> Table:
    """Neighbours within a distance, of every atom of every structure.

    Parameters
    ----------
    positions : Tensor of float64, shape (B, N, 3)
        In Å; anywhere, not wrapped into the cell.
    cell : Tensor of float64, shape (3, 3)
        Row vectors in Å, of all structures; ignored along directions that are not periodic.
    pbc : tuple of bool
    reach_A : float
        Cutoff and skin.
    places : int
        At least so many for each atom, K; by default with some room to spare.

    Raises
    ------
    InputError
        If a periodic direction has no length, or a position is no number.
    """
    if not bool(torch.isfinite(positions).all()):
        raise InputError("a neighbour table of positions that are no numbers was asked for")
    box = completed_cell(cell, pbc)
    images = _images(box, pbc, reach_A)
    found, near = _pairs_within(positions, box, pbc, images, reach_A)
    return _as_table(found, near, box, places)


def completed_cell(cell: Tensor, pbc: tuple[bool, bool, bool]) -> Tensor:
    """The cell, completed by unit vectors along directions that are not periodic.

    Raises
    ------
    InputError
        If it spans no volume.
    """
    box = cell.clone()
    periodic = [axis for axis in range(3) if pbc[axis]]
    free = [axis for axis in range(3) if not pbc[axis]]
    box[free] = 0.0
    if free:  # a basis of what the periodic directions leave over
        _, _, rows = torch.linalg.svd(box[periodic] if periodic else box[:1] * 0.0)
        box[free] = rows[len(periodic) :]
    if float(torch.linalg.det(box).abs()) < 1e-6:
        raise InputError(
            f"the cell {cell.tolist()} spans no volume along its periodic directions {pbc}",
            "give three row vectors in Å that do not lie in one plane",
        )
    return box


def _images(box: Tensor, pbc: tuple[bool, bool, bool], reach_A: float) -> Tensor:
    """Whole shifts around the nearest image that can bring a pair within reach, (M, 3), symmetric.

    Fractional components of a vector within reach are at most reach over width, and those of the
    nearest image at most one half.
    """
    widths = 1.0 / torch.linalg.vector_norm(torch.linalg.inv(box), dim=0)
    most = [
        math.floor(reach_A / float(width) + 0.5) if periodic else 0
        for width, periodic in zip(widths, pbc, strict=True)
    ]
    ranges = [torch.arange(-n, n + 1, device=box.device) for n in most]
    return torch.cartesian_prod(*ranges).view(-1, 3)


def _pairs_within(
    positions: Tensor, box: Tensor, pbc: tuple[bool, bool, bool], images: Tensor, reach_A: float
) -> tuple[Tensor, Tensor]:
    """Whole shift of each candidate (B, N, N, M, 3); whether it is within reach (B, N, N, M)."""
    difference = positions.unsqueeze(1) - positions.unsqueeze(2)  # of the neighbour and the centre
    periodic = torch.tensor(pbc, device=box.device)
    nearest = -torch.round(difference @ torch.linalg.inv(box)) * periodic
    whole = nearest.unsqueeze(3) + images
    vectors = difference.unsqueeze(3) + whole @ box
    near = (vectors * vectors).sum(-1) < reach_A**2
    atoms = torch.arange(positions.shape[1], device=box.device)
    # An atom is no neighbour of itself in the image that it is in.
    itself = (whole == 0).all(-1)[:, atoms, atoms]
    near[:, atoms, atoms] &= ~itself
    return whole, near


def _as_table(whole: Tensor, near: Tensor, box: Tensor, places: int) -> Table:
    """From candidates to as many places at every atom."""
    batch, atoms, _, images = near.shape
    found = near.nonzero()  # in order of structure, centre, neighbour, image
    structure, centre, neighbour, image = found.unbind(1)
    row = structure * atoms + centre
    counts = torch.bincount(row, minlength=batch * atoms)
    most = int(counts.max()) if len(counts) else 0
    width = places if most <= places else room_for(most)
    place = (
        row * width + torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
    )
    # The other end has the same pair with the opposite image, and the images are symmetric.
    order = ((structure * atoms + neighbour) * atoms + centre) * images + (images - 1 - image)
    key = (row * atoms + neighbour) * images + image
    other = place[torch.searchsorted(key, order)] - structure * atoms * width
    total = batch * atoms * width
    own = torch.arange(total, device=row.device)
    table = Table(
        (own // width % atoms).index_put((place,), neighbour),
        (own % (atoms * width)).index_put((place,), other),
        box.new_zeros(total, 3).index_put((place,), whole[tuple(found.T)] @ box),
        torch.zeros(total, dtype=torch.bool, device=row.device).index_fill(0, place, True),
    )
    shape = (batch, atoms, width)
    return Table(
        table.neighbours.view(shape),
        table.reverse.view(shape),
        table.shifts.view(*shape, 3),
        table.used.view(shape),
    )


def resized(table: Table, atoms: int, places: int) -> Table:
    """The same pairs with so many atoms and places at each; none is used of those that are new.

    Parameters
    ----------
    table : Table
    atoms : int
        At least as many as there are.
    places : int
        At least as many as are used of an atom.
    """
    batch, count, width = table.used.shape
    kept = min(width, places)
    own = torch.arange(atoms * places, device=table.used.device).view(1, atoms, places)
    neighbours = (own // places).repeat(batch, 1, 1)
    reverse = own.repeat(batch, 1, 1)
    shifts = table.shifts.new_zeros(batch, atoms, places, 3)
    used = torch.zeros(batch, atoms, places, dtype=torch.bool, device=own.device)
    there = table.used[..., :kept]
    place = table.reverse // width * places + table.reverse % width
    for new, old in ((neighbours, table.neighbours), (reverse, place), (shifts, table.shifts)):
        new[:, :count, :kept][there] = old[:, :, :kept][there]
    used[:, :count, :kept] = there
    return Table(neighbours, reverse, shifts, used)


def pairs_once(table: Table) -> tuple[Tensor, Tensor]:
    """Pairs of a table, each listed once, and the shifts of their second atoms (`PairBatch`)."""
    batch, atoms, width = table.used.shape
    own = torch.arange(atoms * width, device=table.used.device).view(1, atoms, width)
    found = (table.used & (own < table.reverse)).nonzero()
    structure, centre, place = found.unbind(1)
    counts = torch.bincount(structure, minlength=batch)
    room = atoms * width // 2
    row = torch.arange(len(structure), device=own.device) - (counts.cumsum(0) - counts)[structure]
    pairs = torch.zeros(batch, room, 2, dtype=torch.int64, device=own.device)
    shifts = table.shifts.new_full((batch, room, 3), _FAR_A)
    pairs[structure, row] = torch.stack([centre, table.neighbours[structure, centre, place]], -1)
    shifts[structure, row] = table.shifts[structure, centre, place]
    return pairs, shifts


def all_pairs(atoms: int) -> tuple[Tensor, Tensor]:
    """Pairs of a molecule, each listed once, and no shifts; shapes (P, 2) and (P, 3)."""
    pairs = torch.triu_indices(atoms, atoms, 1).T.contiguous()
    return pairs, torch.zeros(len(pairs), 3, dtype=torch.float64)


def graph_of_table(batch: TableBatch, cutoff_A: float) -> GraphBatch:
    """The same structures with a list of the pairs closer than the cutoff."""
    count, atoms = batch.numbers.shape
    vectors = pair_vectors(batch, batch.positions.dtype).detach()
    near = batch.used & ((vectors * vectors).sum(-1) < cutoff_A**2)
    structure, centre, place = near.nonzero().unbind(1)
    first = structure * atoms
    return GraphBatch(
        numbers=batch.numbers.flatten(),
        positions=batch.positions.flatten(0, 1),
        structure=torch.arange(count, device=near.device).repeat_interleave(atoms),
        pairs=torch.stack([first + centre, first + batch.neighbours[structure, centre, place]]),
        shifts=batch.shifts[structure, centre, place],
        n_structures=count,
    )


class _Gather(torch.autograd.Function):
    """Rows of neighbours; what they receive in return is collected."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, neighbours: Tensor, reverse: Tensor) -> Tensor:
        ctx.save_for_backward(neighbours, reverse)
        return _at(values, neighbours)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        neighbours, reverse = ctx.saved_tensors
        return collected(gradients[0], neighbours, reverse), None, None


class _Collect(torch.autograd.Function):
    """Sums over the other ends of pairs; in return each end receives what its centre does."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, neighbours: Tensor, reverse: Tensor) -> Tensor:
        ctx.save_for_backward(neighbours, reverse)
        return _at(values.flatten(1, 2), reverse).sum(2)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        neighbours, reverse = ctx.saved_tensors
        return gathered(gradients[0], neighbours, reverse), None, None


def _at(values: Tensor, rows: Tensor) -> Tensor:
    """Rows (B, N, K) of values (B, R, C), each structure its own: (B, N, K, C)."""
    batch, count = values.shape[:2]
    first = torch.arange(batch, device=values.device).view(-1, 1, 1) * count
    return values.flatten(0, 1)[rows + first]


def gathered(values: Tensor, neighbours: Tensor, reverse: Tensor) -> Tensor:
    """What each neighbour has: from (B, N, C) to (B, N, K, C)."""
    return cast(Tensor, _Gather.apply(values, neighbours, reverse))


def collected(values: Tensor, neighbours: Tensor, reverse: Tensor) -> Tensor:
    """Sum over all places that hold an atom as neighbour: from (B, N, K, C) to (B, N, C)."""
    return cast(Tensor, _Collect.apply(values, neighbours, reverse))


def pair_vectors(batch: TableBatch, dtype: torch.dtype) -> Tensor:
    """From centres to neighbours in Å, (B, N, K, 3); subtracted in the positions' precision."""
    ends = gathered(batch.positions, batch.neighbours, batch.reverse)
    return (ends + batch.shifts - batch.positions.unsqueeze(2)).to(dtype)


def numbers_of_neighbours(batch: TableBatch) -> Tensor:
    """Atomic numbers at all places, (B, N, K)."""
    return batch.numbers.gather(1, batch.neighbours.flatten(1)).view(batch.neighbours.shape)
