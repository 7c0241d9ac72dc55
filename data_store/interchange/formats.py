"""The registry of formats: by name, or by a file's suffix; how each is read and written.

Each reads blocks of `Structures`, converted to eV and Å, and writes blocks of them. What a format
cannot hold is said in its record, never dropped silently: `campaign data export` tells it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from data_store.errors import InputError, unknown_name
from data_store.extxyz import REFERENCE, extxyz_blocks, write_extxyz_blocks
from data_store.interchange.ase_db import read_ase_db, write_ase_db
from data_store.interchange.convention import Convention
from data_store.interchange.lmdb import read_lmdb, write_lmdb
from data_store.interchange.mace_hdf5 import read_mace_hdf5, write_mace_hdf5
from data_store.interchange.npz import read_npz, write_npz
from data_store.structures import Structures

__all__ = ["BLOCK", "FORMATS", "Format", "format_of"]

BLOCK = 4096
"""Structures read at a time."""


@dataclass(frozen=True)
class Format:
    """A format of structures.

    Parameters
    ----------
    title : str
        What it is called in print.
    suffixes : tuple of str
        Of files that have it unless another is named; none where it must be named.
    read : callable
        From a path, a convention and a number of structures to blocks of as many.
    write : callable
        Of a path and blocks.
    loses : str
        What it cannot hold; empty where a round trip is exact.
    """

    title: str
    suffixes: tuple[str, ...]
    read: Callable[[Path, Convention, int], Iterator[Structures]]
    write: Callable[[Path, Iterator[Structures]], None]
    loses: str = ""


def _read_extxyz(path: Path, convention: Convention, block: int) -> Iterator[Structures]:
    """Blocks of a labelled file."""
    for structures in extxyz_blocks(path, block):
        yield structures if convention == Convention() else _converted(structures, convention)


def _converted(structures: Structures, convention: Convention) -> Structures:
    """Labelled structures of a file in other units than eV and Å."""
    return replace(
        structures,
        positions=structures.positions * convention.length_A,
        cells=structures.cells * convention.length_A,
        energies=structures.labelled_energies() * convention.energy_eV,
        forces=structures.labelled_forces() * convention.force_eV_per_A,
    )


_DOUBLE = "float32 becomes float64, with the same values"

FORMATS: dict[str, Format] = {
    "extxyz": Format(
        "extended xyz", (".extxyz", ".xyz"), _read_extxyz, write_extxyz_blocks, _DOUBLE
    ),
    "mace-extxyz": Format(
        "extended xyz as MACE has it",
        (),
        _read_extxyz,
        partial(write_extxyz_blocks, names=REFERENCE),
        _DOUBLE,
    ),
    "ase-db": Format("ASE database", (".db",), read_ase_db, write_ase_db, _DOUBLE),
    "lmdb": Format(
        "LMDB as fairchem has it", (".aselmdb", ".lmdb"), read_lmdb, write_lmdb, _DOUBLE
    ),
    "mace-hdf5": Format("HDF5 as MACE has it", (".h5", ".hdf5"), read_mace_hdf5, write_mace_hdf5),
    "npz": Format("arrays of numpy", (".npz",), read_npz, write_npz),
}
"""By name."""


def format_of(path: Path, name: str | None = None) -> Format:
    """Format of a file.

    Parameters
    ----------
    path : Path
    name : str, optional
        By default what the suffix says.

    Raises
    ------
    InputError
        If there is no such format, or the suffix says none.
    """
    if name is not None:
        if name not in FORMATS:
            raise unknown_name("format", name, list(FORMATS))
        return FORMATS[name]
    found = [kind for kind in FORMATS.values() if path.suffix.lower() in kind.suffixes]
    if not found:
        known = "; ".join(
            f"{n}: {', '.join(kind.suffixes)}" for n, kind in FORMATS.items() if kind.suffixes
        )
        raise InputError(f"{path}: no format has the suffix {path.suffix!r}", f"known are {known}")
    return found[0]
