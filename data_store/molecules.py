"""`Molecule`: a bond graph with charge, multiplicity and a reference geometry.

Sampling, labelling and dynamics all speak of it: which atoms are bonded decides what a stretched
bond is, and what a clash. Bond orders are Kekulé integers, so that a chemistry toolkit can rebuild
its own object. It is not a topology with force-field types.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_store.errors import StoreError
from data_store.formulas import hill_formula
from data_store.units import SYMBOLS

__all__ = ["UNCONNECTED", "Molecule"]

UNCONNECTED = 10_000
"""Topological distance of atoms that no path joins."""


@dataclass(frozen=True, eq=False)
class Molecule:
    """One molecule of N atoms.

    Parameters
    ----------
    name : str
    numbers : tuple of int
        Atomic numbers, (N,).
    bonds : tuple of (int, int)
        Sorted pairs i < j, each once.
    bond_orders : tuple of int
        Kekulé order (1, 2, 3) of each bond.
    formal_charges : tuple of int
        e, per atom; their sum is the charge.
    multiplicity : int
        Spin multiplicity 2S + 1.
    reference_positions : (N, 3) float64
        Å.

    Raises
    ------
    StoreError
        If the pieces do not fit together.
    """

    name: str
    numbers: tuple[int, ...]
    bonds: tuple[tuple[int, int], ...]
    bond_orders: tuple[int, ...]
    formal_charges: tuple[int, ...]
    multiplicity: int
    reference_positions: NDArray[np.float64]

    def __post_init__(self) -> None:
        count = len(self.numbers)
        if self.reference_positions.shape != (count, 3):
            raise StoreError(
                f"molecule {self.name!r}: {count} atoms, positions {self.reference_positions.shape}"
            )
        if not np.all(np.isfinite(self.reference_positions)):
            raise StoreError(f"molecule {self.name!r}: reference positions are not finite")
        if len(self.formal_charges) != count or len(self.bond_orders) != len(self.bonds):
            raise StoreError(f"molecule {self.name!r}: a charge per atom, an order per bond")
        if list(self.bonds) != sorted(set(self.bonds)) or any(
            not 0 <= i < j < count for i, j in self.bonds
        ):
            raise StoreError(f"molecule {self.name!r}: bonds must be sorted unique pairs i < j")
        if self.multiplicity < 1 or (self.electrons - self.multiplicity) % 2 == 0:
            raise StoreError(
                f"molecule {self.name!r}: {self.electrons} electrons cannot have "
                f"multiplicity {self.multiplicity}"
            )

    @property
    def charge(self) -> int:
        """Total charge, e."""
        return sum(self.formal_charges)

    @property
    def electrons(self) -> int:
        """Number of electrons."""
        return sum(self.numbers) - self.charge

    @property
    def symbols(self) -> tuple[str, ...]:
        """Element symbols, (N,)."""
        return tuple(SYMBOLS[number] for number in self.numbers)

    @property
    def formula(self) -> str:
        """Composition in Hill order (C, H, then the rest)."""
        return hill_formula(Counter(self.symbols))

    def bond_distance_matrix(self) -> NDArray[np.int64]:
        """Bonds on the shortest path between each two atoms, (N, N); `UNCONNECTED` where none."""
        count = len(self.numbers)
        steps = np.full((count, count), UNCONNECTED, dtype=np.int64)
        np.fill_diagonal(steps, 0)
        for i, j in self.bonds:
            steps[i, j] = steps[j, i] = 1
        for middle in range(count):
            steps = np.minimum(steps, steps[:, middle, None] + steps[None, middle, :])
        return np.minimum(steps, UNCONNECTED)

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back equal."""
        return {
            "name": self.name,
            "numbers": list(self.numbers),
            "bonds": [list(bond) for bond in self.bonds],
            "bond_orders": list(self.bond_orders),
            "formal_charges": list(self.formal_charges),
            "multiplicity": self.multiplicity,
            "reference_positions_A": self.reference_positions.tolist(),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Molecule:
        """Molecule from what `to_json` wrote.

        Raises
        ------
        StoreError
            If a key is missing or the pieces do not fit.
        """
        try:
            return Molecule(
                name=str(data["name"]),
                numbers=tuple(int(n) for n in data["numbers"]),
                bonds=tuple((int(i), int(j)) for i, j in data["bonds"]),
                bond_orders=tuple(int(o) for o in data["bond_orders"]),
                formal_charges=tuple(int(c) for c in data["formal_charges"]),
                multiplicity=int(data["multiplicity"]),
                reference_positions=np.array(data["reference_positions_A"], dtype=np.float64),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"stored molecule is unreadable: {error!r}") from error
