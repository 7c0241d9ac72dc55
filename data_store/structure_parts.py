"""`Structures` as columns of a part, and back.

Offsets are stored with the structures, so that rows ``start:stop`` need two short reads to find
their atoms. Conversion of units is refused, not done.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data_store.columns import Column
from data_store.parts import Part
from data_store.structures import Structures

__all__ = ["count_structures", "read_structures", "structures_to_columns"]

_PER_ATOM = {"numbers": "", "positions": "Å", "forces": "eV/Å"}
_PER_STRUCTURE = {
    "cells": "Å",
    "pbc": "",
    "charges": "",
    "multiplicities": "",
    "tiers": "",
    "parents": "",
    "frames": "",
    "energies": "eV",
}


def structures_to_columns(structures: Structures) -> dict[str, Column]:
    """Columns that hold these structures."""
    columns = {"offsets": Column(structures.offsets)}
    for name, unit in {**_PER_ATOM, **_PER_STRUCTURE}.items():
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
    first, last, _ = slice(start, stop).indices(count_structures(part))
    last = max(first, last)
    offsets = part.read("offsets", "", first, last + 1)
    values: dict[str, Any] = {"offsets": np.asarray(offsets - offsets[0], dtype=np.int64)}
    for name, unit in _PER_ATOM.items():
        if name in part.units:
            values[name] = part.read(name, unit, int(offsets[0]), int(offsets[-1]))
    for name, unit in _PER_STRUCTURE.items():
        if name in part.units:
            values[name] = part.read(name, unit, first, last)
    return Structures(**values)
