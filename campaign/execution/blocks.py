"""`BlockWatch`: the blocks of one launch; what they cost, and whether another may be asked for.

A block is one job of a batch system. Schedulers without accounting (`sacct` absent) keep no record
of what a job took, and Parsl's block states are rewritten after the fact; so the intervals are our
own record: submitted, started, ended, each a line of the ledger. Node-hours are nodes times the
interval that the scheduler states, or else that we saw.

The watch also guards what is submitted, for all pools together: never past the budget (spent, plus
what every block still queued or running would take to its end, plus the new block), never more in
an hour than the site says, and after a refusal not before a growing wait. It keeps the hosts that
new blocks are asked for without. It decides nothing else: how many blocks the work needs is Parsl's
strategy's business, which host eats tasks `campaign.execution.losses`'.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

__all__ = ["BLOCK_EVENTS", "Block", "BlockWatch", "State", "blocks_of_ledger"]

BLOCK_EVENTS = ("block_submitted", "block_waits", "block_started", "block_ended")
"""Events of the ledger that tell of blocks."""

State = Literal[
    "pending", "running", "completed", "failed", "timeout", "cancelled", "preempted", "node_fail",
    "out_of_memory", "gone",
]  # fmt: skip
"""``gone``: no longer known to the scheduler, which does not say how it ended."""

_OPEN = ("pending", "running")
_FIRST_WAIT_S, _LONGEST_WAIT_S = 5.0, 300.0
_HOUR_S = 3600.0

WAITS_S, TOLD_EVERY_S = 60.0, 600.0
"""After how long in the queue it is told why a block waits, and how often that may change."""


@dataclass(frozen=True)
class Block:
    """One job.

    Parameters
    ----------
    job, pool : str
    nodes : int
    walltime_s : float
    state : str
        One of `State`.
    submitted_unix : float
    started_unix, ended_unix : float or None
    elapsed_s : float
        How long it ran so far, as the scheduler says, else as seen.
    reason : str
        Why it waits or how it ended, in the scheduler's words.
    hosts : str
        Where it runs, as the scheduler writes it.
    log : str
        File that the block writes its errors to.
    """

    job: str
    pool: str
    nodes: int
    walltime_s: float
    state: State
    submitted_unix: float
    started_unix: float | None = None
    ended_unix: float | None = None
    elapsed_s: float = 0.0
    reason: str = ""
    hosts: str = ""
    log: str = ""

    @property
    def open(self) -> bool:
        """Whether it is queued or running."""
        return self.state in _OPEN

    @property
    def node_hours(self) -> float:
        """What it took so far."""
        return self.nodes * self.elapsed_s / _HOUR_S

    @property
    def node_hours_at_most(self) -> float:
        """What it will have taken, if it runs to its end."""
        left_s = max(self.walltime_s, self.elapsed_s) if self.open else self.elapsed_s
        return self.nodes * left_s / _HOUR_S


class BlockWatch:
    """Blocks of one launch; safe to use from Parsl's threads and the driver's.

    Parameters
    ----------
    record : callable
        Gets every change: the name of an event and its fields, as `Ledger.write`.
    prefix : str
        How names of this workspace's jobs begin.
    budget_node_hours : float, optional
        Never passed, not even if every block runs to its end.
    spent_node_hours : float
        By earlier launches of the workspace.
    submissions_per_hour : int
    max_jobs : int
        Blocks queued and running at once over all pools; 0 for no such limit.
    left_out : iterable of str
        Hosts that new blocks are asked for without.
    clock : callable
        Seconds that go on evenly.
    """

    def __init__(
        self,
        record: Callable[..., None],
        prefix: str,
        *,
        budget_node_hours: float | None = None,
        spent_node_hours: float = 0.0,
        submissions_per_hour: int = 60,
        max_jobs: int = 0,
        left_out: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._record, self.prefix, self._clock = record, prefix, clock
        self._budget = math.inf if budget_node_hours is None else budget_node_hours
        self._spent_before = spent_node_hours
        self._per_hour, self._max_jobs = submissions_per_hour, max_jobs or math.inf
        self._blocks: dict[str, Block] = {}
        self._first_seen: dict[str, float] = {}
        self._left_out = dict.fromkeys(left_out)
        self._needed: dict[str, set[str]] = {}
        self._asked_at: dict[str, float] = {}
        self._told: dict[str, tuple[str, float]] = {}
        self._submitted: deque[float] = deque()
        self._wait_s, self._not_before = 0.0, -math.inf
        self._refusal = ""
        self._lock = threading.RLock()

    @property
    def blocks(self) -> list[Block]:
        """All blocks of this launch."""
        with self._lock:
            return list(self._blocks.values())

    @property
    def spent_node_hours(self) -> float:
        """What was taken so far, by earlier launches too."""
        return self._spent_before + sum(block.node_hours for block in self.blocks)

    @property
    def refusal(self) -> str:
        """What the scheduler said when it last refused a block; empty after one that it took."""
        return self._refusal

    @property
    def left_out(self) -> tuple[str, ...]:
        """Hosts that blocks of no pool are asked for with."""
        with self._lock:
            needed = set[str]().union(*self._needed.values())
            return tuple(host for host in self._left_out if host not in needed)

    def left_out_of(self, pool: str) -> tuple[str, ...]:
        """Hosts that new blocks of a pool are asked for without."""
        with self._lock:
            needed = self._needed.get(pool, set())
            return tuple(host for host in self._left_out if host not in needed)

    def leave_out(self, host: str) -> None:
        """Ask for new blocks without a host."""
        with self._lock:
            self._left_out[host] = None

    def cannot_do_without(self, pool: str, hosts: Iterable[str], message: str) -> None:
        """Take note that the scheduler has no block of a pool without these hosts: it gets them."""
        with self._lock:
            wanted = list(hosts)
            self._needed.setdefault(pool, set()).update(wanted)
            self._record("hosts_needed", pool=pool, hosts=wanted, message=message)

    def refused_for_s(self) -> float:
        """For how long blocks are not asked for, since the scheduler refused; 0 if they are."""
        return max(0.0, self._not_before - self._clock())

    def affordable(self, node_hours: float) -> int:
        """How many more blocks of so many node-hours the budget allows."""
        bound = self._spent_before + sum(block.node_hours_at_most for block in self.blocks)
        left = self._budget - bound
        if math.isinf(left):
            return 10**9
        return max(0, math.floor(left / node_hours + 1e-9))

    def allowance(self, node_hours: float) -> int:
        """How many more blocks of so many node-hours may be submitted now."""
        with self._lock:
            now = self._clock()
            if now < self._not_before:
                return 0
            while self._submitted and self._submitted[0] < now - _HOUR_S:
                self._submitted.popleft()
            in_queue = sum(block.open for block in self.blocks)
            limits = (self._per_hour - len(self._submitted), self._max_jobs - in_queue)
            return max(0, int(min(self.affordable(node_hours), *limits)))

    def submitted(self, job: str, pool: str, nodes: int, walltime_s: float, log: str = "") -> None:
        """Take note of a block that the scheduler took, and of the file that it writes to."""
        with self._lock:
            block = Block(job, pool, nodes, walltime_s, "pending", time.time(), log=log)
            self._asked_at[job] = self._clock()
            self._blocks[job] = block
            self._submitted.append(self._clock())
            self._wait_s, self._refusal = 0.0, ""
            self._record(
                "block_submitted", job=job, pool=pool, nodes=nodes, walltime_s=walltime_s, log=log,
                without=list(self.left_out_of(pool)),
            )  # fmt: skip

    def refused(self, pool: str, message: str) -> None:
        """Take note of a block that the scheduler refused; the next try waits twice as long."""
        with self._lock:
            self._wait_s = min(max(2 * self._wait_s, _FIRST_WAIT_S), _LONGEST_WAIT_S)
            self._not_before = self._clock() + self._wait_s
            self._refusal = message
            self._record("block_refused", pool=pool, message=message, wait_s=round(self._wait_s, 1))

    def unanswered(self, message: str) -> None:
        """Take note of a scheduler that did not tell the state of blocks."""
        with self._lock:
            self._record("scheduler_unanswered", message=message[-500:])

    def seen(
        self,
        job: str,
        state: State,
        elapsed_s: float | None = None,
        reason: str = "",
        hosts: str = "",
    ) -> None:
        """Take note of what the scheduler says of a block.

        Parameters
        ----------
        job : str
        state : str
            One of `State`.
        elapsed_s : float, optional
            How long it has run; by default, since it was first seen running.
        reason, hosts : str
        """
        with self._lock:
            block = self._blocks.get(job)
            if block is None or not block.open:
                return
            now = _later(block, state, self._elapsed(job, state, elapsed_s), reason, hosts)
            self._blocks[job] = now
            if now.state != block.state:
                self._tell(now, was=block)
            elif now.state == "pending":
                self._tell_why_it_waits(now)

    def _tell_why_it_waits(self, block: Block) -> None:
        now = self._clock()
        waited_s = now - self._asked_at[block.job]
        told, last = self._told.get(block.job, ("", -math.inf))
        if block.reason != told and waited_s >= WAITS_S and now - last >= TOLD_EVERY_S:
            self._told[block.job] = block.reason, now
            self._record(
                "block_waits", job=block.job, pool=block.pool, reason=block.reason,
                waited_s=round(waited_s, 1),
            )  # fmt: skip

    def _elapsed(self, job: str, state: State, stated_s: float | None) -> float:
        if state == "running":
            self._first_seen.setdefault(job, self._clock())
        since = self._first_seen.get(job)
        if stated_s is not None:
            return stated_s
        return 0.0 if since is None else self._clock() - since

    def _tell(self, block: Block, was: Block) -> None:
        if was.started_unix is None and block.started_unix is not None:
            self._record(
                "block_started", job=block.job, pool=block.pool, hosts=block.hosts,
                started_unix=round(block.started_unix, 1),
            )  # fmt: skip
        if not block.open:
            self._record(
                "block_ended", job=block.job, pool=block.pool, state=block.state,
                reason=block.reason, nodes=block.nodes, elapsed_s=round(block.elapsed_s, 1),
                node_hours=round(block.node_hours, 6),
            )  # fmt: skip


def _later(block: Block, state: State, elapsed_s: float, reason: str, hosts: str) -> Block:
    """The block as it is now; how long it ran never grows less."""
    now = time.time()
    ran_s = max(block.elapsed_s, elapsed_s)
    started = block.started_unix
    if started is None and (state == "running" or ran_s > 0):
        started = now - ran_s
    return replace(
        block,
        state=state,
        started_unix=started,
        ended_unix=None if state in _OPEN else now,
        elapsed_s=ran_s,
        reason=reason or (block.reason if state == block.state else ""),
        hosts=hosts or block.hosts,
    )


def blocks_of_ledger(rows: Iterable[Mapping[str, Any]]) -> list[Block]:
    """All blocks that a ledger tells of, of all launches, as far as it tells.

    One that has no end in it was left by a driver that was killed: it counts to its walltime until
    it is known better.
    """
    found: dict[str, Block] = {}
    for row in rows:
        kind, job = row.get("event"), str(row.get("job", ""))
        if kind == "block_submitted":
            found[job] = Block(
                job, row["pool"], row["nodes"], row["walltime_s"], "pending", row["unix"],
                log=row.get("log", ""),
            )  # fmt: skip
        elif kind == "block_waits" and job in found:
            found[job] = replace(found[job], reason=row["reason"])
        elif kind == "block_started" and job in found:
            found[job] = replace(
                found[job], state="running", started_unix=row["started_unix"], hosts=row["hosts"],
                elapsed_s=found[job].walltime_s, reason="",
            )  # fmt: skip
        elif kind == "block_ended" and job in found:
            found[job] = replace(
                found[job], state=row["state"], ended_unix=row["unix"], reason=row["reason"],
                elapsed_s=row["elapsed_s"],
            )  # fmt: skip
    return list(found.values())
