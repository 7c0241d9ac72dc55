"""`Explanation`: what one part of a campaign is, what has become of it, and what to do about it.

Its state is read from the workspace (parts in their place, marks of what runs, quarantine); its
history from the ledger, which decides nothing. Nothing is changed, and no driver is needed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from campaign.attempts import Attempt, attempts_of
from campaign.ledger import read_ledger
from campaign.naming import MIN_FINGERPRINT, matching
from campaign.plan.build import Plan
from campaign.plan.items import PlannedPart
from campaign.progress import Mark, living_marks
from campaign.quarantine import Cause, Quarantined, kept_of
from campaign.workspace import Workspace
from data_store.errors import InputError, StoreError, unknown_name
from data_store.parts import is_made, open_part, part_path
from data_store.work import item_keys

__all__ = ["Explanation", "explain"]

State = Literal["done", "running", "quarantined", "blocked", "waiting", "ready"]

_TAIL_LINES = 20
_SHOWN = 20

_ADVICE: dict[Cause, str] = {
    "method": "the same settings will fail the same way: leave it out (a stage passes on its "
    "quorum) or change what it is made from; if it speaks of stored data, `campaign data verify "
    "FOLDER`; once the cause is gone, {retry}",
    "software": "read the traceback: a package that is missing on the worker, or a bug; once it is "
    "mended, {retry}",
    "lost": "its worker dies with it, most often for want of memory: give each worker more (fewer "
    "workers per node) or a longer walltime in the site file, then {retry}",
}


@dataclass(frozen=True)
class Explanation:
    """What there is to say of one part.

    Parameters
    ----------
    stage, label, fingerprint : str
    state : str
    details : tuple of str
        The state in words: where and when it was made, what it waits for, who is at it.
    attempts : tuple of Attempt
        In order.
    traceback : tuple of str
        Last lines of the traceback that was kept last; empty where it failed never, or was made.
    block_log : tuple of str
        Last lines that the block of the last loss wrote; empty where it was made, or lost in none.
    advice : str
        What to do.
    """

    stage: str
    label: str
    fingerprint: str
    state: State
    details: tuple[str, ...]
    attempts: tuple[Attempt, ...]
    traceback: tuple[str, ...]
    block_log: tuple[str, ...]
    advice: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def explain(plan: Plan, workspace: Workspace, item: str) -> Explanation:
    """Explain the part that goes by a label, a stage or the beginning of a fingerprint.

    Raises
    ------
    InputError
        If that is no part of the plan, or several.
    """
    part = _the_part(plan, item)
    marks = [m for m in living_marks(workspace.running) if m.task.startswith(_task_stem(part))]
    state, details, advice = _state(part, plan, workspace, marks)
    in_flight = {mark.task for mark in marks}
    attempts = tuple(attempts_of(read_ledger(workspace.ledger), part.fingerprint, in_flight))
    lost = next((a for a in reversed(attempts) if a.cause), None)
    if lost is not None and state == "quarantined" and not lost.advice.startswith("nothing"):
        advice = f"{lost.advice}; {advice}"
    made = state == "done"
    return Explanation(
        part.stage, part.label, part.fingerprint, state, tuple(details), attempts,
        () if made else tuple(_traceback(attempts, workspace)),
        () if made or lost is None else tuple(_end_of_log(lost.log)), advice,
    )  # fmt: skip


def _the_part(plan: Plan, item: str) -> PlannedPart:
    found = matching(item, plan.parts)
    if not found:
        error = unknown_name("item", item, sorted({part.label for part in plan.parts}))
        near = error.hint.partition("; ")[2]
        raise InputError(
            error.message,
            f"give a label, {MIN_FINGERPRINT} or more digits of a fingerprint, or a stage of one "
            "item" + (f"; {near}" if near else ""),
        )
    if len(found) > 1:
        listed = "".join(f"\n  - {p.label}  ({p.fingerprint[:16]})" for p in found[:_SHOWN])
        more = f"\n  and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise InputError(f"{item!r} fits {len(found)} items:{listed}{more}", "name one of them")
    return found[0]


def _task_stem(part: PlannedPart) -> str:
    """What the names of all its tasks begin with."""
    return f"{part.stage}-{part.fingerprint[:16]}"


Told = tuple[State, list[str], str]


def _state(part: PlannedPart, plan: Plan, workspace: Workspace, marks: list[Mark]) -> Told:
    """State, in words, and what to do."""
    if is_made(workspace.parts, part.stage, part.fingerprint):
        return "done", _made(part, workspace), "nothing: it is in its place"
    quarantined = kept_of(workspace, plan.parts)
    if part.fingerprint in quarantined:
        return _in_quarantine(part, quarantined[part.fingerprint], workspace)
    counted = _items_made(part, workspace)
    if marks:
        return "running", [*map(_at_it, marks), *counted], "nothing: it is being made"
    lacking = _lacking(part, plan, workspace)
    blockers = [p.label for p in _upstream(part, plan) if p.fingerprint in quarantined]
    if blockers:
        told = [f"needs {label}, which is in quarantine" for label in blockers]
        return "blocked", told, f"`campaign why FOLDER {blockers[0]!r}` says more"
    if lacking:
        told = [f"waits for {p.label} ({p.stage})" for p in lacking[:_SHOWN]]
        told += [f"and for {len(lacking) - _SHOWN} more"] if len(lacking) > _SHOWN else []
        return "waiting", [*told, *counted], "`campaign launch FOLDER` makes those first, then it"
    told = ["all that it needs is there; it has not been handed out", *counted]
    return "ready", told, "`campaign launch FOLDER` makes it; a launch at work comes to it"


def _made(part: PlannedPart, workspace: Workspace) -> list[str]:
    path = part_path(workspace.parts, part.stage, part.fingerprint)
    try:
        found = open_part(path)
    except StoreError as error:
        return [str(error)]
    provenance = found.provenance
    when = _time_in_words(provenance.get("created_unix", 0.0))
    return [
        f"in {path}",
        f"made {when} on {provenance.get('host', 'an unknown host')}",
        f"digest {found.digest}",
    ]


def _in_quarantine(part: PlannedPart, entry: Quarantined, workspace: Workspace) -> Told:
    details = [
        f"in quarantine since {_time_in_words(entry.unix)}, by cause {entry.cause}"
        + (f", on {entry.host}" if entry.host else ""),
        entry.message,
        *_items_made(part, workspace),
    ]
    if entry.traceback:
        details.append(f"traceback kept in {workspace.root / entry.traceback}")
    retry = f"`campaign retry FOLDER {part.label!r}` and launch again"
    return "quarantined", details, _ADVICE[entry.cause].format(retry=retry)


def _at_it(mark: Mark) -> str:
    since = _time_in_words(mark.started_unix)
    job = f", job {mark.job}," if mark.job else ""
    return f"process {mark.pid} on {mark.where}{job} is at {mark.task} since {since}"


def _items_made(part: PlannedPart, workspace: Workspace) -> list[str]:
    if part.items is None:
        return []
    made = len(item_keys(workspace.work / part.items.fingerprint))
    return [f"{min(made, part.items.count)} of its {part.items.count} items are made"]


def _lacking(part: PlannedPart, plan: Plan, workspace: Workspace) -> list[PlannedPart]:
    """Its inputs that are not in their place."""
    return [
        other
        for other in plan.parts
        if other.fingerprint in part.needs
        and not is_made(workspace.parts, other.stage, other.fingerprint)
    ]


def _upstream(part: PlannedPart, plan: Plan) -> list[PlannedPart]:
    """Everything that it is made from, at any remove, in the plan's order."""
    needed = set(part.needs)
    found = []
    for other in reversed(plan.parts):  # dependence goes forwards: inputs come before
        if other.fingerprint in needed:
            needed |= other.needs
            found.append(other)
    return found[::-1]


def _traceback(attempts: Sequence[Attempt], workspace: Workspace) -> list[str]:
    """Tail of the traceback that was kept last.

    In the order of the ledger, not of the files' times: the clock may have been set meanwhile.
    """
    for attempt in reversed(attempts):
        log = workspace.task_logs / f"{attempt.task}.log"
        if attempt.outcome.startswith(("failed", "lost")) and log.exists():
            return log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
    return []


def _end_of_log(errors: str) -> list[str]:
    """Tail of what a block wrote: its errors, or else its output."""
    for path in (Path(errors), Path(errors).with_suffix(".stdout")) if errors else ():
        if path.exists():
            told = path.read_text(encoding="utf-8", errors="replace").strip()
            if told:
                return [f"({path})", *told.splitlines()[-_TAIL_LINES:]]
    return []


def _time_in_words(unix: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix))
