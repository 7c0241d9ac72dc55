"""What of a plan is to be done, by the pools of a site: tasks, and the blocks that they may get.

Counts alone, from the plan and what lies in the workspace; nothing is measured here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from campaign.plan.items import PlannedPart
from campaign.sites.site import BatchPool, Site
from campaign.workspace import Workspace
from data_store.parts import is_made
from data_store.work import item_key, item_keys

__all__ = ["PoolWork", "work_by_pool"]


@dataclass(frozen=True)
class PoolWork:
    """Work of one pool.

    Parameters
    ----------
    pool : str
    tasks : int
        Handed to workers, if none is interrupted.
    blocks : int or None
        Queued or running at once at most; None on one machine.
    block_node_hours : float or None
        Of one block that runs to its walltime.
    """

    pool: str
    tasks: int
    blocks: int | None
    block_node_hours: float | None

    @property
    def in_words(self) -> str:
        """One line."""
        words = f"pool {self.pool}: {self.tasks} tasks"
        if self.blocks is None or self.block_node_hours is None:
            return words
        return (
            f"{words}, in up to {self.blocks} blocks at once of up to {self.block_node_hours:g} "
            "node-hours each"
        )


def work_by_pool(parts: Sequence[PlannedPart], workspace: Workspace, site: Site) -> list[PoolWork]:
    """Work that is to be done, for each pool of a site."""
    tasks: Counter[str] = Counter()
    for part in parts:
        if not is_made(workspace.parts, part.stage, part.fingerprint):
            tasks[site.pool_of(part.role)] += 1 + _item_tasks(part, workspace)
    return [_of_pool(name, site, tasks[name]) for name in site.pools]


def _item_tasks(part: PlannedPart, workspace: Workspace) -> int:
    if part.items is None:
        return 0
    there = set(item_keys(workspace.work / part.items.fingerprint))
    missing = (n for n in range(part.items.count) if item_key(n) not in there)
    return len({index // part.items.per_task for index in missing})


def _of_pool(name: str, site: Site, tasks: int) -> PoolWork:
    pool = next(pool for role, pool in site.pools.items() if role == name)
    if not isinstance(pool, BatchPool):
        return PoolWork(name, tasks, None, None)
    return PoolWork(name, tasks, pool.max_blocks, round(pool.block_node_hours, 4))
