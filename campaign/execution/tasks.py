"""`Task`: a grouping of items that is handed to a worker at once; it has no identity.

Pure functions from the plan and what lies in the workspace to what can be handed out now. A part is
ready when all its inputs are in their place; a part of items first yields tasks for the items that
are not there yet, and its merging when all are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from apps.contract import Request
from campaign.plan.items import Items, PlannedPart
from campaign.workspace import Workspace
from data_store.parts import is_made, part_place
from data_store.work import count_items, item_key, item_keys, item_path

__all__ = ["Task", "is_done", "items_of", "rest_of", "tasks_of"]


@dataclass(frozen=True)
class Task:
    """One submission.

    Parameters
    ----------
    name : str
        Unique among tasks in flight; also the name of its mark.
    part : PlannedPart
    function : str
    requests : list of dict
        JSON requests, one per item.
    items : int
        How many items progress by it.
    merges : bool
        Whether it ends in the part itself.
    """

    name: str
    part: PlannedPart
    function: str
    requests: tuple[dict[str, Any], ...]
    items: int
    merges: bool


def is_done(part: PlannedPart, workspace: Workspace) -> bool:
    """Whether the part is in its place: the only record of completion."""
    return is_made(workspace.parts, part.stage, part.fingerprint)


def _request(part: PlannedPart, workspace: Workspace, threads: int) -> Request:
    return Request(
        parts_root=str(workspace.parts),
        work_root=str(workspace.work),
        stage=part.stage,
        fingerprint=part.fingerprint,
        settings=part.settings,
        seed=part.seed,
        key=part.key,
        inputs={
            role: [part_place(workspace.parts, part.input_stages[role], f) for f in prints]
            for role, prints in part.inputs.items()
        },
        files={role: str(path) for role, path in part.files.items()},
        work_fingerprint=part.items.fingerprint if part.items else "",
        threads=threads,
    )


def tasks_of(part: PlannedPart, workspace: Workspace, threads: int) -> list[Task]:
    """Tasks that a part whose inputs are there needs now.

    Parameters
    ----------
    part : PlannedPart
    workspace : Workspace
    threads : int
        Threads that each task may use.
    """
    request = _request(part, workspace, threads)
    missing = _missing(part.items, workspace) if part.items else {}
    if part.items and missing:
        return [
            _item_task(part, part.items, request, block, indices)
            for block, indices in missing.items()
        ]
    name = f"{part.stage}-{part.fingerprint[:16]}"
    return [Task(name, part, part.function, (request.to_json(),), 1, merges=True)]


def rest_of(task: Task, workspace: Workspace) -> Task | None:
    """What is left of a task that came back unfinished; None where its part is to be expanded anew.

    Only its own items are looked for: a part may have very many.
    """
    series = task.part.items
    if series is None:
        return task
    if task.merges:
        there = count_items(workspace.work / series.fingerprint)
        return task if there >= series.count else None
    left = [n for n, path in items_of(task, workspace).items() if not path.exists()]
    if not left:
        return None
    (request,) = task.requests
    asked = {**request, "key": {**request["key"], "indices": left}}
    return replace(task, requests=(asked,), items=len(left))


def items_of(task: Task, workspace: Workspace) -> dict[int, Path]:
    """Where the items of a task lie, or will, by index; none of a task that ends in a part."""
    series = task.part.items
    if task.merges or series is None:
        return {}
    (request,) = task.requests
    folder = workspace.work / series.fingerprint
    return {n: item_path(folder, item_key(n)) for n in request["key"]["indices"]}


def _missing(items: Items, workspace: Workspace) -> dict[int, list[int]]:
    """Items that are not there, by block; blocks never shift, so a task keeps its name."""
    present = set(item_keys(workspace.work / items.fingerprint))
    missing: dict[int, list[int]] = {}
    for index in range(items.count):
        if item_key(index) not in present:
            missing.setdefault(index // items.per_task, []).append(index)
    return missing


def _item_task(
    part: PlannedPart, items: Items, request: Request, block: int, indices: list[int]
) -> Task:
    keyed = replace(request, key={**request.key, "indices": indices})
    name = f"{part.stage}-{part.fingerprint[:16]}-{block:06d}"
    return Task(name, part, items.function, (keyed.to_json(),), len(indices), merges=False)
