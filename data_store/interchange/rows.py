"""One structure as formats of single structures have it, and many of them as `Structures`.

Numbers are taken as they are in the file; `assembled` converts them. What a format cannot say gets
the value of a structure of which nothing is known: neutral, singlet, tier "imported", a trajectory
of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_store.errors import InputError
from data_store.interchange.convention import Convention
from data_store.structures import TIER_CODES, TIERS, Structures

__all__ = ["Row", "assembled", "blocks_of_rows", "named", "row_of", "unnamed"]

Array = NDArray[Any]
_IMPORTED = TIER_CODES["imported"]


@dataclass(frozen=True)
class Row:
    """One structure.

    Parameters
    ----------
    numbers : ndarray, shape (N,)
    positions : ndarray, shape (N, 3)
    energy : float, optional
    forces : ndarray, shape (N, 3), optional
    cell : ndarray, shape (3, 3), optional
    pbc : tuple of bool
    charge, multiplicity, tier, frame : int
    parent : int, optional
        By default the structure's place in the file.
    """

    numbers: Array
    positions: Array
    energy: float | None = None
    forces: Array | None = None
    cell: Array | None = None
    pbc: tuple[bool, bool, bool] = (False, False, False)
    charge: int = 0
    multiplicity: int = 1
    tier: int = _IMPORTED
    frame: int = 0
    parent: int | None = None


_INFORMATION = {
    "charge": "charge", "spin": "multiplicity", "multiplicity": "multiplicity",
    "parent": "parent", "frame": "frame",
}  # fmt: skip


def named(structures: Structures, index: int) -> dict[str, Any]:
    """What formats keep by name beside the atoms: charge, spin, tier, trajectory and frame.

    The spin multiplicity is ``spin``, as fairchem's sets have it.
    """
    return {
        "charge": int(structures.charges[index]),
        "spin": int(structures.multiplicities[index]),
        "tier": TIERS[structures.tiers[index]],
        "parent": int(structures.parents[index]),
        "frame": int(structures.frames[index]),
    }


def unnamed(told: dict[str, Any]) -> dict[str, Any]:
    """Fields of a `Row` from what a file tells by name; what is no whole number is left out."""
    found = {
        field: int(told[name])
        for name, field in _INFORMATION.items()
        if isinstance(told.get(name), int | np.integer) and not isinstance(told[name], bool)
    }
    tier = told.get("tier")
    return {**found, "tier": TIER_CODES.get(tier, _IMPORTED)} if isinstance(tier, str) else found


def row_of(structures: Structures, index: int) -> Row:
    """One of them."""
    energies, forces = structures.energies, structures.forces
    return Row(
        structures.numbers_of(index),
        structures.positions_of(index),
        None if energies is None else float(energies[index]),
        None if forces is None else structures.forces_of(index),
        structures.cells[index],
        tuple(bool(p) for p in structures.pbc[index]),  # type: ignore[arg-type]
        int(structures.charges[index]),
        int(structures.multiplicities[index]),
        int(structures.tiers[index]),
        int(structures.frames[index]),
        int(structures.parents[index]),
    )


def blocks_of_rows(
    path: Path, rows: Iterator[Row], convention: Convention, block: int
) -> Iterator[Structures]:
    """Structures, so many at a time.

    Raises
    ------
    InputError
        If there are none, or one is none.
    """
    first = 0
    while found := list(islice(rows, block)):
        yield assembled(path, found, convention, first)
        first += len(found)
    if not first:
        raise InputError(f"{path} holds no structures")


def assembled(path: Path, rows: Sequence[Row], convention: Convention, first: int) -> Structures:
    """Structures of rows, the first of which has this place in the file.

    Raises
    ------
    InputError
        If some are labelled and others are not, or a row is of no structure; it is named.
    """
    for place, row in enumerate(rows, first):
        _check(path, place, row)
    have = {(row.energy is not None, row.forces is not None) for row in rows}
    if len(have) > 1:
        raise InputError(
            f"{path}: structures {first} to {first + len(rows) - 1} are not all labelled alike: "
            "some have an energy or forces that others have not",
            "take apart what is labelled and what is not, into two files",
        )
    ((energies, forces),) = have
    atoms = [len(row.numbers) for row in rows]
    length = convention.length_A
    return Structures(
        numbers=np.concatenate([row.numbers for row in rows]).astype(np.uint8),
        positions=_converted([row.positions for row in rows], length),
        offsets=np.concatenate([[0], np.cumsum(atoms)]).astype(np.int64),
        cells=np.stack([_cell(row) for row in rows]) * length,
        pbc=np.array([row.pbc for row in rows], dtype=bool),
        charges=np.array([row.charge for row in rows], dtype=np.int16),
        multiplicities=np.array([row.multiplicity for row in rows], dtype=np.int16),
        tiers=np.array([row.tier for row in rows], dtype=np.uint8),
        parents=np.array(
            [first + i if r.parent is None else r.parent for i, r in enumerate(rows)], np.int64
        ),
        frames=np.array([row.frame for row in rows], dtype=np.int64),
        energies=np.array([row.energy for row in rows], np.float64) * convention.energy_eV
        if energies
        else None,
        forces=_converted([row.forces for row in rows], convention.force_eV_per_A)
        if forces
        else None,
    )


def _converted(pieces: Sequence[Any], factor: float) -> Array:
    """End to end, in float32 where all are, times a factor."""
    joined = np.concatenate(pieces)
    kept = joined if joined.dtype in (np.float32, np.float64) else joined.astype(np.float64)
    return kept if factor == 1.0 else np.asarray(kept * kept.dtype.type(factor))


def _cell(row: Row) -> Array:
    """Its cell, without what is said of directions that are not periodic."""
    if row.cell is None:
        return np.zeros((3, 3))
    return np.where(np.array(row.pbc)[:, None], np.asarray(row.cell, dtype=np.float64), 0.0)


def _check(path: Path, place: int, row: Row) -> None:
    atoms = np.shape(row.numbers)
    shapes = {"positions": row.positions, "forces": row.forces}
    told = ", ".join(f"{n} of shape {np.shape(v)}" for n, v in shapes.items() if v is not None)
    wrong = [n for n, v in shapes.items() if v is not None and np.shape(v) != (*atoms, 3)]
    if len(atoms) != 1 or not atoms[0] or wrong:
        raise InputError(
            f"{path}: structure {place} has {atoms} atomic numbers and {told}",
            "expected N numbers, and positions and forces of shape (N, 3)",
        )
    if not ((np.asarray(row.numbers) >= 1) & (np.asarray(row.numbers) <= 118)).all():
        raise InputError(
            f"{path}: structure {place} has an atom of no element", "expected numbers 1 to 118"
        )
    if (row.cell is not None and np.shape(row.cell) != (3, 3)) or len(row.pbc) != 3:
        raise InputError(f"{path}: the cell of structure {place} is not three vectors")
    for name, value in {**shapes, "energy": row.energy, "cell": row.cell}.items():
        if value is None:
            continue
        if not np.issubdtype(np.asarray(value).dtype, np.number) or not np.isfinite(value).all():
            raise InputError(
                f"{path}: {name} of structure {place} is not finite",
                "remove or relabel that structure",
            )
    if not (abs(row.charge) < 2**15 and 1 <= row.multiplicity < 2**15):
        raise InputError(
            f"{path}: structure {place} has charge {row.charge} and multiplicity "
            f"{row.multiplicity}",
            "expected a small whole charge, and a multiplicity of at least 1",
        )
