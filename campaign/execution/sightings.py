"""`Sightings`: tasks that said that they are done, of which this host does not see the outcome yet.

On a shared file system a worker's host knows what it wrote before the driver's host does. So an
answer counts once the part, or the items, are seen here; it is waited for without holding up other
tasks. What stays out of sight is lost, and tried again: never a crash, and never a success that
nobody saw. Files are looked for alone; whether they are whole is a question of their own
(`campaign.glancing`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from campaign.execution.tasks import Task, items_of
from campaign.workspace import Workspace
from data_store.manifests import MANIFEST
from data_store.parts import part_path
from data_store.visibility import SEEN_WITHIN_S, is_seen

__all__ = ["Sightings"]

_LOOKED_EVERY_S = 0.5

Answer = dict[str, Any]


class Sightings:
    """Answers that wait until what they tell of is seen.

    Parameters
    ----------
    workspace : Workspace
    within_s : float
        After how long it is lost.
    """

    def __init__(self, workspace: Workspace, within_s: float = SEEN_WITHIN_S) -> None:
        self._workspace, self._within_s = workspace, within_s
        self._awaited: list[tuple[Task, Answer, float]] = []
        self._look_after = 0.0

    def __len__(self) -> int:
        return len(self._awaited)

    def unseen(self, task: Task) -> Path | None:
        """The first that a task makes and that is not to be seen; None where all is."""
        return next((p for p in _made_by(task, self._workspace) if not is_seen(p)), None)

    def wait_for(self, task: Task, answer: Answer) -> None:
        """Keep an answer until what it tells of is seen."""
        self._awaited.append((task, answer, time.monotonic() + self._within_s))

    def settled(self) -> Iterator[tuple[Task, Answer]]:
        """Yield answers that wait no longer; of what stayed out of sight, as lost."""
        now = time.monotonic()
        if not self._awaited or now < self._look_after:
            return
        waiting, self._awaited = self._awaited, []
        for task, answer, until in waiting:
            unseen = self.unseen(task)
            if unseen is None:
                yield task, answer
            elif now >= until:
                yield task, self._lost(answer, unseen)
            else:
                self._awaited.append((task, answer, until))
        self._look_after = time.monotonic() + _LOOKED_EVERY_S

    def _lost(self, answer: Answer, unseen: Path) -> Answer:
        message = (
            f"{answer['resources']['host']} says that it is done, and {unseen} is not to be seen "
            f"from the driver's host after {self._within_s:g} s: attribute caching of a shared "
            "file system is longer than that, or the worker has another one at this path "
            "(`campaign doctor` tells)"
        )
        return {**answer, "outcome": "lost", "message": message}


def _made_by(task: Task, workspace: Workspace) -> Iterator[Path]:
    if task.merges:
        yield part_path(workspace.parts, task.part.stage, task.part.fingerprint) / MANIFEST
    else:
        yield from items_of(task, workspace).values()
