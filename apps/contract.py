"""What a task function takes and returns, whatever the app: small JSON-able data.

A task gets a `Request`, writes one part (or items of one) and returns a `Result`: an outcome, a
path and a digest. Arrays never travel. How tasks are placed, retried and counted is the
conductor's business; nothing here knows Parsl.
"""

from __future__ import annotations

import errno
import math
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from apps.memory import ran_out_of_memory
from data_store.errors import (
    CampaignError,
    InputError,
    LostError,
    MethodError,
    StoreError,
    WorkspaceError,
)
from data_store.manifests import MANIFEST
from data_store.parts import Part, find_part, open_part
from data_store.visibility import await_files

__all__ = ["Outcome", "Request", "Result"]

Outcome = Literal[
    "done",
    "continue",
    "lost",
    "failed_input",
    "failed_method",
    "failed_software",
    "failed_workspace",
]


@dataclass(frozen=True)
class Request:
    """One item of work.

    Parameters
    ----------
    parts_root, work_root : str
        Folders of the workspace for finished parts and unfinished items.
    stage : str
        Name of the stage whose part is made.
    fingerprint : str
        Identity of the part to make.
    settings : dict
        The science: plain JSON, validated again by the app's own models.
    seed : int
        The campaign's seed; streams are derived from it by path.
    key : dict
        What tells this item from its siblings (chunk, arm, labels, seed, temperature, ...).
    inputs : dict of str to list of str
        Paths of the parts that this one is made from, by role.
    files : dict of str to str
        Paths of files that the user brought, by role; their digests are in the fingerprint.
    work_fingerprint : str
        Identity of the folder where unfinished items wait, where that is shared by several parts
        (labels outlive the part that merges them); by default the part's own.
    deadline_unix : float or None
        When to checkpoint and return "continue"; None where there is no limit. By the wall clock,
        the only one that two hosts share; where a request is received, it is turned at once into a
        time by the monotonic clock, so that a clock that is set meanwhile moves no deadline.
    threads : int
        Threads that the task may use.
    """

    parts_root: str
    work_root: str
    stage: str
    fingerprint: str
    settings: dict[str, Any]
    seed: int
    key: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    work_fingerprint: str = ""
    deadline_unix: float | None = None
    threads: int = 1
    _due_monotonic: float = field(default=math.inf, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Turn the deadline into one of this process."""
        if self.deadline_unix is not None:
            left_s = self.deadline_unix - time.time()
            object.__setattr__(self, "_due_monotonic", time.monotonic() + left_s)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Request:
        """Request from the plain data that `to_json` gave."""
        return Request(**data)

    def to_json(self) -> dict[str, Any]:
        """Plain data, which shares what it holds with this request."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.init}

    @property
    def work_dir(self) -> Path:
        """Folder of this part's unfinished items and checkpoints."""
        return Path(self.work_root) / (self.work_fingerprint or self.fingerprint)

    def finished_part(self) -> Part | None:
        """The part of this request, if some earlier attempt finished it."""
        return find_part(Path(self.parts_root), self.stage, self.fingerprint)

    def input_parts(self, role: str) -> list[Part]:
        """The parts given for a role, opened; empty where the role has none.

        They were made, maybe on another host a moment ago: this one may see them late.

        Raises
        ------
        LostError
            If one stays out of sight.
        """
        paths = [Path(path) for path in self.inputs.get(role, [])]
        await_files(path / MANIFEST for path in paths)
        return [open_part(path) for path in paths]

    def out_of_time(self, margin_s: float = 0.0) -> bool:
        """Whether the deadline has come, or comes within `margin_s` seconds."""
        return time.monotonic() + margin_s >= self._due_monotonic


@dataclass(frozen=True)
class Result:
    """What became of a request.

    Parameters
    ----------
    outcome : str
        One of `Outcome`. Continuation is not failure: the item goes on from its checkpoint.
    path, digest : str or None
        The part and its content digest, when done.
    counts : dict of str to float
        What was made, skipped, rejected: everything that must not be silent.
    message : str
        A cause in words, when there is something to say.
    detail : str
        The traceback of what failed, for the curious.
    """

    outcome: Outcome
    path: str | None = None
    digest: str | None = None
    counts: dict[str, float] = field(default_factory=dict)
    message: str = ""
    detail: str = ""

    @staticmethod
    def done(part: Part, counts: Mapping[str, float] | None = None, message: str = "") -> Result:
        """Result of a part in its place; that another attempt made it too is counted."""
        found = {"made_twice": 1.0} if part.was_there else {}
        counted = {**dict(counts or {}), **found}
        return Result("done", str(part.path), part.digest, counted, message)

    @staticmethod
    def failed(error: Exception) -> Result:
        """Result of an exception, classed; only software failures are worth a second try.

        That memory ran out is a loss, and counted as ``out_of_memory``.
        """
        known, memory = isinstance(error, CampaignError), ran_out_of_memory(error)
        return Result(
            "lost" if memory else _outcome_of(error),
            counts={"out_of_memory": 1.0} if memory else {},
            message=str(error) if known else f"{type(error).__name__}: {error}",
            detail="".join(traceback.format_exception(error)),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def _outcome_of(error: Exception) -> Outcome:
    refused = isinstance(error, OSError) and error.errno in {
        errno.ENOSPC, errno.EDQUOT, errno.EROFS
    }  # fmt: skip
    if refused or isinstance(error, WorkspaceError):
        return "failed_workspace"
    kinds: tuple[tuple[type[CampaignError], Outcome], ...] = (
        (InputError, "failed_input"),
        (MethodError, "failed_method"),
        (StoreError, "failed_method"),
        (LostError, "lost"),
    )
    return next((name for kind, name in kinds if isinstance(error, kind)), "failed_software")
