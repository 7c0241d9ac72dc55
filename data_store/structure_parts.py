"""`Structures` as columns of a part, and back.

Offsets are stored with the structures, so that rows ``start:stop`` need two short reads to find
their atoms. Conversion of units is refused, not done.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_store.arrays import Rows
from data_store.columns import Column
from data_store.parts import Part
from data_store.structures import Structures

__all__ = [
    "PER_ATOM",
    "PER_STRUCTURE",
    "StructureReader",
    "count_structures",
    "read_structures",
    "structures_to_columns",
]

_OFFSETS_READ = 1 << 17

PER_ATOM = {"numbers": "", "positions": "Å", "forces": "eV/Å"}
"""Columns with a row for each atom, and their units."""

PER_STRUCTURE = {
    "cells": "Å",
    "pbc": "",
    "charges": "",
    "multiplicities": "",
    "tiers": "",
    "parents": "",
    "frames": "",
    "energies": "eV",
}
"""Columns with a row for each structure, and their units."""


def structures_to_columns(structures: Structures) -> dict[str, Column]:
    """Columns that hold these structures."""
    columns = {"offsets": Column(structures.offsets)}
    for name, unit in {**PER_ATOM, **PER_STRUCTURE}.items():
        value = getattr(structures, name)
        if value is not None:
            columns[name] = Column(value, unit)
    return columns


def count_structures(part: Part) -> int:
    """Number of structures in a part, without reading them."""
    return part.shape("offsets")[0] - 1


def read_structures(part: Part, start: int | None = None, stop: int | None = None) -> Structures:
    """Structures start to stop of a part.

    Raises
    ------
    StoreError
        If the part holds none, or in other units.
    """
    return StructureReader(part).read(start, stop)


class StructureReader:
    """Structures of one part, whose arrays are opened once for any number of reads.

    Parameters
    ----------
    part : Part

    Raises
    ------
    StoreError
        If the part holds none, or in other units.
    """

    def __init__(self, part: Part) -> None:
        self._count = count_structures(part)
        self._per_atom = [name for name in PER_ATOM if name in part.units]
        self._per_structure = [name for name in PER_STRUCTURE if name in part.units]
        units = {"offsets": "", **PER_ATOM, **PER_STRUCTURE}
        names = ("offsets", *self._per_atom, *self._per_structure)
        self._arrays = part.arrays({name: units[name] for name in names})

    def read(self, start: int | None = None, stop: int | None = None) -> Structures:
        """Structures start to stop.

        Raises
        ------
        StoreError
            If what is stored is damaged or makes no structures.
        """
        first, last, _ = slice(start, stop).indices(self._count)
        last = max(first, last)
        values = self._read(slice(first, last + 1), slice(first, last))
        offsets = values["offsets"]
        return self._made(values, offsets - offsets[0], slice(int(offsets[0]), int(offsets[-1])))

    def most_atoms(self) -> int:
        """Atoms of the largest structure, 0 where there is none."""
        most = 0
        for start in range(0, self._count, _OFFSETS_READ):
            stop = min(start + _OFFSETS_READ, self._count)
            offsets = self._arrays.read({"offsets": slice(start, stop + 1)})["offsets"]
            most = max(most, int(np.diff(offsets).max()))
        return most

    def take(self, rows: NDArray[np.int64]) -> Structures:
        """Structures at `rows`, (K,), few and far between: of each, its chunks are read alone.

        Raises
        ------
        StoreError
            If what is stored is damaged or makes no structures, or there are no such rows.
        """
        values = self._read(np.concatenate([rows, rows + 1]), rows)
        first, last = values["offsets"].reshape(2, -1)
        offsets = np.concatenate([[0], np.cumsum(last - first)])
        atoms = np.repeat(first - offsets[:-1], last - first) + np.arange(offsets[-1])
        return self._made(values, offsets, atoms)

    def _read(self, offsets: Rows, rows: Rows) -> dict[str, Any]:
        return self._arrays.read({"offsets": offsets, **dict.fromkeys(self._per_structure, rows)})

    def _made(self, values: dict[str, Any], offsets: NDArray[Any], atoms: Rows) -> Structures:
        values |= self._arrays.read(dict.fromkeys(self._per_atom, atoms))
        return Structures(**{**values, "offsets": np.asarray(offsets, dtype=np.int64)})
