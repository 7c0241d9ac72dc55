"""`StageOutcomes`: items of a stage by outcome class, and all answers that ever came.

What is done is what lies in its place, as everywhere; the ledger says only what the rest last came
back with. What never came back is in no class: it waits, or is in flight.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from campaign.plan.items import PlannedPart
from campaign.progress import Progress
from campaign.workspace import Workspace
from data_store.parts import is_made
from data_store.work import item_keys

__all__ = ["StageOutcomes", "outcomes_of"]


@dataclass(frozen=True)
class StageOutcomes:
    """Outcomes of one stage.

    Parameters
    ----------
    stage, title : str
    items : dict of str to int
        Items that are done, and the others by the class of their last answer: ``continue`` (to go
        on from a checkpoint), ``failed_method``, ``failed_software``, ``lost``.
    answers : dict of str to int
        Answers so far by class, of all tries of all launches.
    """

    stage: str
    title: str
    items: dict[str, int]
    answers: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @property
    def in_words(self) -> str:
        """One line."""
        items, answers = _counted(self.items), _counted(self.answers)
        return f"{self.title}: {items}; answers so far: {answers}"

    @property
    def eventful(self) -> bool:
        """Whether anything but success ever came."""
        return bool((set(self.items) | set(self.answers)) - {"done"})


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"


def outcomes_of(
    progress: Progress,
    plan: Iterable[PlannedPart],
    workspace: Workspace,
    rows: Iterable[Mapping[str, Any]],
) -> list[StageOutcomes]:
    """Outcomes of each stage, in order.

    Parameters
    ----------
    progress : Progress
        Which says what is done.
    plan : iterable of PlannedPart
        Rows of parts that are not in it are passed over.
    workspace : Workspace
    rows : iterable of mapping
        The ledger.
    """
    parts = {part.fingerprint: part for part in plan}
    answers: defaultdict[str, Counter[str]] = defaultdict(Counter)
    last: dict[tuple[str, str], str] = {}
    for row in rows:
        if row.get("event") == "result" and row.get("fingerprint") in parts:
            answers[row["stage"]][row["outcome"]] += 1
            last[row["fingerprint"], row["task"]] = row["outcome"]
    items: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for (fingerprint, task), outcome in last.items():
        if outcome != "done":
            part = parts[fingerprint]
            items[part.stage][outcome] += _left(part, task, workspace)
    return [
        StageOutcomes(
            stage.stage, stage.title,
            {"done": stage.done, **dict(sorted((+items[stage.stage]).items()))},
            dict(sorted(answers[stage.stage].items())),
        )
        for stage in progress.stages
    ]  # fmt: skip


def _left(part: PlannedPart, task: str, workspace: Workspace) -> int:
    """Items of a task that are not there yet."""
    if is_made(workspace.parts, part.stage, part.fingerprint):
        return 0
    block = task.removeprefix(f"{part.stage}-{part.fingerprint[:16]}").removeprefix("-")
    if part.items is None or not block:
        return 1
    first, size = int(block) * part.items.per_task, part.items.per_task
    present = set(item_keys(workspace.work / part.items.fingerprint))
    indices = range(first, min(first + size, part.items.count))
    return sum(f"{index:06d}" not in present for index in indices)
