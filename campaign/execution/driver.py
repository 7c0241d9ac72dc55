"""The driver: hands out what is ready, takes in what comes back, until the plan is made.

It holds no truth. What is done is what lies in its place; so a driver may be killed at any moment
and the next one goes on from the workspace. Outcomes are treated by class: *done*; *continue*
(handed out again); *failed by the method* (quarantined with its reason); *failed by the software*
(one more try, then quarantined); *lost with the infrastructure* (handed out again, without using up
tries, up to a cap that tells a loss from a task that kills its worker); *input cannot be used* and
*workspace refuses* (all stops; what is finished is kept). Quarantine outlasts the launch: what is
in it, and what needs that, is left out until `campaign retry`.

Tasks are handed out in the plan's order of precedence, as many as the pools' workers and, on one
machine, its cores can keep busy: a task that needs more cores than are free waits at the head of
the queue and nothing overtakes it, nor starts while all that it waits for is running. It is no
scheduler: on a cluster the queue decides.
"""

from __future__ import annotations

import math
import signal
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign.cancelling import wish_of
from campaign.costs.effort import effort_of
from campaign.execution.blocks import BlockWatch
from campaign.execution.frontier import Frontier
from campaign.execution.parsl_config import capacity_of
from campaign.execution.tasks import Task, is_done, tasks_of
from campaign.execution.workers import Workers, is_block_loss, is_infrastructure_loss
from campaign.ledger import Ledger
from campaign.plan.items import PlannedPart
from campaign.plan.stages import STAGES
from campaign.progress import Progress, progress_of, with_quarantine
from campaign.quarantine import Cause, Quarantined, keep, kept_of
from campaign.sites.site import BatchSite, Site, available_cores
from campaign.workspace import Workspace
from data_store.errors import InputError, Stopped, WorkspaceError
from data_store.work import write_atomic

__all__ = ["Driver", "Ending"]

MAX_LOSSES = 8
"""Deaths of its worker after which a task is taken to kill its workers itself."""

MAX_BLOCK_LOSSES = 24
"""Losses with a whole block or node after which it is taken to kill those: they are many where
nodes fail, walltimes are short or operators busy, and say little of the task."""

QUEUED = 2
"""Tasks handed to a cluster's pool for each that it works at, so that no worker waits for us."""

SHOWN_EVERY_S = 0.5

MAX_SOFTWARE_TRIES = 2
"""Tries of a task that fails by the software."""

Answer = list[dict[str, Any]]
Display = Callable[[Progress], None]


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
    """

    def __init__(
        self,
        plan: Sequence[PlannedPart],
        workspace: Workspace,
        site: Site,
        ledger: Ledger,
        display: Display,
        watch: BlockWatch,
    ) -> None:
        order = list(STAGES)
        self.plan = sorted(plan, key=lambda part: order.index(part.stage))
        self.workspace, self.site, self.ledger, self.display = workspace, site, ledger, display
        self.watch = watch
        self._done = {p.fingerprint for p in self.plan if is_done(p, workspace)}
        self._flight: dict[Future[Answer], Task] = {}
        self._losses: Counter[tuple[str, str]] = Counter()
        self._failures: Counter[str] = Counter()
        self._quarantined = kept_of(workspace, self.plan)
        self._draining = False
        self._in_pool: Counter[str] = Counter()
        self._wide = [part for part in self.plan if part.cores > 1]
        self._shown_at = -math.inf
        self._frontier = Frontier(
            self.plan,
            self._done,
            self._quarantined,
            lambda part: tasks_of(part, workspace, self._threads(part)),
            self._lane,
        )

    def run(self) -> Ending:
        """Make everything that can be made.

        Raises
        ------
        InputError
            If what the user brought cannot be used, or a quarantine file cannot be read.
        WorkspaceError
            If the file system refuses; a later launch goes on.
        Stopped
            If asked to by SIGINT or SIGTERM; a later launch goes on.
        """
        self._show()
        if not self._frontier.open_parts:
            return self._ending()
        with (
            _stopping_signals() as stop,
            Workers(
                self.site, self.workspace.root, self.workspace.logs / "parsl", self.watch
            ) as workers,
        ):
            while self._flight or self._draining or self._frontier.heads():
                self._heed(wish_of(self.workspace), stop)
                workers.check()
                if not self._draining:
                    self._hand_out(workers)
                self._refuse_to_wait_for_nothing()
                finished, _ = wait(self._flight, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in finished:
                    task = self._flight.pop(future)
                    self._in_pool[self._pool(task.part)] -= 1
                    self._take_in(task, future)
                self._show_now_and_then()
        self._show()
        return self._ending()

    def _heed(self, wish: str | None, stop: threading.Event) -> None:
        """Stop where that is asked for, by a signal or by `campaign cancel`.

        Raises
        ------
        Stopped
            At once, or, where the wish is to drain, when nothing is in flight any more.
        """
        self._draining = wish == "drain"
        if stop.is_set() or wish == "now" or (self._draining and not self._flight):
            raise Stopped("stopped; finished work is kept", "the same command goes on")

    def _threads(self, part: PlannedPart) -> int:
        return self.site.pools[self._pool(part)].threads_per_worker

    def _pool(self, part: PlannedPart) -> Any:
        return self.site.pool_of(part.role)

    def _lane(self, part: PlannedPart) -> str:
        """Pools of a cluster do not wait for each other; on one machine all share its cores."""
        return str(self._pool(part)) if isinstance(self.site, BatchSite) else ""

    def _hand_out(self, workers: Workers) -> None:
        """Submit in order of precedence until the head of each queue does not fit."""
        while True:
            heads = [t for t in self._frontier.heads() if self._fits(t) and not self._waited_for(t)]
            if not heads:
                return
            for task in heads:
                self._submit(workers, task)

    def _submit(self, workers: Workers, task: Task) -> None:
        pool = self._pool(task.part)
        mark = self.workspace.running / f"{task.name}.json"
        self.ledger.write(
            "submitted",
            task=task.name,
            stage=task.part.stage,
            label=task.part.label,
            fingerprint=task.part.fingerprint,
            items=task.items,
            pool=pool,
            effort=effort_of(task.part, None if task.merges else task.items).to_json(),
        )
        future = workers.submit(
            pool, task.function, list(task.requests), str(mark), task.part.cores
        )
        self._frontier.take(task)
        self._flight[future] = task
        self._in_pool[pool] += 1

    def _fits(self, task: Task) -> bool:
        pool = self._pool(task.part)
        capacity = capacity_of(self.site.pools[pool], pool)
        if isinstance(self.site, BatchSite):
            return self._in_pool[pool] < QUEUED * capacity
        cores = sum(t.part.cores for t in self._flight.values())
        free = available_cores() - cores
        enough = not self._flight or task.part.cores <= free
        return enough and self._in_pool[pool] < capacity

    def _waited_for(self, task: Task) -> bool:
        """Whether a part that needs several cores, and comes before, only waits for what runs now.

        A long task of a later stage would hold a core that it is about to need. On a cluster, parts
        that need several cores have nodes of their own.
        """
        if isinstance(self.site, BatchSite):
            return False
        ending = {t.part.fingerprint for t in self._flight.values() if t.merges}
        earlier = (p for p in self._wide if self._frontier.precedes(p, task.part))
        lacking = (self._frontier.lacking(part) for part in earlier)
        return any(needs and needs <= ending for needs in lacking)

    def _refuse_to_wait_for_nothing(self) -> None:
        """Stop when all that is in flight waits for blocks that the budget does not allow.

        Raises
        ------
        Stopped
            Saying what was spent and what remains.
        """
        if not isinstance(self.site, BatchSite) or not self._flight:
            return
        working = {block.pool for block in self.watch.blocks if block.open}
        pools = {self._pool(task.part) for task in self._flight.values()}
        afford = any(self.watch.affordable(self.site.pools[p].block_node_hours) for p in pools)
        if not afford and not pools & working:
            remains = len(self._frontier.open_parts)
            raise Stopped(
                f"the budget is spent: {self.watch.spent_node_hours:.2f} node-hours were taken, "
                f"and another block of pool {', '.join(sorted(pools))} would pass it; {remains} "
                "parts remain, finished work is kept",
                "launch again with a larger --budget, or with blocks of shorter walltime or fewer "
                "nodes",
            )

    def _take_in(self, task: Task, future: Future[Answer]) -> None:
        error = future.exception()
        if error is not None:
            self._raised(task, error)
            return
        (answer,) = future.result()
        self._record(task, answer)

    def _raised(self, task: Task, error: BaseException) -> None:
        """Take in a task that brought an exception home instead of an answer."""
        if isinstance(error, WorkspaceError):
            raise error
        kind = "lost" if is_infrastructure_loss(error) else "failed_software"
        host, message = getattr(error, "hostname", ""), f"{type(error).__name__}: {error}"
        self.ledger.write(
            "result", outcome=kind, task=task.name, stage=task.part.stage, label=task.part.label,
            fingerprint=task.part.fingerprint, items=task.items, message=message, host=host,
        )  # fmt: skip
        if kind == "failed_software":
            self._keep_detail(task, "".join(traceback.format_exception(error)))
            self._failed(task, message, host)
        else:
            self._lost(task, message, host, with_block=is_block_loss(error))

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
        message, host = answer["message"], answer["resources"]["host"]
        if outcome == "failed_method":
            self._quarantine(task, "method", message, host)
        elif outcome == "failed_software":
            self._failed(task, message, host)
        elif outcome == "lost":
            self._lost(task, message, host)
        elif outcome == "continue":
            self._frontier.again(task)
        elif task.merges:
            self._done.add(task.part.fingerprint)
            self._frontier.made(task.part.fingerprint)
        else:
            self._frontier.finished(task)

    def _lost(self, task: Task, message: str, host: str, *, with_block: bool = False) -> None:
        kind, most = ("block", MAX_BLOCK_LOSSES) if with_block else ("worker", MAX_LOSSES)
        self._losses[task.name, kind] += 1
        if self._losses[task.name, kind] >= most:
            said = f"its {kind} was lost {most} times, the last time: {message}"
            self._quarantine(task, "lost", said, host)
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

    def _show_now_and_then(self) -> None:
        """Show, but not so often that a large plan's driver does little else."""
        if time.monotonic() - self._shown_at >= SHOWN_EVERY_S:
            self._show()

    def _show(self) -> None:
        progress = progress_of(
            self.plan, self.workspace.parts, self.workspace.work, made=self._done
        )
        running: Counter[str] = Counter()
        for task in self._flight.values():
            running[task.part.stage] += task.items
        progress = progress.counting(running=running)
        self.display(with_quarantine(progress, self._quarantined.values()))
        self._shown_at = time.monotonic()

    def _ending(self) -> Ending:
        labels = {part.fingerprint: part.label for part in self.plan}
        opened = {part.fingerprint for part in self._frontier.open_parts}
        rest = set(labels) - self._done - set(self._quarantined) - opened
        return Ending(
            tuple(self._quarantined[f] for f in labels if f in self._quarantined),
            tuple(part.label for part in self.plan if part.fingerprint in rest),
        )


@contextmanager
def _stopping_signals() -> Iterator[threading.Event]:
    """Turn SIGINT and SIGTERM into an event while the driver runs in the main thread."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
