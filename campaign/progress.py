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
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from campaign.left_out import LeftOut
from campaign.plan.items import PlannedPart
from campaign.plan.stages import STAGES
from campaign.quarantine import Quarantined
from data_store.parts import is_made
from data_store.work import count_items

__all__ = [
    "Mark",
    "Progress",
    "StageProgress",
    "Tally",
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


class Tally:
    """Items by stage while parts are made: a look costs what is unfinished, not what is planned.

    Parameters
    ----------
    plan : iterable of PlannedPart
    made : container of str
        Fingerprints of the parts that are in their place.
    work_root : Path
    """

    def __init__(self, plan: Iterable[PlannedPart], made: Container[str], work_root: Path) -> None:
        self._work_root = work_root
        self._totals, self._done = Counter[str](), Counter[str]()
        self._begun: dict[str, PlannedPart] = {}
        for part in plan:
            self._totals[part.stage] += _count(part)
            if part.fingerprint in made:
                self._done[part.stage] += _count(part)
            elif part.items is not None:
                self._begun[part.fingerprint] = part

    def left(self, stage: str) -> int:
        """Items of a stage whose part is not in its place."""
        return self._totals[stage] - self._done[stage]

    def made(self, part: PlannedPart) -> None:
        """Take note that a part is in its place."""
        self._done[part.stage] += _count(part)
        self._begun.pop(part.fingerprint, None)

    def progress(self) -> Progress:
        """How far each stage is now, with the items that wait for their part."""
        done = self._done.copy()
        for part in self._begun.values():
            done[part.stage] += min(_waiting(part, self._work_root), _count(part))
        return Progress(
            tuple(
                StageProgress(name, STAGES[name].title, self._totals[name], done[name])
                for name in STAGES
                if name in self._totals
            )
        )


def _count(part: PlannedPart) -> int:
    return part.items.count if part.items else 1


def _waiting(part: PlannedPart, work_root: Path) -> int:
    """Items of a part that is not made; the part itself is one more step, done when merged."""
    return count_items(work_root / part.items.fingerprint) if part.items else 0


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


def progress_of(plan: Sequence[PlannedPart], parts_root: Path, work_root: Path) -> Progress:
    """Read progress from the workspace."""
    made = {p.fingerprint for p in plan if is_made(parts_root, p.stage, p.fingerprint)}
    return Tally(plan, made, work_root).progress()
