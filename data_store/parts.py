"""`Part`: the immutable output of one fingerprint, and the only record that it was made.

A part is a folder ``parts/<stage>/<fingerprint>`` with

- ``data.zarr``: a Zarr v3 group, one sharded array per column, its unit an attribute; plain
  zarr-python reads it;
- files that belong to the content (a model) and attachments that do not (a log of metrics);
- ``manifest.json``, written last: the content digest, sizes and hashes of all files, scientific
  metadata, and provenance beside the digest.

It is written into a hidden sibling, synced and renamed, so that it is there whole or not at all;
where the same content is there already, ours is discarded (`data_store.renames`). Nothing is ever
changed or deleted. It is not a place for unfinished work (`data_store.work`).

What becomes of a part after an upgrade of this project is decided by two numbers:

- its *schema*, how it is laid out. A part of an older schema is upgraded when it is opened, in
  memory, by the chain of small functions in `data_store.manifests`; what lies on disk stays as it
  is. Where the chain has a gap, and where the schema is newer than this version knows, the part is
  refused with a message that says what to do: never guessed at.
- the *version of its stage*, what it means. That is in its fingerprint, so a part of an older
  version is not in the plan any more: it stays where it is, unused, and is made anew, and with it
  what depends on it, alone.

An upgrade may rename, move or add what the manifest says; what would change a number is no
upgrade but another version of the stage.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_store.arrays import ArrayReader, write_arrays
from data_store.columns import Column
from data_store.errors import InputError, StoreError, WorkspaceError
from data_store.fingerprints import canonical_json, file_digest
from data_store.manifests import MANIFEST, SCHEMA, UPGRADED_FROM, read_manifest
from data_store.provenance import provenance as make_provenance
from data_store.renames import put_in_place
from data_store.work import sync_folder

__all__ = [
    "ARRAYS",
    "Part",
    "bytes_of",
    "column_header",
    "commit_part",
    "content_digest",
    "find_part",
    "glance_at_part",
    "is_made",
    "open_part",
    "part_path",
    "part_place",
    "verify_part",
    "write_part",
]

ARRAYS = "data.zarr"
_THREADS = 4
"""Files hashed or synced at a time."""

_LARGE_BYTES = 1 << 20
"""A smaller file is hashed sooner than a thread is woken."""


@dataclass(frozen=True)
class Part:
    """A finished part, opened for reading.

    Parameters
    ----------
    path : Path
    manifest : dict
        What ``manifest.json`` says.
    was_there : bool
        Whether another attempt had put it there when ours, of the same content, was to be.
    """

    path: Path
    manifest: dict[str, Any]
    was_there: bool = False

    @property
    def stage(self) -> str:
        """Stage that made it."""
        return str(self.manifest["stage"])

    @property
    def fingerprint(self) -> str:
        """Identity: what was asked for."""
        return str(self.manifest["fingerprint"])

    @property
    def digest(self) -> str:
        """SHA-256 of the content: what came out."""
        return str(self.manifest["digest"])

    @property
    def metadata(self) -> dict[str, Any]:
        """Scientific metadata (in the digest)."""
        return dict(self.manifest["metadata"])

    @property
    def provenance(self) -> dict[str, Any]:
        """Host, versions, times (beside the digest)."""
        return dict(self.manifest["provenance"])

    @property
    def units(self) -> dict[str, str]:
        """Unit of each column."""
        return {name: spec["unit"] for name, spec in self.manifest["columns"].items()}

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a column."""
        return tuple(self._spec(name)["shape"])

    def read(
        self, name: str, unit: str, start: int | None = None, stop: int | None = None
    ) -> NDArray[Any]:
        """Rows start to stop of a column.

        Raises
        ------
        StoreError
            If there is no such column, or it is stored in another unit than `unit`.
        """
        arrays = self.arrays({name: unit})
        first, last, _ = slice(start, stop).indices(self.shape(name)[0])
        return arrays.read({name: slice(first, max(first, last))})[name]

    def arrays(self, units: Mapping[str, str]) -> ArrayReader:
        """Open columns to read them together, and more than once.

        Parameters
        ----------
        units : mapping of str to str
            Columns, and the unit that each is expected in.

        Raises
        ------
        StoreError
            If there is no such column, or it is stored in another unit.
        """
        for name, unit in units.items():
            stored = self._spec(name)["unit"]
            if stored != unit:
                raise StoreError(
                    f"column {name!r} of {self.path} is in {stored or 'no unit'!r}, not {unit!r}",
                    "convert where the data enter, in an adapter",
                )
        return ArrayReader(self.path / ARRAYS, tuple(units))

    def file(self, name: str) -> Path:
        """Path of a file or attachment.

        Raises
        ------
        StoreError
            If the part has none of that name.
        """
        if name not in self.manifest["files"]:
            raise StoreError(f"{self.path} holds no file {name!r}")
        return self.path / name

    def _spec(self, name: str) -> dict[str, Any]:
        columns: dict[str, dict[str, Any]] = self.manifest["columns"]
        if name not in columns:
            raise StoreError(f"{self.path} holds no column {name!r}", f"it holds {sorted(columns)}")
        return columns[name]


def part_place(parts_root: Path, stage: str, fingerprint: str) -> str:
    """`part_path` as text: for every part of a plan, paths take longer to build than to look at."""
    return f"{parts_root}/{stage}/{fingerprint}"


def part_path(parts_root: Path, stage: str, fingerprint: str) -> Path:
    """Where the part of a stage and fingerprint lies, or will."""
    return Path(part_place(parts_root, stage, fingerprint))


def is_made(parts_root: Path, stage: str, fingerprint: str) -> bool:
    """Whether the part is in its place: the only record of completion."""
    return os.access(f"{part_place(parts_root, stage, fingerprint)}/{MANIFEST}", os.F_OK)


def find_part(parts_root: Path, stage: str, fingerprint: str) -> Part | None:
    """The part, or None where it has not been made."""
    made = is_made(parts_root, stage, fingerprint)
    return open_part(part_path(parts_root, stage, fingerprint)) if made else None


def open_part(path: Path) -> Part:
    """Open a part for reading.

    Raises
    ------
    StoreError
        If there is none, its manifest is damaged, a newer version of this project wrote it, or an
        older one from which no upgrade leads here.
    """
    return Part(path, read_manifest(path))


def content_digest(
    columns: Mapping[str, Column], metadata: Mapping[str, Any], files: Mapping[str, bytes]
) -> str:
    """SHA-256 over dtype, shape, unit and bytes of each column, over files and metadata."""
    hasher = hashlib.sha256()
    for name in sorted(columns):
        values, unit = columns[name]
        hasher.update(column_header(name, values.dtype.str, values.shape, unit))
        hasher.update(bytes_of(values))
    for name in sorted(files):
        hasher.update(canonical_json([name, hashlib.sha256(files[name]).hexdigest()]).encode())
    hasher.update(canonical_json(dict(metadata)).encode())
    return hasher.hexdigest()


def column_header(name: str, dtype: str, shape: Sequence[int], unit: str) -> bytes:
    """What is hashed of a column before its values."""
    return canonical_json([name, dtype, list(shape), unit]).encode()


def bytes_of(values: NDArray[Any]) -> memoryview:
    """The values as they lie in memory, row by row."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def write_part(
    parts_root: Path,
    stage: str,
    fingerprint: str,
    columns: Mapping[str, Column],
    metadata: Mapping[str, Any],
    *,
    files: Mapping[str, bytes] | None = None,
    attachments: Mapping[str, bytes] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Part:
    """Write a part, whole or not at all, and open it.

    Parameters
    ----------
    parts_root : Path
    stage, fingerprint : str
    columns : mapping of str to Column
    metadata : mapping
        Scientific JSON; part of the digest.
    files : mapping of str to bytes, optional
        Content that is no array (a model); part of the digest.
    attachments : mapping of str to bytes, optional
        Not part of the digest (metrics with timings).
    provenance : mapping, optional
        Beside the digest; host, versions and time are added.

    Returns
    -------
    Part
        Ours, or the one that was there before us.

    Raises
    ------
    StoreError
        If a column cannot be stored.
    WorkspaceError
        If the file system refuses (read-only, full), or something else lies there; nothing of ours
        is left behind.
    LostError
        If the file system does not say in time whether it is there.
    """
    checked = {name: column.checked(name) for name, column in sorted(columns.items())}
    content = dict(files or {})
    said = {
        "columns": {
            name: {"dtype": c.values.dtype.str, "shape": list(c.values.shape), "unit": c.unit}
            for name, c in checked.items()
        },
        "metadata": dict(metadata),
        "content_files": sorted(content),
        "provenance": make_provenance(**dict(provenance or {})),
    }

    def fill(aside: Path, pool: Executor) -> str:
        digest = pool.submit(content_digest, checked, metadata, content)
        write_arrays(aside / ARRAYS, checked)
        for name, data in {**content, **dict(attachments or {})}.items():
            (aside / name).write_bytes(data)
        return digest.result()

    return commit_part(parts_root, stage, fingerprint, said, fill)


def commit_part(
    parts_root: Path,
    stage: str,
    fingerprint: str,
    said: Mapping[str, Any],
    fill: Callable[[Path, Executor], str],
) -> Part:
    """Let a folder be filled aside, seal it, and put it in its place, whole or not at all.

    Parameters
    ----------
    parts_root : Path
    stage, fingerprint : str
    said : mapping
        Columns, metadata, content files and provenance, for the manifest.
    fill : callable
        Writes arrays and files into the folder, with threads at hand; the content digest.

    Raises
    ------
    WorkspaceError, LostError
        As `write_part`.
    """
    manifest = {"schema": SCHEMA, "stage": stage, "fingerprint": fingerprint, **said}
    target = part_path(parts_root, stage, fingerprint)
    aside = target.with_name(f".{fingerprint[:16]}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with _removed_on_failure(aside), ThreadPoolExecutor(_THREADS) as pool:
            aside.mkdir(parents=True)
            digest = fill(aside, pool)
            _seal(aside, manifest | {"digest": digest}, pool)
        ours = put_in_place(aside, target, digest)
        sync_folder(target.parent)
    except OSError as error:
        raise WorkspaceError(
            f"cannot write {target}: {error.strerror or error}",
            "free space or permissions are needed; finished parts are kept, launch again after",
        ) from error
    return replace(open_part(target), was_there=not ours)


@contextmanager
def _removed_on_failure(aside: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _files_below(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _seal(aside: Path, manifest: dict[str, Any], pool: Executor) -> None:
    """Hash and sync all files, then write the manifest as the last of them.

    Many small syncs side by side cost a file system one commit of its journal, not one each.
    """
    sizes = {path: path.stat().st_size for path in _files_below(aside)}
    hashing = {
        path: pool.submit(file_digest, path) for path in sizes if sizes[path] >= _LARGE_BYTES
    }
    syncing = [pool.submit(_sync_file, path) for path in sizes]
    manifest["files"] = {
        path.relative_to(aside).as_posix(): {
            "bytes": size,
            "sha256": hashing[path].result() if path in hashing else file_digest(path),
        }
        for path, size in sizes.items()
    }
    for synced in syncing:
        synced.result()
    (aside / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    _sync_file(aside / MANIFEST)
    folders = {parent for path in sizes for parent in path.relative_to(aside).parents}
    list(pool.map(sync_folder, sorted(aside / folder for folder in folders)))


def _sync_file(path: Path) -> None:
    """Make a file durable."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def glance_at_part(path: Path) -> list[str]:
    """Compare a part with its manifest by the sizes of its files alone; nothing else is read.

    Returns
    -------
    list of str
        What is wrong, in words; empty where nothing is seen.
    """
    try:
        part = open_part(path)
        return [
            f"{name}: {problem}"
            for name, listed in sorted(part.manifest["files"].items())
            if (problem := _other_size(f"{path}/{name}", listed["bytes"]))
        ]
    except StoreError as error:
        return [f"{MANIFEST}: {error.message}; {error.hint}"]
    except (KeyError, TypeError, ValueError) as error:
        return [_senseless(error)]


def _other_size(path: str | Path, expected: int) -> str:
    try:
        size = os.stat(path).st_size  # noqa: PTH116 (by the million: paths take longer to build)
    except OSError as error:
        return "missing" if isinstance(error, FileNotFoundError) else str(error.strerror)
    return "" if size == expected else f"{size} bytes, expected {expected}"


def _senseless(error: Exception) -> str:
    return f"{MANIFEST}: makes no sense ({type(error).__name__}: {error})"


def verify_part(part: Part) -> list[str]:
    """Compare a part with its manifest, byte by byte, and with the place where it lies.

    The content digest is computed again too, but for a part that was upgraded on opening: its
    digest is of an older layout, and the hashes of its files cover every byte of it.

    Returns
    -------
    list of str
        What is wrong, in words; empty where all is well.
    """
    try:
        problems = [*_misplaced(part), *_other_files(part)]
        if problems or UPGRADED_FROM in part.manifest:
            return problems
        return list(_other_content(part))
    except (StoreError, InputError) as error:
        return [error.message]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OSError) as error:
        return [_senseless(error)]


def _misplaced(part: Part) -> Iterator[str]:
    for what, said, found in (
        ("stage", part.stage, part.path.parent.name),
        ("fingerprint", part.fingerprint, part.path.name),
    ):
        if said != found:
            yield f"{MANIFEST}: says {what} {said}, lies in {found}"


def _other_files(part: Part) -> Iterator[str]:
    """Yield which files are missing, foreign or of another content."""
    listed: dict[str, dict[str, Any]] = part.manifest["files"]
    present = {path.relative_to(part.path).as_posix() for path in _files_below(part.path)}
    yield from (f"{name}: missing" for name in sorted(set(listed) - present))
    yield from (f"{name}: not in the manifest" for name in sorted(present - {*listed, MANIFEST}))
    for name in sorted(set(listed) & present):
        problem = _other_size(part.path / name, listed[name]["bytes"])
        if problem:
            yield f"{name}: {problem}"
        elif file_digest(part.path / name) != listed[name]["sha256"]:
            yield f"{name}: content differs from its hash"


def _other_content(part: Part) -> Iterator[str]:
    """Yield what the manifest says wrongly of files that are as they were written."""
    columns = {
        name: Column(np.asarray(part.read(name, unit)), unit) for name, unit in part.units.items()
    }
    for name, (values, _) in columns.items():
        spec = part.manifest["columns"][name]
        if values.dtype.str != spec["dtype"] or list(values.shape) != spec["shape"]:
            yield f"{MANIFEST}: column {name} is {values.dtype.str} {list(values.shape)}"
    content = {name: part.file(name).read_bytes() for name in part.manifest["content_files"]}
    if content_digest(columns, part.metadata, content) != part.digest:
        yield f"{MANIFEST}: the content digest does not match"
