"""`ToDo`: what of a plan is not made yet, gathered by kinds of work.

What lies in its place costs nothing, and so do labels that wait to be merged. A training or a block
that has a checkpoint counts whole: how far it is, its file alone knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from campaign.costs.effort import Effort, effort_of, priced_function
from campaign.plan.items import PlannedPart
from campaign.workspace import Workspace
from data_store.parts import is_made
from data_store.work import item_keys

__all__ = ["ToDo", "todo_of"]


@dataclass(frozen=True)
class ToDo:
    """Work of one kind.

    Parameters
    ----------
    example : PlannedPart
        One of the parts.
    function : str
        ``module:name`` of its task, or of the one whose work it does.
    kind, unit : str
        See `Effort`.
    tasks : int
        Handed to workers, if none is interrupted.
    units : float
        Of all of them.
    """

    example: PlannedPart
    function: str
    kind: str
    unit: str
    tasks: int
    units: float

    @property
    def effort(self) -> Effort:
        """Of one task, if all are alike."""
        return Effort(self.kind, self.unit, self.units / self.tasks)


def todo_of(parts: Iterable[PlannedPart], workspace: Workspace) -> list[ToDo]:
    """What is not made yet, in the plan's order."""
    found: dict[tuple[str, str, str], ToDo] = {}
    for part in parts:
        if is_made(workspace.parts, part.stage, part.fingerprint):
            continue
        for more in _of_part(part, workspace):
            key = part.stage, more.function, more.kind
            before = found.get(key)
            found[key] = more if before is None else replace(
                before, tasks=before.tasks + more.tasks, units=before.units + more.units
            )  # fmt: skip
    return list(found.values())


def _of_part(part: PlannedPart, workspace: Workspace) -> Iterator[ToDo]:
    if part.items is not None:
        there = set(item_keys(workspace.work / part.items.fingerprint))
        missing = [n for n in range(part.items.count) if f"{n:06d}" not in there]
        if missing:
            tasks = len({index // part.items.per_task for index in missing})
            effort = effort_of(part, len(missing))
            yield _todo(part, part.items.function, effort, tasks)
    yield _todo(part, part.function, effort_of(part), 1)


def _todo(part: PlannedPart, function: str, effort: Effort, tasks: int) -> ToDo:
    priced = priced_function(function)
    return ToDo(part, priced, effort.kind, effort.unit, tasks, effort.amount)
