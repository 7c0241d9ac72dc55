"""`Quarantined`: a part that is not tried again until it is told to, and why.

One small file per part in the workspace, written atomically by the driver: it is what a launch
reads (the ledger stays history). `campaign retry` lifts a quarantine by moving the file into
``lifted/``; nothing is deleted. A part that is in its place, or in no plan any more, is not held up
by its file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from campaign.naming import matching
from campaign.plan.items import PlannedPart
from campaign.workspace import Workspace
from data_store.errors import InputError, WorkspaceError, unknown_name
from data_store.parts import is_made
from data_store.work import write_atomic

__all__ = [
    "CAUSES",
    "Cause",
    "Quarantined",
    "choose",
    "keep",
    "kept",
    "kept_of",
    "lift",
    "set_aside",
]

Cause = Literal["method", "software", "lost"]

CAUSES: tuple[Cause, ...] = get_args(Cause)
"""The method gave nothing usable; the software failed twice; workers were lost again and again."""


@dataclass(frozen=True)
class Quarantined:
    """One part in quarantine.

    Parameters
    ----------
    stage, fingerprint, label : str
    cause : {"method", "software", "lost"}
    message : str
        What the last try said.
    task : str
        The task that failed.
    host : str
        Where; empty where that is not known.
    unix : float
        When.
    traceback : str
        Path of the kept traceback, relative to the workspace; empty where there is none.
    """

    stage: str
    fingerprint: str
    label: str
    cause: Cause
    message: str
    task: str
    host: str
    unix: float
    traceback: str = ""

    @property
    def file_name(self) -> str:
        """Name of its file."""
        return f"{self.stage}-{self.fingerprint[:16]}.json"

    @property
    def in_words(self) -> str:
        """One line: which, of what cause, and the first line of the message."""
        return f"{self.label} ({self.stage}, {self.cause}): {self.message.partition(chr(10))[0]}"


def keep(workspace: Workspace, entry: Quarantined) -> None:
    """Put a part into quarantine.

    Raises
    ------
    WorkspaceError
        If the file system refuses.
    """
    data = json.dumps(asdict(entry), indent=1, ensure_ascii=False).encode()
    write_atomic(workspace.quarantine / entry.file_name, data)


def kept(workspace: Workspace) -> list[Quarantined]:
    """Everything that is in quarantine, in order of file names.

    Raises
    ------
    InputError
        If a file cannot be read as one that the driver wrote.
    """
    return [_read(path) for path in sorted(workspace.quarantine.glob("*.json"))]


def _read(path: Path) -> Quarantined:
    try:
        entry = Quarantined(**json.loads(path.read_text(encoding="utf-8")))
        if entry.cause not in CAUSES or path.name != entry.file_name:
            raise ValueError(f"it speaks of {entry.file_name} and cause {entry.cause!r}")
        for name, value in asdict(entry).items():
            if not isinstance(value, float if name == "unix" else str):
                raise TypeError(f"{name} = {value!r}")
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} is no quarantine file that a launch wrote: {error}",
            "move it away; its part is then tried again",
        ) from error
    return entry


def kept_of(workspace: Workspace, plan: Iterable[PlannedPart]) -> dict[str, Quarantined]:
    """What of a plan is in quarantine and not made, by fingerprint, in the plan's order."""
    entries = {entry.fingerprint: entry for entry in kept(workspace)}
    return {
        part.fingerprint: entries[part.fingerprint]
        for part in plan
        if part.fingerprint in entries
        and not is_made(workspace.parts, part.stage, part.fingerprint)
    }


def choose(
    entries: Sequence[Quarantined], names: Sequence[str], cause: str | None
) -> list[Quarantined]:
    """Entries of a cause that go by any of these names; by default all.

    Parameters
    ----------
    entries : sequence of Quarantined
    names : sequence of str
        Labels, stages or beginnings of fingerprints.
    cause : str or None

    Raises
    ------
    InputError
        If there is no such cause, or a name fits nothing that is in quarantine.
    """
    if cause is not None and cause not in CAUSES:
        raise unknown_name("cause", cause, list(CAUSES))
    offered = [entry for entry in entries if cause in {None, entry.cause}]
    for name in names:
        if not matching(name, offered):
            listed = "".join(f"\n  - {entry.in_words}" for entry in entries) or " nothing"
            raise InputError(
                f"{name!r} fits nothing in quarantine" + (f" by cause {cause}" if cause else ""),
                f"in quarantine:{listed}",
            )
    wanted = {entry for name in names for entry in matching(name, offered)}
    return [entry for entry in offered if not names or entry in wanted]


def lift(workspace: Workspace, entry: Quarantined) -> None:
    """Move the file of a part aside: the next launch tries it with fresh tries.

    Raises
    ------
    WorkspaceError
        If the file system refuses.
    """
    set_aside(workspace.quarantine / entry.file_name, f"the quarantine of {entry.label}")


def set_aside(path: Path, what: str) -> None:
    """Move a file into ``lifted/`` beside it, over nothing that lies there.

    Parameters
    ----------
    path : Path
    what : str
        What is lifted by it, in words.

    Raises
    ------
    WorkspaceError
        If the file system refuses.
    """
    folder = path.parent / "lifted"
    try:
        folder.mkdir(exist_ok=True)
        path.rename(_unused(folder / path.name))
    except OSError as error:
        raise WorkspaceError(
            f"cannot lift {what}: {error.strerror}",
            "permissions or free space are needed; the same command goes on",
        ) from error


def _unused(path: Path) -> Path:
    """The path, or the first numbered one beside it that nothing lies at yet."""
    number, found = 1, path
    while found.exists():
        number += 1
        found = path.with_stem(f"{path.stem}-{number}")
    return found
