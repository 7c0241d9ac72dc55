"""Many parts of structures as one: what many tasks wrote, in few large files, in constant memory.

Each task writes parts of its own, so that writers need no locks; who reads them together, or hands
them on, may want one part with a file for each array and 50,000 structures. It is written column
by column, and memory holds one file of one column. Its content, and so its digest, is what
`data_store.parts.write_part` gives of the same structures. The parts that it is made of stay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_store.arrays import make_group, write_blocks
from data_store.datasets import Dataset
from data_store.errors import StoreError
from data_store.fingerprints import canonical_json
from data_store.parts import ARRAYS, Part, bytes_of, column_header, commit_part
from data_store.provenance import provenance
from data_store.structure_parts import PER_ATOM, PER_STRUCTURE

__all__ = ["STRUCTURES_IN_FILE", "consolidate"]

STRUCTURES_IN_FILE = 50_000
"""Structures of which one file holds an array; of ragged ones, on average."""

_READ_BYTES = 4 << 20


def consolidate(
    dataset: Dataset,
    parts_root: Path,
    stage: str,
    fingerprint: str,
    metadata: Mapping[str, Any],
) -> Part:
    """Write the structures of all parts of a data set into one part.

    Parameters
    ----------
    dataset : Dataset
        Order of parts and structures is kept.
    parts_root : Path
    stage, fingerprint : str
        Of the part that is written.
    metadata : mapping
        Scientific JSON; part of the digest.

    Raises
    ------
    StoreError
        If parts differ in columns or types, or are damaged.
    WorkspaceError, LostError
        As `data_store.parts.write_part`.
    """
    columns = _columns(dataset)
    atoms = columns["numbers"]["shape"][0]
    rows_in_file = {
        name: STRUCTURES_IN_FILE * (-(-atoms // max(1, len(dataset))) if name in PER_ATOM else 1)
        for name in columns
    }

    def fill(aside: Path, _: Executor) -> str:
        hasher = hashlib.sha256()
        make_group(aside / ARRAYS)
        for name in sorted(columns):
            dtype, shape, unit = (columns[name][key] for key in ("dtype", "shape", "unit"))
            hasher.update(column_header(name, dtype, shape, unit))
            blocks = _hashed(_blocks(dataset, name, unit), hasher)
            path = aside / ARRAYS / name
            write_blocks(path, shape, np.dtype(dtype), unit, rows_in_file[name], blocks)
        hasher.update(canonical_json(dict(metadata)).encode())
        return hasher.hexdigest()

    said = {
        "columns": columns, "metadata": dict(metadata), "content_files": [],
        "provenance": provenance(parts=len(dataset.parts)),
    }  # fmt: skip
    return commit_part(parts_root, stage, fingerprint, said, fill)


def _columns(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Columns of structures, as the manifest of the whole says them."""
    each: list[dict[str, Any]] = [part.manifest["columns"] for part in dataset.parts]
    foreign = set(each[0]) - {"offsets", *PER_ATOM, *PER_STRUCTURE}
    if foreign:
        raise StoreError(
            f"{dataset.parts[0].path} has columns {sorted(foreign)}, which are not of structures",
            "read them part by part",
        )
    found: dict[str, dict[str, Any]] = {}
    for name, spec in each[0].items():
        found[name] = {**spec, "shape": [sum(c[name]["shape"][0] for c in each if name in c)]}
        found[name]["shape"] += spec["shape"][1:]
    found["offsets"]["shape"] = [len(dataset) + 1]
    for part, columns in zip(dataset.parts, each, strict=True):
        kinds = {name: (spec["dtype"], spec["unit"]) for name, spec in columns.items()}
        expected = {name: (spec["dtype"], spec["unit"]) for name, spec in found.items()}
        if kinds != expected:
            raise StoreError(
                f"{part.path} has columns {kinds}, the first part {expected}",
                "parts of one kind alone make one part",
            )
    return found


def _blocks(dataset: Dataset, name: str, unit: str) -> Iterator[NDArray[Any]]:
    """A column of all parts, some megabytes at a time."""
    atoms_before = 0
    if name == "offsets":
        yield np.zeros(1, dtype=np.int64)
    for part in dataset.parts:
        arrays, shape = part.arrays({name: unit}), part.shape(name)
        row_bytes = 8 * max(1, int(np.prod(shape[1:], dtype=np.int64)))
        rows = max(1, _READ_BYTES // row_bytes)
        for start in range(1 if name == "offsets" else 0, shape[0], rows):
            block = arrays.read({name: slice(start, min(start + rows, shape[0]))})[name]
            yield block + atoms_before if name == "offsets" else block
        atoms_before += part.shape("numbers")[0]


def _hashed(blocks: Iterator[NDArray[Any]], hasher: Any) -> Iterator[NDArray[Any]]:
    for block in blocks:
        hasher.update(bytes_of(block))
        yield block
