"""Cancelling a campaign's launch from outside: its driver is asked to stop, what it left is ended.

The wish is a file in the workspace, so that it reaches a driver on any host. A driver that lives
takes it up within seconds, ends its blocks and leaves; of one that is dead the leftovers are ended
here. Afterwards nothing of the campaign is queued or running, and `campaign launch` goes on.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from campaign.driver_lock import driver_of
from campaign.ledger import Ledger, read_ledger
from campaign.workspace import Workspace
from data_store.errors import InputError, Stopped
from data_store.work import write_atomic

__all__ = ["Cancelled", "Wish", "cancel", "wish_of", "withdraw"]

Wish = str
"""``now``: tasks in flight are given up; ``drain``: they end first."""

_WISHES = ("now", "drain")


@dataclass(frozen=True)
class Cancelled:
    """What was found and ended.

    Parameters
    ----------
    driver : dict or None
        Host and pid of the driver that was asked to stop.
    processes : list of int
    jobs : list of str
        Left by a driver that was dead.
    """

    driver: dict[str, Any] | None
    processes: list[int]
    jobs: list[str]


def wish_of(workspace: Workspace) -> Wish | None:
    """What was wished of the driver, if anything was."""
    try:
        wish = json.loads((workspace.root / "stop.json").read_text(encoding="utf-8"))["wish"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(wish) if wish in _WISHES else None


def withdraw(workspace: Workspace) -> None:
    """Take the wish back: it was carried out, or a new launch was asked for."""
    (workspace.root / "stop.json").unlink(missing_ok=True)


def cancel(workspace: Workspace, *, drain: bool = False, patience_s: float = 120.0) -> Cancelled:
    """Stop the driver of a workspace, wherever it runs, and end all it left.

    Parameters
    ----------
    workspace : Workspace
    drain : bool
        Let tasks in flight end first, however long that takes.
    patience_s : float
        How long the driver may take to stop, when it is not to drain.

    Raises
    ------
    Stopped
        If the driver does not stop in time, or the batch system does not answer.
    """
    from campaign.execution.driver_submission import cancel_driver_jobs
    from campaign.execution.leftovers import end_left_by

    write_atomic(
        workspace.root / "stop.json", json.dumps({"wish": "drain" if drain else "now"}).encode()
    )
    driver, deadline = driver_of(workspace.root), time.monotonic() + patience_s
    while True:
        try:
            with workspace.locked(), Ledger(workspace.ledger) as ledger:
                launched = list(read_ledger(workspace.ledger, ("launched",)))
                last = launched[-1] if launched else {}
                jobs = cancel_driver_jobs(
                    workspace, last.get("scheduler", "local"), last.get("command_timeout_s", 60)
                )
                processes, blocks = end_left_by(workspace, last, ledger)
                jobs += blocks
                ledger.write("cancelled", drain=drain, orphans=processes, jobs=jobs)
                withdraw(workspace)
                return Cancelled(driver, processes, jobs)
        except InputError as error:
            if not drain and time.monotonic() > deadline:
                raise Stopped(
                    f"the driver did not stop in {patience_s:g} s: {error.message}",
                    "it may wait for the batch system; ask again, or kill it and cancel again",
                ) from error
        time.sleep(1.0)
