"""Arrays on disk: Zarr v3, chunked, sharded, zstd; described and moved by tensorstore.

Any Zarr v3 reader reads them. Rows are chunked to about 64 KiB (256 structures of 21 atoms in
float32), so that a few can be read alone, and all chunks of an array lie in one file, up to
`SHARD_BYTES`: more than 50,000 structures of 800 atoms in float64. An array of one chunk has it
plain, no larger than its rows; chunks of nothing but zeros are not stored.

There is one writer per array, always, in a folder that nobody else sees yet: nothing is locked here
and nothing synced, which is the business of whoever puts the folder in its place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_store.columns import Column
from data_store.errors import StoreError

__all__ = ["SHARD_BYTES", "ArrayReader", "Rows", "make_group", "write_arrays", "write_blocks"]

SHARD_BYTES = 1 << 30
"""Most bytes of values in one file."""

Rows = slice | NDArray[np.int64]
"""A range of rows, or rows in any order."""

_CHUNK_BYTES = 64 * 1024
_ZSTD_LEVEL = 1
"""Numbers of a simulation get no smaller at 3, and take longer."""

_GROUP = {"zarr_format": 3, "node_type": "group", "attributes": {"schema": 1}}


def _layout(shape: Sequence[int], itemsize: int, most_rows: int | None) -> tuple[int, int]:
    """Rows in a chunk and in a file, of at least so many rows where not all are in one."""
    row_bytes = max(1, itemsize * int(np.prod(shape[1:], dtype=np.int64)))
    rows = 1 << max(0, (_CHUNK_BYTES // row_bytes).bit_length() - 1)
    if shape[0] <= rows:
        return (max(1, shape[0]),) * 2
    allowed = SHARD_BYTES // (rows * row_bytes) if most_rows is None else -(-most_rows // rows)
    return rows, rows * min(-(-shape[0] // rows), max(1, allowed))


def _metadata(
    shape: Sequence[int], dtype: np.dtype[Any], unit: str, rows_in_file: int | None = None
) -> dict[str, Any]:
    """Metadata of a Zarr v3 array (zarr-specs.readthedocs.io, core 3.1, sharding 1.0)."""
    rows, rows_in_file = _layout(shape, dtype.itemsize, rows_in_file)
    tail = [max(1, n) for n in shape[1:]]
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    codecs: list[dict[str, Any]] = [
        little if dtype.itemsize > 1 else {"name": "bytes"},
        {"name": "zstd", "configuration": {"level": _ZSTD_LEVEL, "checksum": False}},
    ]
    if rows < rows_in_file:
        index = [little, {"name": "crc32c"}]
        inner = {"chunk_shape": [rows, *tail], "codecs": codecs, "index_codecs": index}
        codecs = [{"name": "sharding_indexed", "configuration": inner}]
    return {
        "shape": list(shape),
        "data_type": dtype.name,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [rows_in_file, *tail]},
        },
        # Its files lie in the folder of the array, without folders of their own.
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": False if dtype.kind == "b" else 0,
        "codecs": codecs,
        "attributes": {"unit": unit},
    }


@cache
def _context() -> Any:
    """What all arrays of a process share: two threads, no cache, no locks, no syncs."""
    import tensorstore

    return tensorstore.Context(
        {
            "cache_pool": {"total_bytes_limit": 0},
            "data_copy_concurrency": {"limit": 2},
            "file_io_sync": False,
            "file_io_locking": {"mode": "none"},
        }
    )


def _opening(path: Path, **how: Any) -> Any:
    """Future of an array."""
    import tensorstore

    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}
    if "metadata" in how:
        spec["metadata"] = how.pop("metadata")
    return tensorstore.open(spec, context=_context(), **how)


def write_arrays(group_path: Path, columns: Mapping[str, Column]) -> None:
    """Write a new Zarr group with one array per column.

    Raises
    ------
    StoreError
        If a column has no axis.
    OSError
        If the file system refuses.
    """
    for name, column in columns.items():
        if column.values.ndim == 0:
            raise StoreError(f"column {name!r} is a scalar", "put it into the metadata")
    make_group(group_path)
    opened = _all_of(
        [
            _opening(group_path / name, create=True, metadata=_metadata(v.shape, v.dtype, unit))
            for name, (v, unit) in columns.items()
        ]
    )
    _all_of(
        [
            array.write(column.values, can_reference_source_data_indefinitely=True)
            for array, column in zip(opened, columns.values(), strict=True)
            if column.values.size
        ]
    )


def make_group(group_path: Path) -> None:
    """Make a group without arrays."""
    group_path.mkdir(parents=True)
    (group_path / "zarr.json").write_text(json.dumps(_GROUP), encoding="utf-8")


def write_blocks(
    path: Path,
    shape: Sequence[int],
    dtype: np.dtype[Any],
    unit: str,
    rows_in_file: int,
    blocks: Iterable[NDArray[Any]],
) -> None:
    """Write a new array of which memory is to hold no more than a file at a time.

    Parameters
    ----------
    path : Path
    shape, dtype, unit
        Of the whole.
    rows_in_file : int
        Rows at least that a file holds.
    blocks : iterable of ndarray
        Rows in order, of any number each, together as many as the shape says.

    Raises
    ------
    OSError
        If the file system refuses.
    """
    metadata = _metadata(shape, dtype, unit, rows_in_file)
    (array,) = _all_of([_opening(path, create=True, metadata=metadata)])
    whole = metadata["chunk_grid"]["configuration"]["chunk_shape"][0]
    file = np.empty((min(whole, shape[0]), *shape[1:]), dtype=dtype)
    written = held = 0
    for block in blocks:
        taken = 0
        while taken < len(block):
            more = min(len(block) - taken, len(file) - held)
            file[held : held + more] = block[taken : taken + more]
            taken, held = taken + more, held + more
            if held == len(file) or written + held == shape[0]:
                _all_of([array[written : written + held].write(file[:held])])
                written, held = written + held, 0


def _all_of(futures: Sequence[Any]) -> list[Any]:
    """Results, or the first error once all have ended: none writes on after that."""
    errors, results = [], []
    for future in futures:
        try:
            results.append(future.result())
        except ValueError as error:  # tensorstore's word for a refusing file system
            errors.append(error)
    if errors:
        raise OSError(str(errors[0])) from errors[0]
    return results


class ArrayReader:
    """Arrays of one group, opened once, for any number of reads.

    Parameters
    ----------
    group_path : Path
    names : sequence of str

    Raises
    ------
    StoreError
        If an array is absent or damaged.
    """

    def __init__(self, group_path: Path, names: tuple[str, ...]) -> None:
        self._path = group_path
        opening = {name: _opening(group_path / name, open=True) for name in names}
        self._arrays = {name: self._result(name, future) for name, future in opening.items()}

    def read(self, rows: Mapping[str, Rows]) -> dict[str, NDArray[Any]]:
        """Rows of some of the arrays, read side by side; each chunk that they touch once.

        Raises
        ------
        StoreError
            If an array is gone or damaged, or there are no such rows.
        """
        # Chunks that are not there are zeros to Zarr: a folder that was moved away must not be.
        if not (self._path / "zarr.json").exists():
            raise StoreError(f"{self._path} is gone", "verify the data of this campaign")
        reading = {name: self._reading(name, chosen) for name, chosen in rows.items()}
        return {name: self._result(name, future) for name, future in reading.items()}

    def _reading(self, name: str, rows: Rows) -> Any:
        try:
            return self._arrays[name][rows].read()
        except (ValueError, IndexError) as error:
            raise StoreError(
                f"{self._path / name} has no rows {rows}: {error}",
                "verify the data of this campaign",
            ) from error

    def _result(self, name: str, future: Any) -> Any:
        try:
            return future.result()
        except (ValueError, OSError) as error:
            raise StoreError(
                f"cannot read {self._path / name}: {error}", "verify the data of this campaign"
            ) from error
