"""Energies and forces of replicas of one periodic box, and the neighbour lists they need.

Every replica has a list of its own, made when it is first seen and made anew when one of its atoms
has moved more than half the skin since, or a segment of the engine begins (`BoxForces.forget`): a
run that is resumed then meets the lists that it would have had, but for the number of unused
places, which never shrinks (a compiled graph holds for one). Lists hold pairs up to cutoff and
skin, and those beyond the cutoff contribute nothing: skin and unused places leave the bits of sums
in C++ as they are, and change the rounding of sums over tables at most.

A replica with a position that is no number gets no numbers back.

What is evaluated: pairs listed once by `apps.potential.native` on one core, tables elsewhere, both
compiled where that is repaid; a graph of pairs for potentials that take no tables.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from apps.dynamics.forces import graph_of, suits_native
from apps.dynamics.memory import FittingForces
from apps.potential.batch import AnyBatch, PairBatch, TableBatch
from apps.potential.compiled import (
    Evaluation,
    compare,
    first_line,
    flat_weights,
    repays,
    rows_of_chunk,
)
from apps.potential.evaluate import energies_and_forces
from apps.potential.protocol import Potential
from apps.potential.tables import Table, graph_of_table, neighbour_table, pairs_once

__all__ = ["Box", "BoxForces", "box_forces_for"]

_SKIN_A = 0.5
"""A wider skin is made anew less often, and costs more pairs."""

_AS_MUCH = 4
"""What is kept of an atom with its 80 places for neighbours, over one of a molecule with some 20:
chunks are so many times smaller."""

_TABLE_PAIRS = {"cpu": 1 << 16, "cuda": 1 << 20}
"""Pairs of atoms whose images are looked at at once where lists are made: of each some 100 bytes
for each image, of which a small box has 27."""


@dataclass(frozen=True)
class Box:
    """What all replicas share.

    Parameters
    ----------
    numbers : Tensor of int64, shape (N,)
    cell : Tensor of float64, shape (3, 3)
        Row vectors in Å.
    pbc : tuple of bool
    """

    numbers: Tensor
    cell: Tensor
    pbc: tuple[bool, bool, bool] = (True, True, True)


Lists = tuple[Tensor, ...]
"""What a batch of one kind holds beside numbers and positions, a row for each replica."""


class BoxForces:
    """From positions (R, N, 3) in Å, float64, to energies (R,) with shift, and forces (R, N, 3).

    Parameters
    ----------
    potential : Potential
        Copied; later changes of it have no effect.
    box : Box
    compile : bool
        Whether it is compiled, at its first call.
    skin_A : float
        0 makes lists anew at every call.
    at_most : int
        Replicas of all calls: what is evaluated at once then has one size for good, and who is in
        a batch leaves no trace in the others. 0: that of each call.

    Attributes
    ----------
    lists_made : int
        Of single replicas, so far.
    native : bool
        Whether sums over pairs are made by code of our own.
    fitting : FittingForces
        What keeps evaluations within memory.

    Raises
    ------
    InputError
        If the box holds an element that the potential does not know.
    RuntimeError
        On a call: if it cannot be compiled.
    LostError
        On a call: if there is not the memory for one replica.
    """

    def __init__(
        self,
        potential: Potential,
        box: Box,
        *,
        compile: bool,
        skin_A: float = _SKIN_A,
        at_most: int = 0,
    ) -> None:
        potential.check_species(box.numbers)
        self.box, self.compile, self.skin_A, self.lists_made = box, compile, skin_A, 0
        self.native = suits_native(potential)
        self.potential = copy.deepcopy(potential).requires_grad_(False)
        self._state = (flat_weights(potential), [b.detach().clone() for b in potential.buffers()])
        self._shift = potential.shift_eV[box.numbers].sum()
        self.fitting = FittingForces(self._of_rows, box.numbers.device)
        self._at_most = at_most
        self._places = 0
        self._origins: Tensor | None = None
        self._lists: Lists = ()

    def forget(self) -> None:
        """Make all lists anew at the next call."""
        self._origins = None

    def __call__(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        # Of what is no number there is no list to make, and no pair to be found in one.
        sound = torch.isfinite(positions).all(-1).all(-1)
        self._renew(positions, sound)
        energies, forces = self.fitting(positions, *self._lists)
        energies = (energies.to(torch.float64) + self._shift).masked_fill(~sound, torch.nan)
        return energies, forces.to(torch.float64).masked_fill(~sound[:, None, None], torch.nan)

    def _of_rows(self, *of_rows: Tensor) -> tuple[Tensor, Tensor]:
        """Energies and forces of some replicas, from positions and lists, chunk by chunk."""
        count, atoms = of_rows[0].shape[:2]
        rows = rows_of_chunk(self._at_most or count, _AS_MUCH * atoms, of_rows[0].device)
        rows = min(rows, self.fitting.limit or rows)
        chunks = zip(*(self._filled(part, rows).split(rows) for part in of_rows), strict=True)
        found = [self._evaluated(*chunk) for chunk in chunks]
        return (
            torch.cat([energies for energies, _ in found])[:count],
            torch.cat([forces for _, forces in found])[:count],
        )

    @staticmethod
    def _filled(part: Tensor, rows: int) -> Tensor:
        """With copies of the first row, to whole chunks."""
        filling = -len(part) % rows
        return torch.cat([part, part[:1].expand(filling, *part.shape[1:])]) if filling else part

    def _evaluated(self, positions: Tensor, *lists: Tensor) -> tuple[Tensor, Tensor]:
        numbers = self.box.numbers.repeat(len(positions), 1)
        kind: Callable[..., AnyBatch] = PairBatch if self.native else TableBatch
        if self.compile:
            fields = (numbers, positions, *lists)
            energies, forces = graph_of(self.potential, kind, fields)(*self._state, *fields)
            return energies, forces
        if self.potential.tables:
            return energies_and_forces(self.potential, kind(numbers, positions, *lists))
        batch = graph_of_table(TableBatch(numbers, positions, *lists), self.potential.cutoff_A)
        energies, forces = energies_and_forces(self.potential, batch)
        return energies, forces.view(positions.shape)

    def _renew(self, positions: Tensor, sound: Tensor) -> None:
        """Make the lists of replicas that need it."""
        if self._origins is None or len(self._origins) != len(positions):
            self._make_all(positions, sound)
            return
        moved = (positions - self._origins).square().sum(-1).amax(-1)
        stale = (sound & ~(moved < (0.5 * self.skin_A) ** 2)).nonzero()[:, 0]
        if not len(stale):
            return
        lists, places = self._lists_for(positions[stale])
        if places > self._places:  # all lists have as many places
            self._make_all(positions, sound)
            return
        for kept, new in zip(self._lists, lists, strict=True):
            kept[stale] = new
        self._origins[stale] = positions[stale]
        self.lists_made += len(stale)

    def _make_all(self, positions: Tensor, sound: Tensor) -> None:
        places = torch.where(sound[:, None, None], positions, _apart(positions))
        self._lists, self._places = self._lists_for(places)
        self._origins = places.clone()
        self.lists_made += len(places)

    def _lists_for(self, positions: Tensor) -> tuple[Lists, int]:
        """Lists of replicas, made a few at a time, and how many places each atom has in them."""
        atoms, device = positions.shape[1], positions.device
        most = _TABLE_PAIRS.get(device.type, _TABLE_PAIRS["cpu"])
        parts = positions.split(max(1, most // atoms**2))
        tables, places = [], self._places
        for part in parts:
            tables.append(self._table(part, places))
            places = tables[-1].used.shape[-1]
        tables = [
            table if table.used.shape[-1] == places else self._table(part, places)
            for table, part in zip(tables, parts, strict=True)
        ]
        made = zip(*(self._lists_of(table) for table in tables), strict=True)
        return tuple(torch.cat(column) for column in made), places

    def _table(self, positions: Tensor, places: int) -> Table:
        reach = self.potential.cutoff_A + self.skin_A
        return neighbour_table(positions, self.box.cell, self.box.pbc, reach, places)

    def _lists_of(self, table: Table) -> Lists:
        if self.native:
            return pairs_once(table)
        return table.neighbours, table.reverse, table.shifts, table.used


def _apart(positions: Tensor) -> Tensor:
    """Atoms in a line, so far apart that they are no neighbours outside a box."""
    line = torch.arange(positions.shape[1], device=positions.device, dtype=positions.dtype)
    return (100.0 * line).view(-1, 1).expand(positions.shape)


def box_forces_for(
    potential: Potential, box: Box, positions: Tensor, steps: int
) -> tuple[BoxForces, Evaluation]:
    """Forces of a block of replicas, in the way that suits so many steps from these positions.

    Parameters
    ----------
    potential : Potential
    box : Box
    positions : Tensor of float64, shape (R, N, 3)
        In Å, of as many replicas as there will be at most.
    steps : int

    Raises
    ------
    InputError
        If the box holds an element that the potential does not know.
    """
    plain = BoxForces(potential, box, compile=False, at_most=len(positions))
    evaluation = repays(potential, box.numbers.device, float(positions[..., 0].numel() * steps))
    if evaluation.compiled and not potential.tables:
        evaluation = Evaluation(False, f"{potential.architecture} takes no tables")
    if not evaluation.compiled:
        return plain, evaluation
    fast, sample = BoxForces(potential, box, compile=True, at_most=len(positions)), positions[:2]
    try:
        compare(fast(sample), plain(sample))
    except RuntimeError as error:
        return plain, Evaluation(False, first_line(error))
    return fast, Evaluation(True, native=fast.native)
