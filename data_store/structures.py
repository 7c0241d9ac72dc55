"""`Structures`: a frozen batch of ragged atomic structures, the noun everything else speaks of.

Atoms of all structures lie on one flat axis, and ``offsets`` tells where each begins, so that ten
thousand molecules of different size are a few arrays and no objects. Energy and forces are
optional; provenance (tier, parent trajectory, frame) is not, because splits must know what is
related.

A change is a new value: nothing here mutates. It is not a trajectory format and holds no bonds (see
`data_store.molecules.Molecule`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_store.errors import StoreError

__all__ = ["TIERS", "TIER_CODES", "Structures", "concatenate"]

TIERS = (
    "unknown",
    "langevin",
    "noise",
    "scan",
    "clash",
    "normal_mode",
    "angle",
    "pair",
    "fragment",
    "imported",
    "dynamics",
)
"""Where a structure comes from. Codes are stored: append, never reorder."""

TIER_CODES = {name: code for code, name in enumerate(TIERS)}

Array = NDArray[Any]
_ATOM_AXIS = ("numbers", "positions", "forces")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise StoreError(f"Structures: {message}")


@dataclass(frozen=True, eq=False)
class Structures:
    """S structures with A atoms in all.

    Parameters
    ----------
    numbers : (A,) uint8
        Atomic numbers, 1 to 118.
    positions : (A, 3) float32 or float64
        Å.
    offsets : (S + 1,) int64
        Structure i owns atoms ``offsets[i]:offsets[i + 1]``.
    cells : (S, 3, 3) float64
        Row vectors in Å, zeros along directions that are not periodic.
    pbc : (S, 3) bool
    charges : (S,) int16
        Total charge, e.
    multiplicities : (S,) int16
        Spin multiplicity 2S + 1.
    tiers : (S,) uint8
        Codes into `TIERS`.
    parents : (S,) int64
        Trajectory (or time block) it belongs to; never split between train and test.
    frames : (S,) int64
        Time order within the parent.
    energies : (S,) float64, optional
        eV; always float64, since a float32 step at -17,600 eV is 2 meV.
    forces : (A, 3) float32 or float64, optional
        eV/Å.

    Raises
    ------
    StoreError
        If shapes disagree, offsets are not increasing, or a value is not finite.
    """

    numbers: Array
    positions: Array
    offsets: Array
    cells: Array
    pbc: Array
    charges: Array
    multiplicities: Array
    tiers: Array
    parents: Array
    frames: Array
    energies: Array | None = None
    forces: Array | None = None

    def __post_init__(self) -> None:
        self._check_shapes()
        self._check_values()

    def _check_shapes(self) -> None:
        count, atoms = len(self.offsets) - 1, len(self.numbers)
        _require(count >= 0 and self.offsets[0] == 0, "offsets must start at 0")
        _require(bool(np.all(np.diff(self.offsets) > 0)), "every structure needs an atom")
        _require(int(self.offsets[-1]) == atoms, f"offsets end at {self.offsets[-1]} of {atoms}")
        expected: dict[str, tuple[int, ...]] = {
            "numbers": (atoms,),
            "positions": (atoms, 3),
            "cells": (count, 3, 3),
            "pbc": (count, 3),
            "forces": (atoms, 3),
        }
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None or field.name == "offsets":
                continue
            shape = expected.get(field.name, (count,))
            _require(value.shape == shape, f"{field.name} has shape {value.shape}, not {shape}")

    def _check_values(self) -> None:
        _require(self.positions.dtype.kind == "f", "positions must be floating point")
        _require(
            bool(np.all((self.numbers > 0) & (self.numbers < 119))), "atomic number not 1..118"
        )
        _require(bool(np.all(self.multiplicities >= 1)), "multiplicity below 1")
        _require(bool(np.all(self.tiers < len(TIERS))), f"tier code beyond {len(TIERS) - 1}")
        for name in ("positions", "cells", "energies", "forces"):
            value = getattr(self, name)
            if value is not None and not np.all(np.isfinite(value)):
                first = int(np.argwhere(~np.isfinite(value))[0][0])
                where = self._owner(first) if name in _ATOM_AXIS else first
                raise StoreError(f"Structures: {name} of structure {where} is not finite")

    def _owner(self, atom: int) -> int:
        return int(np.searchsorted(self.offsets, atom, side="right")) - 1

    @staticmethod
    def from_dense(
        numbers: ArrayLike,
        positions: ArrayLike,
        *,
        energies: ArrayLike | None = None,
        forces: ArrayLike | None = None,
        charge: int = 0,
        multiplicity: int = 1,
        tiers: ArrayLike = 0,
        parents: ArrayLike | None = None,
        frames: ArrayLike | None = None,
        cell: ArrayLike | None = None,
    ) -> Structures:
        """Build S structures of the same N atoms.

        Parameters
        ----------
        numbers : (N,) int
        positions : (S, N, 3) float
            Å; float32 stays float32.
        energies : (S,) float, optional
            eV.
        forces : (S, N, 3) float, optional
            eV/Å.
        charge, multiplicity : int
            Of every structure.
        tiers, parents, frames : int or (S,) int, optional
            By default tier 0, a parent of its own for each, frame 0.
        cell : (3, 3) float, optional
            Å; periodic in all directions where given.
        """
        where = np.asarray(positions)
        where = where if where.dtype == np.float32 else where.astype(np.float64)
        _require(where.ndim == 3 and where.shape[2:] == (3,), f"positions of shape {where.shape}")
        count, atoms = where.shape[:2]
        kinds = np.asarray(numbers, dtype=np.uint8)
        _require(kinds.shape == (atoms,), f"{kinds.shape} numbers for {atoms} atoms")
        box = np.zeros((3, 3)) if cell is None else np.asarray(cell, dtype=np.float64)
        return Structures(
            numbers=np.tile(kinds, count),
            positions=where.reshape(-1, 3),
            offsets=np.arange(count + 1, dtype=np.int64) * atoms,
            cells=np.tile(box, (count, 1, 1)),
            pbc=np.full((count, 3), cell is not None),
            charges=np.full(count, charge, dtype=np.int16),
            multiplicities=np.full(count, multiplicity, dtype=np.int16),
            tiers=np.full(count, tiers, dtype=np.uint8),
            parents=np.array(
                np.broadcast_to(np.arange(count) if parents is None else parents, count), np.int64
            ),
            frames=np.array(np.broadcast_to(0 if frames is None else frames, count), np.int64),
            energies=None if energies is None else np.asarray(energies, dtype=np.float64),
            forces=None if forces is None else np.asarray(forces).reshape(-1, 3),
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def n_atoms(self) -> int:
        """Atoms in all structures together."""
        return len(self.numbers)

    @property
    def atom_counts(self) -> Array:
        """Atoms of each structure, (S,) int64."""
        return np.diff(self.offsets)

    def numbers_of(self, index: int) -> Array:
        """Atomic numbers of one structure, (N,)."""
        return self.numbers[self.offsets[index] : self.offsets[index + 1]]

    def positions_of(self, index: int) -> Array:
        """Positions of one structure, (N, 3) Å."""
        return self.positions[self.offsets[index] : self.offsets[index + 1]]

    def forces_of(self, index: int) -> Array:
        """Forces on one structure, (N, 3) eV/Å.

        Raises
        ------
        StoreError
            If these structures carry no forces.
        """
        return self.labelled_forces()[self.offsets[index] : self.offsets[index + 1]]

    def slice(self, start: int, stop: int) -> Structures:
        """Structures start to stop (views, no copy)."""
        start, stop, _ = slice(start, stop).indices(len(self))
        atoms = slice(int(self.offsets[start]), int(self.offsets[max(start, stop)]))
        per = slice(start, max(start, stop))
        offsets = self.offsets[start : max(start, stop) + 1] - atoms.start
        return self._with_rows(offsets, lambda v: v[atoms], lambda v: v[per])

    def take(self, indices: ArrayLike) -> Structures:
        """Structures at `indices`, (K,) int, in that order (copies)."""
        chosen = np.asarray(indices, dtype=np.int64)
        counts = self.atom_counts[chosen]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

        def of_structures(values: Array) -> Array:
            return values.take(chosen, axis=0)

        if self._equal_counts():
            shape = (len(self), self.n_atoms // len(self))

            def of_equal(values: Array) -> Array:
                dense = values.reshape(shape + values.shape[1:])
                return dense.take(chosen, axis=0).reshape(-1, *values.shape[1:])

            return self._with_rows(offsets, of_equal, of_structures)
        # Atom rows of each chosen structure, laid end to end without a Python loop.
        rows = np.repeat(self.offsets[:-1][chosen] - offsets[:-1], counts) + np.arange(offsets[-1])
        return self._with_rows(offsets, lambda v: v.take(rows, axis=0), of_structures)

    def _equal_counts(self) -> bool:
        counts = self.atom_counts
        return len(counts) > 0 and bool(np.all(counts == counts[0]))

    def _with_rows(
        self,
        offsets: Array,
        of_atoms: Callable[[Array], Array],
        of_structures: Callable[[Array], Array],
    ) -> Structures:
        values: dict[str, Any] = {"offsets": offsets}
        for name in _BESIDE_OFFSETS:
            value = self.__dict__[name]
            if value is not None:
                value = of_atoms(value) if name in _ATOM_AXIS else of_structures(value)
            values[name] = value
        return _of_checked(values)

    def dense_positions(self) -> Array:
        """Positions of structures of equal size, (S, N, 3) Å.

        Raises
        ------
        StoreError
            If atom counts differ.
        """
        return self.positions.reshape(len(self), self._equal_count(), 3)

    def dense_forces(self) -> Array:
        """Forces on structures of equal size, (S, N, 3) eV/Å.

        Raises
        ------
        StoreError
            If atom counts differ or there are no forces.
        """
        return self.labelled_forces().reshape(len(self), self._equal_count(), 3)

    def with_labels(self, energies: Array, forces: Array) -> Structures:
        """Same structures with these energies, (S,) eV, and forces, (A, 3) eV/Å."""
        return replace(self, energies=np.asarray(energies, np.float64), forces=forces)

    def labelled_energies(self) -> Array:
        """Energies, (S,) eV.

        Raises
        ------
        StoreError
            If these structures carry none.
        """
        return self._labelled("energies")

    def labelled_forces(self) -> Array:
        """Forces on all atoms, (A, 3) eV/Å.

        Raises
        ------
        StoreError
            If these structures carry none.
        """
        return self._labelled("forces")

    def _labelled(self, name: str) -> Array:
        value: Array | None = getattr(self, name)
        if value is None:
            raise StoreError(f"these {len(self)} structures carry no {name}", "label them first")
        return value

    def _equal_count(self) -> int:
        counts = np.unique(self.atom_counts)
        _require(len(counts) == 1, f"atom counts {counts.tolist()} are not equal")
        return int(counts[0])


_BESIDE_OFFSETS = tuple(field.name for field in fields(Structures) if field.name != "offsets")


def _of_checked(values: dict[str, Any]) -> Structures:
    """Structures from rows of others, which were checked when these were made."""
    structures = object.__new__(Structures)
    structures.__dict__.update(values)
    return structures


def concatenate(batches: Sequence[Structures]) -> Structures:
    """One batch from many, in order.

    Raises
    ------
    StoreError
        If there is nothing to join, or only some carry energies or forces.
    """
    _require(len(batches) > 0, "nothing to concatenate")
    counts = np.concatenate([batch.atom_counts for batch in batches])
    joined: dict[str, Any] = {"offsets": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)}
    for name in _BESIDE_OFFSETS:
        values = [getattr(batch, name) for batch in batches]
        present = [value is not None for value in values]
        _require(all(present) or not any(present), f"only some batches carry {name}")
        joined[name] = np.concatenate(values) if present[0] else None
    return _of_checked(joined)
