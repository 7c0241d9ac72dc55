"""`Progress`: how far each stage is, as the driver sees it; what displays are drawn from.

A snapshot is plain data. It is derived from the plan and from parts in their place, so that it is
the same whether a driver runs or not.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from campaign.plan.items import PlannedPart
from campaign.plan.stages import STAGES
from data_store.parts import part_path
from data_store.work import item_keys

__all__ = ["Progress", "StageProgress", "progress_of", "with_running"]


@dataclass(frozen=True)
class StageProgress:
    """Items of one stage.

    Parameters
    ----------
    stage, title : str
    total, done, running, failed : int
        Items: single labels, chunks, trainings, blocks of replicas.
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
    """All stages at one moment."""

    stages: tuple[StageProgress, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def complete(self) -> bool:
        """Whether every part of the plan is in its place."""
        return all(stage.complete for stage in self.stages)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"complete": self.complete, **asdict(self)}

    def with_stage(self, name: str, *, running: int, failed: int) -> Progress:
        """Progress with one stage's items in flight and failed."""
        stages = tuple(
            replace(s, running=running, failed=failed) if s.stage == name else s
            for s in self.stages
        )
        return replace(self, stages=stages)


def _done_items(part: PlannedPart, parts_root: Path, work_root: Path) -> int:
    total = part.items.count if part.items else 1
    if (part_path(parts_root, part.stage, part.fingerprint) / "manifest.json").exists():
        return total
    if part.items is None:
        return 0
    # A part of items is itself one more step; it is done when merged.
    return min(len(item_keys(work_root / part.items.fingerprint)), total)


def with_running(progress: Progress, marks: Path) -> Progress:
    """Progress with the tasks that are in flight on this machine, by the marks they left.

    A mark whose process is gone was left by a kill; it counts for nothing.
    """
    running: Counter[str] = Counter()
    for path in marks.glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            mark = json.loads(path.read_text(encoding="utf-8"))
            if mark["host"] == platform.node():
                os.kill(mark["pid"], 0)  # no signal: asks whether there is such a process
            running[path.name.split("-")[0]] += 1
    for stage, count in running.items():
        progress = progress.with_stage(stage, running=count, failed=0)
    return progress


def progress_of(plan: Iterable[PlannedPart], parts_root: Path, work_root: Path) -> Progress:
    """Read progress from the workspace."""
    totals: dict[str, list[int]] = {}
    for part in plan:
        row = totals.setdefault(part.stage, [0, 0])
        row[0] += part.items.count if part.items else 1
        row[1] += _done_items(part, parts_root, work_root)
    return Progress(
        tuple(
            StageProgress(name, STAGES[name].title, *totals[name])
            for name in STAGES
            if name in totals
        )
    )
