r"""`Room`: how many tasks the memory of this machine holds at once, as measured while they run.

Each task function is taken to need the largest memory that one of its tasks was measured to take;
one that was not measured yet, none. Another task may start while

.. math:: \sum_f n_f m_f + m \le M

over the functions f of the n tasks at work, with M a share of the machine's memory or of the
control group that this process is in. Nodes of a cluster are not seen from here, and hold what the
site file says. On either, a function whose task came back saying that memory ran out, or whose
worker the kernel ended for it, runs half as many at once from then on, down to one. Sizes of blocks
are science, and stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import psutil

from campaign.sites.site import BatchSite, Site

__all__ = ["Room", "machine_memory_MB"]

_USED = 0.9
"""Share of the memory that tasks may take: the driver and the system need some."""

_GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_GROUP_EVENTS = Path("/sys/fs/cgroup/memory.events")
_KERNEL_EVENTS = Path("/proc/vmstat")


def machine_memory_MB() -> float:
    """Memory of this machine, or of the control group that this process is in."""
    limit = _read(_GROUP_LIMIT).strip()
    total = int(psutil.virtual_memory().total)
    return (min(total, int(limit)) if limit.isdigit() else total) / 2**20


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


def _killed_for_memory() -> int:
    """Processes that the kernel has ended for want of memory so far, as far as it says so."""
    counted = [
        int(line.split()[1])
        for path in (_GROUP_EVENTS, _KERNEL_EVENTS)
        for line in _read(path).splitlines()
        if line.startswith("oom_kill ")
    ]
    return max(counted, default=0)


class Room:
    """What the memory of a site holds, as one launch learns it.

    Parameters
    ----------
    site : Site
    memory_MB : float, optional
        Of this machine; by default as it says.
    """

    def __init__(self, site: Site, memory_MB: float | None = None) -> None:
        self._local = not isinstance(site, BatchSite)
        self._memory_MB = _USED * (machine_memory_MB() if memory_MB is None else memory_MB)
        self._peak_MB: dict[str, float] = {}
        self._most: dict[str, int] = {}
        self._killed = _killed_for_memory()

    def took(self, function: str, peak_rss_MB: float) -> None:
        """Take note of the memory that a task was measured to take."""
        self._peak_MB[function] = max(peak_rss_MB, self._peak_MB.get(function, 0.0))

    def holds(self, function: str, at_work: Mapping[str, int]) -> bool:
        """Whether there is room for another task; always, where none is at work.

        Parameters
        ----------
        function : str
            Of the task.
        at_work : mapping of str to int
            Tasks that keep a worker busy, by function.
        """
        if not any(at_work.values()):
            return True
        if function in self._most and at_work.get(function, 0) >= self._most[function]:
            return False
        needed = self._peak_MB.get(function, 0.0)
        needed += sum(n * self._peak_MB.get(other, 0.0) for other, n in at_work.items())
        return not self._local or needed <= self._memory_MB

    def ran_out(self, function: str, others: int) -> int:
        """Let half as many tasks of a function run at once; how many that is.

        Parameters
        ----------
        function : str
            Of the task that came back for want of memory.
        others : int
            Tasks of it that are at work still.
        """
        there = min(1 + others, self._most.get(function, 1 + others))
        self._most[function] = max(1, there // 2)
        return self._most[function]

    def was_killed_for_memory(self) -> bool:
        """Whether the kernel ended a process on this machine for it since this was last asked."""
        killed, before = _killed_for_memory(), self._killed
        self._killed = killed
        return self._local and killed > before
