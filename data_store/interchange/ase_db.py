"""ASE's database: one SQLite file of single structures, which many tools read.

Charge, spin, tier, trajectory and frame are in a row's ``data``, where fairchem's sets have the
first two; energy and forces are its results. Numbers are kept in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_store.errors import InputError
from data_store.interchange.convention import Convention
from data_store.interchange.rows import Row, blocks_of_rows, named, row_of, unnamed
from data_store.structures import Structures

__all__ = ["atoms_of", "read_ase_db", "write_ase_db"]


def read_ase_db(path: Path, convention: Convention, block: int) -> Iterator[Structures]:
    """Structures of a file, a block at a time.

    Raises
    ------
    InputError
        If it cannot be read, or a row is no structure.
    """
    yield from blocks_of_rows(path, _rows(path), convention, block)


def _rows(path: Path) -> Iterator[Row]:
    import ase.db

    if not path.is_file():
        raise InputError(f"{path}: no such file", "expected a database of ASE")
    try:
        with ase.db.connect(path, type="db", use_lock_file=False) as database:
            for row in database.select():
                yield _row(row)
    except InputError:
        raise
    except Exception as error:  # ASE and SQLite each in their own words
        raise InputError(
            f"{path} cannot be read as a database of ASE: {type(error).__name__}: {error}",
            "expected an SQLite file that ase.db wrote",
        ) from error


def _row(row: Any) -> Row:
    energy, forces = row.get("energy"), row.get("forces")
    return Row(
        np.asarray(row.numbers),
        np.asarray(row.positions),
        None if energy is None else float(energy),
        None if forces is None else np.asarray(forces),
        np.asarray(row.cell),
        tuple(bool(p) for p in row.pbc),  # type: ignore[arg-type]
        **unnamed({**row.data, **row.key_value_pairs}),
    )


def write_ase_db(path: Path, blocks: Iterator[Structures]) -> None:
    """Write structures into a new file."""
    import ase.db

    with ase.db.connect(path, type="db", use_lock_file=False) as database:
        for structures in blocks:
            for index in range(len(structures)):
                database.write(atoms_of(structures, index), data=named(structures, index))


def atoms_of(structures: Structures, index: int) -> Any:
    """One structure as ASE's `Atoms`, its labels as results."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    row = row_of(structures, index)
    atoms = Atoms(row.numbers, row.positions, cell=row.cell, pbc=row.pbc)
    results = {"energy": row.energy, "forces": row.forces}
    known = {name: value for name, value in results.items() if value is not None}
    if known:
        atoms.calc = SinglePointCalculator(atoms, **known)
    return atoms
