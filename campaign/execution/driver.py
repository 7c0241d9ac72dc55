"""The driver: hands out what is ready, takes in what comes back, until the plan is made.

It holds no truth. What is done is what lies in its place; so a driver may be killed at any moment
and the next one goes on from the workspace. Outcomes are treated by class: *done* (once what was
made is seen from here: `campaign.execution.sightings`); *continue* (handed out again); *failed by
the method* (quarantined with its reason); *failed by the software* (one more try, then
quarantined); *lost with the infrastructure* (handed out again, without using up tries, until
`campaign.execution.losses` tells a task that kills its workers); *input cannot be used* and
*workspace refuses* (all stops; what is finished is kept). Quarantine outlasts the launch: what is
in it, and what needs that, is left out until `campaign retry`.

Tasks are handed out in the plan's order of precedence, as many as the pools' workers and, on one
machine, its cores can keep busy: a task that needs more cores than are free waits at the head of
the queue and nothing overtakes it, nor starts while all that it waits for is running. It is no
scheduler: on a cluster the queue decides.

What came back meanwhile is taken in together, and what follows from it handed out together: a pass
costs one sync of the ledger, however many tasks it is about.
"""

from __future__ import annotations

import math
import queue
import threading
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign.cancelling import wish_of
from campaign.costs.effort import effort_of
from campaign.execution.affording import refuse_to_wait_for_nothing
from campaign.execution.blocks import BlockWatch
from campaign.execution.company import Company
from campaign.execution.flight import Flight
from campaign.execution.frontier import Frontier
from campaign.execution.hosts import Hosts
from campaign.execution.showing import Display, Showing
from campaign.execution.sightings import Sightings
from campaign.execution.signals import stopping_signals
from campaign.execution.tasks import Task, is_done, rest_of, tasks_of
from campaign.execution.workers import Workers, is_block_loss, is_infrastructure_loss
from campaign.glancing import Glances
from campaign.ledger import Ledger
from campaign.plan.items import PlannedPart
from campaign.plan.stages import STAGES
from campaign.progress import Tally, take_mark
from campaign.quarantine import Cause, Quarantined, keep, kept_of
from campaign.sites.site import BatchSite, Site
from campaign.workspace import Workspace
from data_store.errors import InputError, Stopped, WorkspaceError
from data_store.work import write_atomic

__all__ = ["Driver", "Ending"]

LOOKED_EVERY_S = 0.5
"""How often wishes, workers and budget are looked at."""

GLANCED_S = 0.1
"""How long parts are glanced at before the driver sees whether something came back."""

MAX_SOFTWARE_TRIES = 2
"""Tries of a task that fails by the software."""

Answer = list[dict[str, Any]]


@dataclass(frozen=True)
class Ending:
    """How a launch ended.

    Parameters
    ----------
    quarantined : tuple of Quarantined
        Parts that are not made, of this launch or an earlier one, and why.
    blocked : tuple of str
        Labels of parts that need one of those.
    """

    quarantined: tuple[Quarantined, ...] = ()
    blocked: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every part was made."""
        return not self.quarantined and not self.blocked


class Driver:
    """One launch of a plan.

    Parameters
    ----------
    plan : sequence of PlannedPart
        In order of dependence.
    workspace : Workspace
    site : Site
    ledger : Ledger
    display : callable
        Called with a `Progress` whenever something changed.
    watch : BlockWatch
        Guards and records the blocks of a cluster.
    glances : Glances, optional
        Parts that are still to be glanced at, before anything is made from them.
    """

    def __init__(
        self,
        plan: Sequence[PlannedPart],
        workspace: Workspace,
        site: Site,
        ledger: Ledger,
        display: Display,
        watch: BlockWatch,
        glances: Glances | None = None,
    ) -> None:
        order = {stage: place for place, stage in enumerate(STAGES)}
        self.plan = sorted(plan, key=lambda part: order[part.stage])
        self.workspace, self.site, self.ledger, self.watch = workspace, site, ledger, watch
        self.glances = Glances() if glances is None else glances
        self._done = {p.fingerprint for p in self.plan if is_done(p, workspace)}
        self._flight, self._sightings = Flight(site, self.plan), Sightings(workspace)
        self._back: queue.SimpleQueue[tuple[list[Task], Future[Answer]]] = queue.SimpleQueue()
        self._company = Company(site)
        self._hosts = Hosts(workspace, site, ledger, watch)
        self._failures: Counter[str] = Counter()
        self._quarantined = kept_of(workspace, self.plan)
        self._draining = False
        self._wish: str | None = None
        self._looked_at = -math.inf
        self._tally = Tally(self.plan, self._done, workspace.work)
        self._showing = Showing(self._tally, display)
        self._frontier = Frontier(
            self.plan,
            self._done,
            self._quarantined,
            self._tasks_of,
            lambda task: rest_of(task, workspace),
            self._lane,
        )

    def run(self) -> Ending:
        """Make everything that can be made.

        Raises
        ------
        InputError
            If what the user brought cannot be used, a part that it builds on is damaged, or a
            quarantine file cannot be read.
        WorkspaceError
            If the file system refuses; a later launch goes on.
        Stopped
            If asked to by SIGINT or SIGTERM; a later launch goes on.
        """
        self._show()
        if self._frontier.open_parts:
            self._make_all()
            self._show()
        self.glances.go_on()
        self.glances.refuse_damaged()
        return self._ending()

    def _make_all(self) -> None:
        logs = self.workspace.logs / "parsl"
        pools = Workers(self.site, self.workspace.root, logs, self.watch, self._hosts.blocks_died)
        with stopping_signals() as stop, pools as workers:
            while self._in_hand or self._draining or self._frontier.heads():
                self._look_around(workers, stop)
                finished = self._finished()
                if not finished:
                    self.glances.go_on(GLANCED_S)
                    self.glances.refuse_damaged()
                with self.ledger.together():
                    for task, answer in self._sightings.settled():
                        self._record(task, answer)
                    for together, future in finished:
                        self._take_in(together, future)
                    picked = [] if self._draining else self._picked()
                for together in picked:
                    self._submit(workers, together)
                if self._showing.is_due:
                    self._show()

    @property
    def _in_hand(self) -> bool:
        """Whether a task is in flight, or came back and is not settled."""
        return bool(self._flight or self._sightings)

    def _look_around(self, workers: Workers, stop: threading.Event) -> None:
        """Look at wishes, workers and the budget, but not for each of many small tasks."""
        if time.monotonic() - self._looked_at >= LOOKED_EVERY_S:
            self._wish = wish_of(self.workspace)
            workers.check()
            remains = len(self._frontier.open_parts)
            refuse_to_wait_for_nothing(self.site, self.watch, self._flight, remains)
            self._looked_at = time.monotonic()
        self._heed(self._wish, stop)

    def _finished(self) -> list[tuple[list[Task], Future[Answer]]]:
        """What has come back; waits a little where nothing has."""
        found: list[tuple[list[Task], Future[Answer]]] = []
        with suppress(queue.Empty):
            idle = self._in_hand and not self.glances
            back = self._back.get(timeout=0.5) if idle else self._back.get_nowait()
            while True:
                together, future = back
                found.append(([self._flight.remove(task.name) for task in together], future))
                back = self._back.get_nowait()
        return found

    def _heed(self, wish: str | None, stop: threading.Event) -> None:
        """Stop where that is asked for, by a signal or by `campaign cancel`.

        Raises
        ------
        Stopped
            At once, or, where the wish is to drain, when nothing is in flight any more.
        """
        self._draining = wish == "drain"
        if stop.is_set() or wish == "now" or (self._draining and not self._in_hand):
            raise Stopped("stopped; finished work is kept", "the same command goes on")

    def _tasks_of(self, part: PlannedPart) -> list[Task]:
        """Tasks that a part whose inputs are there needs now."""
        threads = self.site.pools[self._pool(part)].threads_per_worker
        return tasks_of(part, self.workspace, threads)

    def _pool(self, part: PlannedPart) -> Any:
        return self.site.pool_of(part.role)

    def _lane(self, part: PlannedPart) -> str:
        """Pools of a cluster do not wait for each other; on one machine all share its cores."""
        return str(self._pool(part)) if isinstance(self.site, BatchSite) else ""

    def _picked(self) -> list[list[Task]]:
        """Take tasks in order of precedence until the head of each queue does not fit.

        Those of a list go to a worker together.
        """
        picked: list[list[Task]] = []
        while True:
            heads = [task for task in self._frontier.heads() if self._may_go(task)]
            if not heads:
                return picked
            picked += [self._with_company(task) for task in heads]

    def _with_company(self, leader: Task) -> list[Task]:
        self._pick(leader)
        together = [leader]
        most = self._company.most(leader, self._tally.left(leader.part.stage))
        while len(together) < most:
            other = self._frontier.next_after(leader)
            if other is None or not self._company.admits(leader, other):
                break
            if not self.glances.cover(other.part, GLANCED_S):
                break
            self._pick(other, leader)
            together.append(other)
        return together

    def _may_go(self, task: Task) -> bool:
        return (
            self._flight.fits(task)
            and not self._flight.waited_for(task, self._frontier)
            and self.glances.cover(task.part, GLANCED_S)
        )

    def _pick(self, task: Task, leader: Task | None = None) -> None:
        ridden = {} if leader is None else {"with_task": leader.name}
        self.ledger.write(
            "submitted", task=task.name, stage=task.part.stage, label=task.part.label,
            fingerprint=task.part.fingerprint, items=task.items, pool=self._pool(task.part),
            effort=effort_of(task.part, None if task.merges else task.items).to_json(), **ridden,
        )  # fmt: skip
        self._frontier.take(task)
        self._flight.add(task, riding=leader is not None)

    def _submit(self, workers: Workers, together: list[Task]) -> None:
        leader, several = together[0], len(together) > 1
        future = workers.submit(
            self._pool(leader.part),
            STAGES[leader.part.stage].together if several else leader.function,
            [request for task in together for request in task.requests],
            [str(self._mark_of(task)) for task in together],
            leader.part.cores,
            together=several,
        )
        future.add_done_callback(lambda done: self._back.put((together, done)))

    def _mark_of(self, task: Task) -> Path:
        return self.workspace.running / f"{task.name}.json"

    def _take_in(self, together: list[Task], future: Future[Answer]) -> None:
        error = future.exception()
        if error is not None:
            for task in together:
                if len(together) > 1 and not is_block_loss(error):
                    self._company.ended_badly(task)
                self._raised(task, error, rode=task is not together[0])
            return
        for task, answer in zip(together, future.result(), strict=True):
            if len(together) > 1 and answer["outcome"] not in ("done", "continue"):
                self._company.ended_badly(task)
            self._answered(task, answer)

    def _answered(self, task: Task, answer: dict[str, Any]) -> None:
        used = answer["resources"]
        self._flight.took(task, used["wall_s"], used["peak_rss_MB"])
        if answer["outcome"] == "done" and self._sightings.unseen(task) is not None:
            self.ledger.write(
                "unseen", task=task.name, stage=task.part.stage, label=task.part.label,
                fingerprint=task.part.fingerprint, host=answer["resources"]["host"],
            )  # fmt: skip
            self._sightings.wait_for(task, answer)
        else:
            self._record(task, answer)

    def _raised(self, task: Task, error: BaseException, *, rode: bool) -> None:
        """Take in a task that brought an exception home instead of an answer.

        Of tasks that were lost together one alone is held against the host.
        """
        if isinstance(error, WorkspaceError):
            raise error
        kind = "lost" if is_infrastructure_loss(error) else "failed_software"
        message = f"{type(error).__name__}: {error}"
        mark = take_mark(self._mark_of(task))
        host = mark.where if mark is not None else getattr(error, "hostname", "")
        with_block = is_block_loss(error)
        self.ledger.write(
            "result", outcome=kind, task=task.name, stage=task.part.stage, label=task.part.label,
            fingerprint=task.part.fingerprint, items=task.items, message=message, host=host,
            job=mark.job if mark is not None else "", with_block=with_block,
        )  # fmt: skip
        if self._flight.room.was_killed_for_memory() or isinstance(error, MemoryError):
            self._ran_out_of_memory(task)
        if rode:
            self._frontier.again(task)
        elif kind == "failed_software":
            self._keep_detail(task, "".join(traceback.format_exception(error)))
            self._failed(task, message, host)
        else:
            self._lost(task, message, host, with_block=with_block)

    def _ran_out_of_memory(self, task: Task) -> None:
        """Let fewer of its kind run at once from now on."""
        at_once = self._flight.ran_out_of_memory(task)
        self.ledger.write(
            "fewer_at_once", task=task.name, stage=task.part.stage, at_once=at_once,
            message=f"memory ran out: {at_once} at once from now on in this launch",
        )  # fmt: skip

    def _record(self, task: Task, answer: dict[str, Any]) -> None:
        outcome = answer["outcome"]
        detail = answer.pop("detail", "")
        self.ledger.write(
            "result", task=task.name, stage=task.part.stage, label=task.part.label,
            fingerprint=task.part.fingerprint, items=task.items, **answer,
        )  # fmt: skip
        if outcome == "failed_workspace":
            raise WorkspaceError(answer["message"])
        self._keep_detail(task, detail)
        if outcome == "failed_input":
            raise InputError(f"{task.part.label}: {answer['message']}")
        used = answer["resources"]
        message, host = answer["message"], used.get("node") or used["host"]
        if outcome != "lost":
            self._hosts.answered(task, host)
        if outcome == "failed_method":
            self._quarantine(task, "method", message, host)
        elif outcome == "failed_software":
            self._failed(task, message, host)
        elif outcome == "lost":
            if answer["counts"].get("out_of_memory"):
                self._ran_out_of_memory(task)
            self._lost(task, message, host, came_back=True)
        elif outcome == "continue":
            self._frontier.again(task)
        elif task.merges:
            self._done.add(task.part.fingerprint)
            self._tally.made(task.part)
            self._frontier.made(task.part.fingerprint)
        else:
            self._frontier.finished(task)

    def _lost(
        self, task: Task, message: str, host: str, *, with_block: bool = False,
        came_back: bool = False,
    ) -> None:  # fmt: skip
        said = self._hosts.lost(task, "" if came_back else host, with_block=with_block)
        if said:
            self._quarantine(task, "lost", f"{said}; the last time: {message}", host)
        else:
            self._frontier.again(task)

    def _failed(self, task: Task, message: str, host: str) -> None:
        self._failures[task.name] += 1
        if self._failures[task.name] >= MAX_SOFTWARE_TRIES:
            self._quarantine(task, "software", message, host)
        else:
            self._frontier.again(task)

    def _quarantine(self, task: Task, cause: Cause, message: str, host: str) -> None:
        part, log = task.part, self._log_of(task)
        entry = Quarantined(
            part.stage, part.fingerprint, part.label, cause, message, task.name, host, time.time(),
            str(log.relative_to(self.workspace.root)) if log.exists() else "",
        )  # fmt: skip
        self.ledger.sync()
        keep(self.workspace, entry)
        self._quarantined[part.fingerprint] = entry
        self._frontier.give_up(part.fingerprint)
        self.ledger.write(
            "quarantined", stage=part.stage, label=part.label, fingerprint=part.fingerprint,
            cause=cause, message=message,
        )  # fmt: skip

    def _log_of(self, task: Task) -> Path:
        return self.workspace.task_logs / f"{task.name}.log"

    def _keep_detail(self, task: Task, detail: str) -> None:
        if detail:
            write_atomic(self._log_of(task), detail.encode())

    def _show(self) -> None:
        self._showing.show(self._flight, self._quarantined.values(), self._hosts.left_out)

    def _ending(self) -> Ending:
        labels = {part.fingerprint: part.label for part in self.plan}
        opened = {part.fingerprint for part in self._frontier.open_parts}
        rest = set(labels) - self._done - set(self._quarantined) - opened
        return Ending(
            tuple(self._quarantined[f] for f in labels if f in self._quarantined),
            tuple(part.label for part in self.plan if part.fingerprint in rest),
        )
