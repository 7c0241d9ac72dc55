"""A column: an array and its unit, the atom of everything stored.

The unit is part of the value: a reader names the unit it expects and is refused another. There is
no conversion here; adapters of foreign codes convert before they store.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from data_store.errors import StoreError

__all__ = ["UNITS", "Column"]

UNITS = ("", "eV", "Å", "eV/Å", "fs", "ps", "K", "e", "amu", "Å/fs")
"""Units that a stored array may carry; the empty one is for counts, codes and indices."""


class Column(NamedTuple):
    """Values with their unit (one of `UNITS`)."""

    values: np.ndarray[Any, Any]
    unit: str = ""

    def checked(self, name: str) -> Column:
        """Same column, contiguous, little-endian and refused where it cannot be stored.

        Raises
        ------
        StoreError
            If the unit is unknown or the dtype is not a plain number.
        """
        if self.unit not in UNITS:
            raise StoreError(f"column {name!r} has unit {self.unit!r}", f"valid: {UNITS}")
        values = np.ascontiguousarray(self.values).reshape(np.shape(self.values))
        if values.dtype.kind not in "iufb":
            raise StoreError(f"column {name!r} has dtype {values.dtype}", "store plain numbers")
        return Column(values.astype(values.dtype.newbyteorder("<"), copy=False), self.unit)
