"""`Flight`: the tasks that workers have now, and whether another may join them.

On a cluster a pool gets a few more tasks than it works at, and the queue decides the rest. On one
machine all pools share its cores: a task that needs more cores than are free waits, and nothing
overtakes it, nor starts while all that it waits for is running. Quick tasks may wait at the workers
of this machine too, so that none is idle while the driver takes in what came back. None is handed
out for which there is no `Room`. It knows nothing of futures, nor of what becomes of a task.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from campaign.execution.frontier import Frontier
from campaign.execution.parsl_config import capacity_of
from campaign.execution.room import Room
from campaign.execution.tasks import Task
from campaign.plan.items import PlannedPart
from campaign.sites.site import BatchSite, Site, available_cores

__all__ = ["Flight"]

QUEUED = 2
"""Tasks handed to a pool for each that it works at, so that no worker waits for us: on a cluster,
and of quick tasks on one machine."""

QUICK_S = 1.0
"""Tasks of a function are quick while none has taken longer; what comes before them and is ready
later waits no longer than this for those that wait at the workers."""


class Flight:
    """Tasks in flight on a site.

    Parameters
    ----------
    site : Site
    plan : sequence of PlannedPart
        In order of precedence.

    Attributes
    ----------
    room : Room
    """

    def __init__(self, site: Site, plan: Sequence[PlannedPart]) -> None:
        self._site, self.room = site, Room(site)
        self._tasks: dict[str, Task] = {}
        self._riding: set[str] = set()
        self._at_work: Counter[str] = Counter()
        self._in_pool: Counter[str] = Counter()
        self._cores = 0
        self._longest_s: dict[str, float] = {}
        self._wide = [part for part in plan if part.cores > 1]

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks.values())

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, task: Task, *, riding: bool = False) -> None:
        """Take note that a task is handed to workers, or rides with one that is."""
        self._tasks[task.name] = task
        if riding:
            self._riding.add(task.name)
            return
        self._at_work[task.function] += 1
        self._in_pool[self._pool(task)] += 1
        self._cores += task.part.cores

    def remove(self, name: str) -> Task:
        """The task of a name, which came back."""
        task = self._tasks.pop(name)
        if name in self._riding:
            self._riding.remove(name)
            return task
        self._at_work[task.function] -= 1
        self._in_pool[self._pool(task)] -= 1
        self._cores -= task.part.cores
        return task

    def took(self, task: Task, wall_s: float, peak_rss_MB: float) -> None:
        """Take note of how long a task was at work, and of the memory that it took."""
        self._longest_s[task.function] = max(wall_s, self._longest_s.get(task.function, 0.0))
        self.room.took(task.function, peak_rss_MB)

    def ran_out_of_memory(self, task: Task) -> int:
        """A task came back for want of memory: how many of its function may run at once now."""
        return self.room.ran_out(task.function, self._at_work[task.function])

    def fits(self, task: Task) -> bool:
        """Whether another task may be handed out now."""
        if not self.room.holds(task.function, self._at_work):
            return False
        pool = self._pool(task)
        capacity = capacity_of(self._site.pools[pool], pool)
        if isinstance(self._site, BatchSite) or self._may_wait_there(task, pool, capacity):
            return self._in_pool[pool] < QUEUED * capacity
        enough = not self._tasks or task.part.cores <= available_cores() - self._cores
        return enough and self._in_pool[pool] < capacity

    def _may_wait_there(self, task: Task, pool: str, capacity: int) -> bool:
        """Whether a task may wait at the workers of this machine for one to be free.

        They start what they have without asking: so only where they are no more than the cores, and
        all that they have takes one core and is of this pool; and nothing that takes long.
        """
        quick = self._longest_s.get(task.function, math.inf) < QUICK_S
        alike = self._in_pool[pool] == len(self._tasks) == self._cores and task.part.cores == 1
        return quick and alike and capacity <= available_cores()

    def waited_for(self, task: Task, frontier: Frontier) -> bool:
        """Whether a part that needs several cores, and comes before, only waits for what runs now.

        A long task of a later stage would hold a core that it is about to need. On a cluster, parts
        that need several cores have nodes of their own.
        """
        if isinstance(self._site, BatchSite) or not self._wide:
            return False
        ending = {t.part.fingerprint for t in self if t.merges}
        earlier = (p for p in self._wide if frontier.precedes(p, task.part))
        lacking = (frontier.lacking(part) for part in earlier)
        return any(needs and needs <= ending for needs in lacking)

    def _pool(self, task: Task) -> Any:
        return self._site.pool_of(task.part.role)
