"""`LabelledBoxes`: labelled periodic structures, each with the neighbours that its atoms have.

Positions of labels do not move: neighbours are listed once, up to the cutoff and no skin beyond,
and kept with the structures, as a table of one width for all (`apps.potential.tables`). As defined
a potential is evaluated on the list of its pairs (any potential takes one); compiled work, which
wants one shape, takes the table itself (`LabelledTables`). Atoms are wrapped into their cell, where
float32 resolves positions to a millionth of an Ångström wherever they were given. Structures may
differ in number of atoms, cell and periodic directions; some may be isolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apps.potential.batch import AnyBatch, GraphBatch, TableBatch
from apps.potential.tables import Table, completed_cell, neighbour_table, resized
from apps.training.labelled_set import LabelledSet
from data_store.structures import Structures

__all__ = ["LabelledBoxes", "LabelledTables", "labelled_set"]

_PLACES_AT_ONCE = 50_000
"""Places for neighbours that are evaluated together: each takes some 10 kB while the forces of a
small PaiNN are differentiated."""


@dataclass(frozen=True)
class LabelledBoxes(LabelledSet):
    """Labelled structures, periodic or not, and their neighbours.

    Parameters
    ----------
    neighbours, reverse : Tensor of int64, shape (S, N, K)
        As in `TableBatch`.
    shifts : Tensor of float32, shape (S, N, K, 3)
        In Å.
    used : Tensor of bool, shape (S, N, K)
    """

    neighbours: Tensor
    reverse: Tensor
    shifts: Tensor
    used: Tensor

    @staticmethod
    def listed(
        structures: Structures,
        device: torch.device,
        cutoff_A: float,
        padded_atoms: int | None = None,
    ) -> LabelledBoxes:
        """Set of labelled structures with all neighbours closer than a cutoff.

        Raises
        ------
        StoreError
            If they carry no energies or forces.
        InputError
            If a periodic direction has no length.
        """
        labelled = LabelledSet.of(structures, torch.device("cpu"), padded_atoms)
        tables = []
        for index in range(len(structures)):
            positions, table = _listed(structures, index, cutoff_A)
            labelled.positions[index, : len(positions)] = positions
            tables.append(table)
        most = max(int(table.used.sum(-1).max()) for table in tables)
        alike = [resized(table, labelled.padded_atoms, max(1, most)) for table in tables]
        rows = zip(
            *((t.neighbours, t.reverse, t.shifts.float(), t.used) for t in alike), strict=True
        )
        return LabelledBoxes(*labelled.tensors, *(torch.cat(row) for row in rows)).to(device)

    @property
    def batch(self) -> AnyBatch:
        """Pairs closer than the cutoff, of real atoms alone."""
        real = self.numbers > 0
        place = real.flatten().cumsum(0).view(real.shape) - 1  # among the real atoms
        structure, centre, slot = self.used.nonzero().unbind(1)
        neighbour = self.neighbours[structure, centre, slot]
        return GraphBatch(
            numbers=self.numbers[real],
            positions=self.positions[real],
            structure=real.nonzero()[:, 0],
            pairs=torch.stack([place[structure, centre], place[structure, neighbour]]),
            shifts=self.shifts[structure, centre, slot],
            n_structures=len(self),
        )

    def by_structure(self, forces: Tensor) -> Tensor:
        """See `LabelledSet.by_structure`; 0 for padding."""
        return torch.zeros_like(self.positions).index_put((self.numbers > 0,), forces)

    @property
    def most_at_once(self) -> int:
        """See `LabelledSet.most_at_once`."""
        return max(1, _PLACES_AT_ONCE // self.used[0].numel())

    def pieces(self) -> tuple[Self, ...]:
        """See `LabelledSet.pieces`."""
        split = (tensor.split(self.most_at_once) for tensor in self.tensors)
        return tuple(type(self)(*part) for part in zip(*split, strict=True))

    @property
    def tabled(self) -> LabelledTables:
        """The same, to be evaluated on tables."""
        return LabelledTables(*self.tensors)


@dataclass(frozen=True)
class LabelledTables(LabelledBoxes):
    """Labelled structures that are evaluated on tables of neighbours.

    Only for potentials that take them (`Potential.tables`).
    """

    @property
    def batch(self) -> AnyBatch:
        """What a potential is evaluated on."""
        return TableBatch(
            self.numbers, self.positions, self.neighbours, self.reverse, self.shifts, self.used
        )

    def by_structure(self, forces: Tensor) -> Tensor:
        """See `LabelledSet.by_structure`."""
        return forces


def _listed(structures: Structures, index: int, cutoff_A: float) -> tuple[Tensor, Table]:
    """Positions of one structure wrapped into its cell, in Å, and its neighbours."""
    given = structures.positions_of(index).astype(np.float64)
    periodic = structures.pbc[index]
    pbc = (bool(periodic[0]), bool(periodic[1]), bool(periodic[2]))
    cell = torch.from_numpy(structures.cells[index].astype(np.float64))
    positions = torch.from_numpy(given)
    if any(pbc):
        box = completed_cell(cell, pbc)
        whole = torch.floor(positions @ torch.linalg.inv(box)) * torch.tensor(pbc)
        positions = positions - whole @ box
    # What is listed are the positions that are evaluated: those in single precision.
    positions = positions.float().double()
    return positions, neighbour_table(positions[None], cell, pbc, cutoff_A)


def labelled_set(structures: Structures, device: torch.device, cutoff_A: float) -> LabelledSet:
    """Labelled structures in the form that suits them: all isolated, or some periodic.

    Raises
    ------
    StoreError
        If they carry no energies or forces.
    InputError
        If a periodic direction has no length.
    """
    periodic: NDArray[np.bool_] = structures.pbc
    if not periodic.any():
        return LabelledSet.of(structures, device)
    return LabelledBoxes.listed(structures, device, cutoff_A)
