"""What a workspace stores, and structures between parts and files: `campaign data`.

Listing and clearing go by the manifests and the plan that was launched. Nothing of a user's is
deleted but by `cleared` with that asked for, and then only parts of this workspace that its own
plan does not name. Structures travel in blocks: memory holds a block, or one merged part.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from campaign.coverage.sources import source_of
from campaign.plan.build import Plan
from campaign.workspace import Workspace
from data_store.errors import InputError, StoreError
from data_store.fingerprints import file_digest, fingerprint
from data_store.interchange.convention import Convention
from data_store.interchange.formats import BLOCK, format_of
from data_store.manifests import MANIFEST, read_manifest
from data_store.parts import Part, write_part
from data_store.structure_parts import structures_to_columns
from data_store.structures import Structures, concatenate

__all__ = [
    "MERGED_STAGE",
    "StoredStage",
    "Unplanned",
    "cleared",
    "exported",
    "imported",
    "merged",
    "stored",
    "unplanned",
]

MERGED_STAGE = "merged"
"""Stage of parts that are made of others, or of files, by hand."""

_FOLDERS = (".aselmdb", ".lmdb")
"""Suffixes of databases that may be folders."""

PER_PART = 50_000
"""Structures of a merged part."""


@dataclass(frozen=True)
class StoredStage:
    """Parts of one stage in a workspace.

    Parameters
    ----------
    stage : str
    parts, planned : int
        How many there are, and how many of these the plan names.
    structures : int
        In parts that hold some.
    bytes : int
        Of all files.
    schemas : tuple of int
    newest_unix : float
        When the newest was made.
    unreadable : int
        Without a manifest that can be read; `campaign data verify` says more.
    """

    stage: str
    parts: int
    planned: int
    structures: int
    bytes: int
    schemas: tuple[int, ...]
    newest_unix: float
    unreadable: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def stored(workspace: Workspace, plan: Plan) -> list[StoredStage]:
    """What lies in a workspace, stage by stage."""
    named = {(part.stage, part.fingerprint) for part in plan.parts}
    return [
        _stage(folder, sum((folder.name, path.name) in named for path in _parts_in(folder)))
        for folder in _stages_in(workspace)
    ]


def _stages_in(workspace: Workspace) -> list[Path]:
    return sorted(p for p in workspace.parts.iterdir() if p.is_dir()) if (
        workspace.parts.is_dir()
    ) else []  # fmt: skip


def _parts_in(folder: Path) -> list[Path]:
    """Folders of parts; those that are being written begin with a dot."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _stage(folder: Path, planned: int) -> StoredStage:
    structures = size = unreadable = 0
    newest, schemas, paths = 0.0, set[int](), _parts_in(folder)
    for path in paths:
        try:
            manifest = read_manifest(path)
        except StoreError:
            unreadable += 1
            continue
        columns = manifest["columns"]
        structures += columns["offsets"]["shape"][0] - 1 if "offsets" in columns else 0
        size += sum(file["bytes"] for file in manifest["files"].values())
        schemas.add(int(manifest.get("upgraded_from") or manifest["schema"]))
        newest = max(newest, manifest["provenance"].get("created_unix", 0.0))
    return StoredStage(
        folder.name, len(paths), planned, structures, size, tuple(sorted(schemas)), newest,
        unreadable,
    )  # fmt: skip


@dataclass(frozen=True)
class Unplanned:
    """A part that the plan of its workspace does not name.

    Parameters
    ----------
    stage, fingerprint : str
    path : Path
    bytes : int
    """

    stage: str
    fingerprint: str
    path: Path
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "path": str(self.path)}


def unplanned(workspace: Workspace, plan: Plan) -> list[Unplanned]:
    """Parts of stages of the plan that it does not name: of settings that are not any more.

    Stages that no campaign has (merged data sets) are nobody's to clear.
    """
    named = {(part.stage, part.fingerprint) for part in plan.parts}
    stages = {part.stage for part in plan.parts}
    return [
        Unplanned(folder.name, path.name, path, _size(path))
        for folder in _stages_in(workspace)
        if folder.name in stages
        for path in _parts_in(folder)
        if (folder.name, path.name) not in named
    ]


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def cleared(found: Iterable[Unplanned]) -> int:
    """Delete them; how many bytes that were.

    A part's manifest goes first: what is left of one after a kill is no part any more.
    """
    total = 0
    for part in found:
        (part.path / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(part.path)
        total += part.bytes
    return total


def blocks_from(
    path: Path, convention: Convention, name: str | None, stage: str | None
) -> Iterator[Structures]:
    """Blocks of structures of a file of any format, a part, or a stage of a campaign."""
    if path.is_dir() and path.suffix not in _FOLDERS:
        if name is not None or convention != Convention():
            raise InputError(
                f"{path} is no foreign file, but a format or units were given", "leave them out"
            )
        return source_of(path, stage).blocks()
    if not path.exists():
        raise InputError(f"{path}: no such file or folder", "expected structures to read")
    return format_of(path, name).read(path, convention, BLOCK)


def exported(source: Path, to: Path, stage: str | None, name: str | None) -> dict[str, Any]:
    """Write structures of a part, a stage or a file into a new file of some format.

    Raises
    ------
    InputError
        If there are none, there is no such format, or the file exists.
    """
    kind = format_of(to, name)
    if to.exists():
        raise InputError(f"{to} exists; it is left as it is", "give another name")
    counted = [0]
    to.parent.mkdir(parents=True, exist_ok=True)
    aside = to.with_name(f".{to.name}.part{to.suffix}")
    if aside.exists():
        aside.unlink()
    try:
        kind.write(aside, _counting(blocks_from(source, Convention(), None, stage), counted))
        aside.rename(to)
    finally:
        aside.unlink(missing_ok=True)
    return {"path": str(to), "structures": counted[0], "format": kind.title, "loses": kind.loses}


def _counting(blocks: Iterator[Structures], counted: list[int]) -> Iterator[Structures]:
    for block in blocks:
        counted[0] += len(block)
        yield block


def imported(
    file: Path, to: Path, convention: Convention, name: str | None, per_part: int = PER_PART
) -> dict[str, Any]:
    """Structures of a foreign file as parts below a folder, with what came in which unit.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    if not file.is_file() and not file.is_dir():
        raise InputError(f"{file}: no such file", "expected structures to read")
    kind = format_of(file, name)
    came = {"file": file.name, "format": kind.title, "convention": convention.to_json()}
    identity = {"file": _digest_of(file), **convention.to_json()}
    parts = _written(kind.read(file, convention, BLOCK), to, identity, {"came": came}, per_part)
    return _told(parts, to)


def merged(
    sources: Sequence[Path], to: Path, stage: str | None = None, per_part: int = PER_PART
) -> dict[str, Any]:
    """Structures of several parts, stages or files, in their order, as few large parts.

    Raises
    ------
    InputError
        If there is nothing in one of them.
    """
    identity = {"sources": [_identity(path, stage) for path in sources]}
    blocks = (b for path in sources for b in blocks_from(path, Convention(), None, stage))
    names = [path.name for path in sources]
    return _told(_written(blocks, to, identity, {"sources": names}, per_part), to)


def _identity(path: Path, stage: str | None) -> list[str]:
    """Digests of the content: of a file, of a part, or of all parts that a stage has made."""
    if path.is_file() or path.suffix in _FOLDERS:
        return [_digest_of(path)]
    return list(source_of(path, stage).digests)


def _digest_of(file: Path) -> str:
    """Of a file, or of all files of a folder that is one database."""
    if file.is_file():
        return file_digest(file)
    inside = sorted(path for path in file.rglob("*") if path.is_file() and path.name != "lock.mdb")
    return fingerprint([[path.name, file_digest(path)] for path in inside])


def _written(
    blocks: Iterator[Structures],
    to: Path,
    identity: dict[str, Any],
    metadata: dict[str, Any],
    per_part: int,
) -> list[Part]:
    parts: list[Part] = []
    for number, structures in enumerate(_regrouped(blocks, per_part)):
        key = fingerprint({**identity, "per_part": per_part, "part": number})
        kept = {**metadata, "part": number}
        columns = structures_to_columns(structures)
        parts.append(write_part(to, MERGED_STAGE, key, columns, kept, provenance=identity))
    if not parts:
        raise InputError("there are no structures to write", "look at what was named")
    return parts


def _regrouped(blocks: Iterator[Structures], size: int) -> Iterator[Structures]:
    """The same structures, so many at a time."""
    held: list[Structures] = []
    count = 0
    for block in blocks:
        start = 0
        while start < len(block):
            stop = min(len(block), start + size - count)
            held.append(block.slice(start, stop))
            count, start = count + stop - start, stop
            if count == size:
                yield concatenate(held)
                held, count = [], 0
    if held:
        yield concatenate(held)


def _told(parts: Sequence[Part], to: Path) -> dict[str, Any]:
    counts = [part.shape("offsets")[0] - 1 for part in parts]
    return {
        "folder": str(to),
        "structures": sum(counts),
        "parts": [{"path": str(p.path), "digest": p.digest} for p in parts],
    }
