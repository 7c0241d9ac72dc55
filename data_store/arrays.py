"""Arrays on disk: Zarr v3, sharded, zstd; moved by tensorstore, described by zarr-python.

tensorstore moves the same bytes several times faster than zarr-python, whose metadata it reads
without change. Rows are chunked to about 64 KiB (256 structures of 21 atoms) and 32 chunks share a
file, so that a block read touches few files. There is one writer per array, always.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_store.columns import Column
from data_store.errors import StoreError

__all__ = ["read_array", "write_arrays"]

_CHUNK_BYTES = 64 * 1024
_CHUNKS_PER_SHARD = 32


def _layout(shape: tuple[int, ...], itemsize: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Chunk and shard shapes: whole rows, a power of two of them."""
    row_bytes = max(1, itemsize * int(np.prod(shape[1:], dtype=np.int64)))
    rows = 1 << max(0, (_CHUNK_BYTES // row_bytes).bit_length() - 1)
    chunks_needed = max(1, -(-shape[0] // rows))
    tail = tuple(max(1, n) for n in shape[1:])
    return (rows, *tail), (rows * min(_CHUNKS_PER_SHARD, chunks_needed), *tail)


def _open(path: Path) -> Any:
    import tensorstore

    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str(path)},
        "context": {"cache_pool": {"total_bytes_limit": 0}, "data_copy_concurrency": {"limit": 2}},
    }
    return tensorstore.open(spec, open=True).result()


def write_arrays(group_path: Path, columns: Mapping[str, Column]) -> None:
    """Write a new Zarr group with one array per column.

    Raises
    ------
    StoreError
        If a column has no axis.
    OSError
        If the file system refuses.
    """
    import zarr

    group = zarr.create_group(group_path, zarr_format=3, attributes={"schema": 1})
    for name, (values, unit) in columns.items():
        if values.ndim == 0:
            raise StoreError(f"column {name!r} is a scalar", "put it into the metadata")
        chunks, shards = _layout(values.shape, values.dtype.itemsize)
        group.create_array(
            name,
            shape=values.shape,
            dtype=values.dtype,
            chunks=chunks,
            shards=shards,
            compressors=[zarr.codecs.ZstdCodec(level=3)],
            attributes={"unit": unit},
        )
        if values.size:
            try:
                _open(group_path / name).write(values).result()
            except ValueError as error:  # tensorstore's word for a refusing file system
                raise OSError(str(error)) from error


def read_array(path: Path, start: int, stop: int) -> NDArray[Any]:
    """Rows start to stop of one array.

    Raises
    ------
    StoreError
        If the array is absent or damaged.
    """
    try:
        values: NDArray[Any] = _open(path)[start:stop].read().result()
    except (ValueError, OSError) as error:
        raise StoreError(
            f"cannot read {path}: {error}", "verify the data of this campaign"
        ) from error
    return values
