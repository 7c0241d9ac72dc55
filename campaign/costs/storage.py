"""`Storage`: files and bytes that a workspace will hold, by stage, unfinished work included.

Where parts of a kind lie there they are measured, a few of each kind; where none does, what a part
will be is computed from the shapes of its arrays (`campaign.costs.shapes`), for which the number of
atoms and of the potential's parameters must be known. Bytes are those of the files' contents: what
a disk takes for a small file is its own affair. Parsl's logs are not among them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign.costs.effort import effort_of, family_of
from campaign.costs.shapes import Size, label_item_size, part_size
from campaign.plan.items import PlannedPart
from campaign.plan.stages import STAGES
from campaign.workspace import Workspace
from data_store.errors import StoreError
from data_store.manifests import MANIFEST
from data_store.parts import find_part, is_made, part_path

__all__ = ["StageStorage", "Storage", "storage_of"]

_LOOKED_AT = 8
"""Parts of a kind whose size is looked up; the others are like them."""

_COMPUTED = "computed from shapes"
_BLIND = "computed from shapes, the molecule not being known"

_LEDGER_BYTES_PER_TASK = 1_700
_REPORT = Size(20, 1_500_000)


@dataclass(frozen=True)
class StageStorage:
    """What a stage will hold.

    Parameters
    ----------
    stage : str
    parts : int
    files, bytes : int
        Of all its parts and their unfinished work.
    files_now, bytes_now : int
        Of those that are there.
    basis : str
        "measured", "computed from shapes", or both; and whether the molecule was not known.
    """

    stage: str
    parts: int
    files: int
    bytes: int
    files_now: int
    bytes_now: int
    basis: str


@dataclass(frozen=True)
class Storage:
    """What a workspace will hold: its stages, and the ledger and the report beside them."""

    stages: tuple[StageStorage, ...]
    beside: Size

    @property
    def files(self) -> int:
        """Files at the end."""
        return sum(stage.files for stage in self.stages) + self.beside.files

    @property
    def bytes(self) -> int:
        """Bytes at the end."""
        return sum(stage.bytes for stage in self.stages) + self.beside.bytes

    @property
    def files_now(self) -> int:
        """Files of parts that are there."""
        return sum(stage.files_now for stage in self.stages)

    @property
    def bytes_now(self) -> int:
        """Bytes of parts that are there."""
        return sum(stage.bytes_now for stage in self.stages)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        names = ("files", "bytes", "files_now", "bytes_now")
        totals = {name: getattr(self, name) for name in names}
        return {**totals, "stages": [vars(stage) for stage in self.stages]}


_OF_MOLECULES = ("prepare", "sample", "candidates", "select", "pretrain")
"""Stages that see single molecules even where labels are of many."""


def storage_of(
    parts: Sequence[PlannedPart], workspace: Workspace, atoms: int, parameters: int,
    labelled_atoms: int = 0,
) -> Storage:  # fmt: skip
    """Files and bytes of a plan.

    Parameters
    ----------
    parts : sequence of PlannedPart
    workspace : Workspace
    atoms, parameters : int
        Of the molecule and of the potential; 0 where that is not known.
    labelled_atoms : int
        Of a labelled structure of a liquid or a mixture; 0 where all structures are the molecule.
    """
    stages = [
        _stage(
            name,
            mine,
            workspace,
            (atoms if name in _OF_MOLECULES else labelled_atoms or atoms, parameters),
        )
        for name in STAGES
        if (mine := [part for part in parts if part.stage == name])
    ]
    items = sum(part.items.count for part in parts if part.items)
    ledger = Size(1, _LEDGER_BYTES_PER_TASK * (len(parts) + items))
    return Storage(tuple(stages), ledger + _REPORT)


def _stage(
    name: str, parts: list[PlannedPart], workspace: Workspace, known: tuple[int, int]
) -> StageStorage:
    groups: dict[str, list[PlannedPart]] = defaultdict(list)
    made: dict[str, list[PlannedPart]] = defaultdict(list)
    for part in parts:
        kind = effort_of(part).kind
        groups[kind].append(part)
        if is_made(workspace.parts, part.stage, part.fingerprint):
            made[kind].append(part)
    now = at_end = Size(0, 0)
    bases: Counter[str] = Counter()
    for kind, members in groups.items():
        there = made.get(kind, [])
        like = there or [p for k, ps in made.items() if family_of(k) == family_of(kind) for p in ps]
        measured = _mean(_measured(part, workspace) for part in like[:_LOOKED_AT])
        now = now + measured.times(len(there))
        each = measured if like else _computed(members[0], known)
        bases["measured" if like else _COMPUTED if known[0] else _BLIND] += 1
        at_end = at_end + each.times(len(members))
    basis = " and ".join(sorted(bases, reverse=True))
    return StageStorage(name, len(parts), at_end.files, at_end.bytes, now.files, now.bytes, basis)


def _mean(sizes: Iterable[Size]) -> Size:
    found = list(sizes)
    count = max(1, len(found))
    return Size(
        round(sum(size.files for size in found) / count),
        round(sum(size.bytes for size in found) / count),
    )


def _measured(part: PlannedPart, workspace: Workspace) -> Size:
    """A part in its place, by its manifest, and what its making left."""
    folder = part_path(workspace.parts, part.stage, part.fingerprint)
    try:
        found = find_part(workspace.parts, part.stage, part.fingerprint)
    except StoreError:  # `campaign data verify` says what is wrong with it
        found = None
    listed = [] if found is None else list(found.manifest["files"].values())
    of_part = Size(
        len(listed) + 1,
        sum(int(file["bytes"]) for file in listed) + (folder / MANIFEST).stat().st_size,
    )
    work = [workspace.work / part.fingerprint]
    work += [workspace.work / part.items.fingerprint] if part.items else []
    return of_part + _in_folders(work)


def _in_folders(folders: Iterable[Path]) -> Size:
    files = [path for folder in folders for path in folder.glob("*") if path.is_file()]
    return Size(len(files), sum(path.stat().st_size for path in files))


def _computed(part: PlannedPart, known: tuple[int, int]) -> Size:
    size = part_size(part, *known)
    return size if part.items is None else size + label_item_size(known[0]).times(part.items.count)
