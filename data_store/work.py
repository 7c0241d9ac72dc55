"""Unfinished work: single files that each appear whole or not at all.

An item of a stage whose part is not there yet waits as ``work/<fingerprint>/<key>.npz``;
checkpoints wait beside it. A file is written aside, synced and renamed, so a kill at any moment
leaves the old state or the new one. Merging into a part is the business of the stage; these files
are never the record of completion.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_store.errors import StoreError, WorkspaceError
from data_store.renames import rename_surely
from data_store.visibility import await_files

__all__ = [
    "await_item",
    "count_items",
    "item_key",
    "item_keys",
    "item_path",
    "load_item",
    "save_item",
    "sync_folder",
    "write_atomic",
]

_METADATA = "__metadata__"


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader sees the old file or the new one, never a torn one.

    Raises
    ------
    WorkspaceError
        If the file system refuses (read-only, full, quota).
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        rename_surely(lambda: aside.replace(path), lambda: _holds(path, data), path.parent)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise WorkspaceError(
            f"cannot write {path}: {error.strerror}",
            "free space or permissions are needed; what is finished is kept, launch again after",
        ) from error


def _holds(path: Path, data: bytes) -> bool:
    with contextlib.suppress(OSError):
        return path.read_bytes() == data
    return False


def save_item(
    work_dir: Path, key: str, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]
) -> None:
    """Keep one finished item (arrays and JSON metadata) as one file.

    Raises
    ------
    WorkspaceError
        If the file system refuses.
    """
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(dict(metadata)).encode(), dtype=np.uint8)
    np.savez(buffer, allow_pickle=False, **{_METADATA: text}, **dict(arrays))
    write_atomic(item_path(work_dir, key), buffer.getvalue())


def load_item(work_dir: Path, key: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
    """Arrays and metadata of an item, or None where it is not there.

    Raises
    ------
    StoreError
        If the file is there and cannot be read.
    """
    path = item_path(work_dir, key)
    if not path.exists():
        return None
    try:
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("not a zip archive")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        metadata = json.loads(arrays.pop(_METADATA).tobytes())
    except (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise StoreError(
            f"{path} is damaged: {error}", "remove this file; it is made anew"
        ) from error
    return arrays, metadata


def item_key(index: int) -> str:
    """Key of the item of an index; keys sort as indices do."""
    return f"{index:06d}"


def item_path(work_dir: Path, key: str) -> Path:
    """Where an item waits, or will."""
    return work_dir / f"{key}.npz"


def await_item(
    work_dir: Path, key: str, for_s: float | None = None
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays and metadata of an item that was made, be it on another host a moment ago.

    Raises
    ------
    LostError
        If it stays out of sight.
    StoreError
        If the file cannot be read.
    """
    found = load_item(work_dir, key)
    while found is None:
        await_files([item_path(work_dir, key)], for_s)
        found = load_item(work_dir, key)
    return found


def item_keys(work_dir: Path) -> list[str]:
    """Keys of the items that wait in `work_dir`, sorted."""
    return sorted(_item_names(work_dir))


def count_items(work_dir: Path) -> int:
    """How many items wait in `work_dir`."""
    return sum(1 for _ in _item_names(work_dir))


def _item_names(work_dir: Path) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError), os.scandir(work_dir) as found:
        for entry in found:
            if entry.name.endswith(".npz") and not entry.name.startswith("."):
                yield entry.name.removesuffix(".npz")
