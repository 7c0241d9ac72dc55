"""`Progress`: how far each stage is, as the driver sees it; what displays are drawn from.

A snapshot is plain data. It is derived from the plan, from parts in their place and from the files
of those in quarantine, so that it is the same whether a driver runs or not.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from campaign.left_out import LeftOut
from campaign.plan.items import PlannedPart
from campaign.plan.stages import STAGES
from campaign.quarantine import Quarantined
from data_store.parts import is_made
from data_store.work import item_keys

__all__ = [
    "Mark",
    "Progress",
    "StageProgress",
    "living_marks",
    "progress_of",
    "take_mark",
    "with_left_out",
    "with_quarantine",
    "with_running",
]


@dataclass(frozen=True)
class StageProgress:
    """Items of one stage.

    Parameters
    ----------
    stage, title : str
    total, done, running : int
        Items: single labels, chunks, trainings, blocks of replicas.
    failed : int
        Parts in quarantine.
    """

    stage: str
    title: str
    total: int
    done: int
    running: int = 0
    failed: int = 0

    @property
    def complete(self) -> bool:
        """Whether nothing of it remains."""
        return self.done == self.total


@dataclass(frozen=True)
class Progress:
    """All stages at one moment.

    Parameters
    ----------
    stages : tuple of StageProgress
    quarantined : tuple of Quarantined
        Parts that are not tried again until `campaign retry`.
    hosts_left_out : tuple of LeftOut
        Hosts that eat tasks.
    """

    stages: tuple[StageProgress, ...]
    quarantined: tuple[Quarantined, ...] = ()
    hosts_left_out: tuple[LeftOut, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every part of the plan is in its place."""
        return all(stage.complete for stage in self.stages)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"complete": self.complete, **asdict(self)}

    def counting(
        self, *, running: Mapping[str, int] | None = None, failed: Mapping[str, int] | None = None
    ) -> Progress:
        """Progress with items in flight, or failed, by stage."""
        stages = tuple(
            replace(
                s,
                running=s.running if running is None else running.get(s.stage, 0),
                failed=s.failed if failed is None else failed.get(s.stage, 0),
            )
            for s in self.stages
        )
        return replace(self, stages=stages)


def _done_items(
    part: PlannedPart, parts_root: Path, work_root: Path, made: Container[str] | None
) -> int:
    total = part.items.count if part.items else 1
    known = part.fingerprint in made if made is not None else None
    if known or (known is None and is_made(parts_root, part.stage, part.fingerprint)):
        return total
    if part.items is None:
        return 0
    # A part of items is itself one more step; it is done when merged.
    return min(len(item_keys(work_root / part.items.fingerprint)), total)


@dataclass(frozen=True)
class Mark:
    """What a worker left to say that it is at a task.

    Parameters
    ----------
    task, host : str
    pid : int
    started_unix : float
    node, job : str
        What the scheduler calls the host, and the job of the block; empty where there is none.
    """

    task: str
    host: str
    pid: int
    started_unix: float
    node: str = ""
    job: str = ""

    @property
    def where(self) -> str:
        """The host, by the scheduler's name where it has one."""
        return self.node or self.host


def _mark_at(path: Path) -> Mark | None:
    """The mark in a file; None where there is none, or none that can be read."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Mark(task=path.stem, **json.loads(path.read_text(encoding="utf-8")))
    return None


def take_mark(path: Path) -> Mark | None:
    """The mark that a lost worker left; taken away, so that who loses the next one finds its own.

    None where it had not come to leave one.
    """
    mark = _mark_at(path)
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    return mark


def living_marks(marks: Path) -> Iterator[Mark]:
    """Marks of tasks in flight; one whose process on this machine is gone was left by a kill."""
    for path in sorted(marks.glob("*.json")):
        mark = _mark_at(path)  # None: it ended while we looked
        with contextlib.suppress(OSError):
            if mark is not None and mark.host == platform.node():
                os.kill(mark.pid, 0)  # no signal: asks whether there is such a process
            if mark is not None:
                yield mark


def with_running(progress: Progress, marks: Path) -> Progress:
    """Progress with the tasks that are in flight, by the marks they left."""
    running = Counter(mark.task.split("-")[0] for mark in living_marks(marks))
    return progress.counting(running=running)


def with_quarantine(progress: Progress, entries: Iterable[Quarantined]) -> Progress:
    """Progress with the parts that are in quarantine."""
    found = tuple(entries)
    counted = progress.counting(failed=Counter(entry.stage for entry in found))
    return replace(counted, quarantined=found)


def with_left_out(progress: Progress, hosts: Iterable[LeftOut]) -> Progress:
    """Progress with the hosts that are left out."""
    return replace(progress, hosts_left_out=tuple(hosts))


def progress_of(
    plan: Iterable[PlannedPart],
    parts_root: Path,
    work_root: Path,
    made: Container[str] | None = None,
) -> Progress:
    """Read progress from the workspace.

    Parameters
    ----------
    plan : iterable of PlannedPart
    parts_root, work_root : Path
    made : container of str, optional
        Fingerprints of what is made, where that is known without looking.
    """
    totals: dict[str, list[int]] = {}
    for part in plan:
        row = totals.setdefault(part.stage, [0, 0])
        row[0] += part.items.count if part.items else 1
        row[1] += _done_items(part, parts_root, work_root, made)
    return Progress(
        tuple(
            StageProgress(name, STAGES[name].title, *totals[name])
            for name in STAGES
            if name in totals
        )
    )
