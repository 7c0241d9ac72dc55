"""LMDB in the layout of fairchem's ASE databases: a row of ASE's database for each key.

Keys are whole numbers from 1, as text; values are JSON of ASE, compressed by zlib; ``nextid`` and
``deleted_ids`` say which keys there are (``LMDBDatabase`` of fairchem-core, ``.aselmdb``). The
older layout of pickled graphs is refused: a pickle runs what code it holds.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_store.errors import InputError
from data_store.interchange.ase_db import atoms_of
from data_store.interchange.convention import Convention
from data_store.interchange.rows import Row, blocks_of_rows, named, unnamed
from data_store.structures import Structures

__all__ = ["read_lmdb", "write_lmdb"]

_NEXT, _DELETED = b"nextid", b"deleted_ids"
_MAP_BYTES = 1 << 40
"""Address space of the file, not its size."""

_PICKLE = b"\x80"


def read_lmdb(path: Path, convention: Convention, block: int) -> Iterator[Structures]:
    """Structures of a file, a block at a time.

    Raises
    ------
    InputError
        If the package `lmdb` is not installed, the file cannot be read, or holds pickles.
    """
    yield from blocks_of_rows(path, _rows(path), convention, block)


def _library() -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise InputError(
            "LMDB needs the package lmdb", "pip install 'mlip-campaign[formats]'"
        ) from error
    return lmdb


def _rows(path: Path) -> Iterator[Row]:
    lmdb = _library()
    if not path.exists():
        raise InputError(f"{path}: no such file", "expected an .aselmdb file")
    try:
        environment = lmdb.open(
            str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False
        )
    except lmdb.Error as error:
        raise InputError(f"{path} cannot be read as LMDB: {error}") from error
    with environment, environment.begin() as transaction:
        for key in _keys(path, transaction):
            value = transaction.get(key)
            if value is None:
                raise InputError(f"{path}: key {key.decode()} is missing", "copy the file anew")
            yield _row(path, key, value)


def _keys(path: Path, transaction: Any) -> Iterator[bytes]:
    following = transaction.get(_NEXT)
    if following is None:
        raise InputError(
            f"{path} says no nextid: it is not of the layout of fairchem's ASE databases",
            "convert it by fairchem; older files of pickled graphs are refused, since a pickle "
            "runs what code it holds",
        )
    deleted = transaction.get(_DELETED)
    try:
        last = int(_decoded(following))
        gone = set(_decoded(deleted)) if deleted is not None else set()
    except (ValueError, TypeError, zlib.error) as error:
        raise InputError(f"{path}: its nextid or deleted_ids cannot be read: {error}") from error
    return (str(number).encode() for number in range(1, last) if number not in gone)


def _decoded(value: bytes) -> Any:
    from ase.io.jsonio import decode

    return decode(zlib.decompress(value).decode())


def _row(path: Path, key: bytes, value: bytes) -> Row:
    if value[:1] == _PICKLE:
        raise InputError(
            f"{path}: key {key.decode()} is a pickle, which would run what code it holds",
            "convert it by the program that wrote it, to an ASE LMDB or extended xyz",
        )
    try:
        held = _decoded(value)
        pairs = {**held.get("data", {}), **held.get("key_value_pairs", {})}
        energy, forces = held.get("energy"), held.get("forces")
        return Row(
            np.asarray(held["numbers"]),
            np.asarray(held["positions"]),
            None if energy is None else float(energy),
            None if forces is None else np.asarray(forces),
            np.asarray(held["cell"]) if "cell" in held else None,
            tuple(bool(p) for p in held.get("pbc", (False,) * 3)),  # type: ignore[arg-type]
            **unnamed(pairs),
        )
    except Exception as error:  # zlib, JSON, ASE's decoder, whatever the value is not
        raise InputError(
            f"{path}: key {key.decode()} holds no row of ASE's database: "
            f"{type(error).__name__}: {error}",
            "expected zlib-compressed JSON as fairchem writes it",
        ) from error


def write_lmdb(path: Path, blocks: Iterator[Structures]) -> None:
    """Write structures into a new file, with float32 as it is.

    Raises
    ------
    InputError
        If the package `lmdb` is not installed.
    """
    from ase.db.row import AtomsRow
    from ase.io.jsonio import encode

    lmdb, number = _library(), 1
    with lmdb.open(str(path), subdir=False, map_size=_MAP_BYTES, lock=False) as environment:
        for structures in blocks:
            with environment.begin(write=True) as transaction:
                for index in range(len(structures)):
                    row = AtomsRow(atoms_of(structures, index))
                    held = {
                        **{key: getattr(row, key) for key in _kept(row)},
                        "key_value_pairs": {},
                        "data": named(structures, index),
                    }
                    text = encode(held).encode()
                    transaction.put(str(number).encode(), zlib.compress(text))
                    number += 1
        with environment.begin(write=True) as transaction:
            transaction.put(_NEXT, zlib.compress(str(number).encode()))
            transaction.put(_DELETED, zlib.compress(b"[]"))


def _kept(row: Any) -> list[str]:
    return [key for key in row if key not in {"id", "key_value_pairs", "data"}]
