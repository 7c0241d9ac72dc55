"""`Spending`: what the blocks of a campaign take on its cluster, from the ledger.

The same whether a driver runs or not: a block that has begun and of which no end is told counts up
to now, or to its walltime where that has passed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from campaign.execution.blocks import Block, blocks_of_ledger

__all__ = ["Spending", "spending_of"]


@dataclass(frozen=True)
class Spending:
    """Blocks now, and node-hours so far.

    Parameters
    ----------
    running, queued : dict of str to int
        Blocks by pool.
    blocks : int
        Of all launches.
    node_hours : float
        Taken so far by all launches.
    budget_node_hours : float or None
        Of the last launch.
    waiting : dict of str to str
        Why blocks wait that have been queued for long, by job, in the scheduler's words.
    needed : tuple of str
        Hosts left out that the scheduler has no block without, as the last launch found.
    refusal : str
        What the scheduler said when it refused the last block that was asked for, if it did.
    """

    running: dict[str, int]
    queued: dict[str, int]
    blocks: int
    node_hours: float
    budget_node_hours: float | None
    waiting: dict[str, str]
    needed: tuple[str, ...]
    refusal: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @property
    def in_lines(self) -> list[str]:
        """What there is to say, a line each."""
        waits = [f"block {job} waits in the queue: {why}" for job, why in self.waiting.items()]
        hosts = ", ".join(self.needed)
        used = [f"no block without {hosts}: used all the same"] if hosts else []
        return [self._in_words, *waits, *used]

    @property
    def _in_words(self) -> str:
        cap = "" if self.budget_node_hours is None else f" of at most {self.budget_node_hours:g}"
        words = (
            f"blocks: {_counted(self.running)} running, {_counted(self.queued)} queued, "
            f"{self.blocks} so far; {self.node_hours:.2f}{cap} node-hours taken"
        )
        return words + (f"; the scheduler refused the last: {self.refusal}" if self.refusal else "")


def _counted(blocks: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {pool}" for pool, count in blocks.items()) or "none"


def spending_of(rows: Iterable[Mapping[str, Any]]) -> Spending:
    """Spending that a ledger tells of."""
    told = list(rows)
    blocks = blocks_of_ledger(told)
    launches = [row for row in told if row["event"] == "launched"]
    asked = [row for row in told if row["event"] in {"block_submitted", "block_refused"}]
    return Spending(
        dict(Counter(block.pool for block in blocks if block.state == "running")),
        dict(Counter(block.pool for block in blocks if block.state == "pending")),
        len(blocks),
        sum(_taken(block) for block in blocks),
        launches[-1].get("budget_node_hours") if launches else None,
        {b.job: f"{b.reason}, {_waits_s(b) / 60:.0f} min" for b in blocks if _is_kept_waiting(b)},
        _needed(told),
        asked[-1].get("message", "") if asked else "",
    )


def _needed(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for row in rows:
        if row["event"] == "launched":
            found = {}
        elif row["event"] == "hosts_needed":
            found.update(dict.fromkeys(row["hosts"]))
    return tuple(found)


def _is_kept_waiting(block: Block) -> bool:
    return block.state == "pending" and bool(block.reason)


def _waits_s(block: Block) -> float:
    return max(0.0, time.time() - block.submitted_unix)


def _taken(block: Block) -> float:
    """Node-hours of a block until now."""
    if block.state != "running" or block.started_unix is None:
        return block.node_hours
    ran_s = max(0.0, time.time() - block.started_unix)
    return block.nodes * min(ran_s, block.walltime_s) / 3600.0
