"""`Frontier`: what can be handed out now, kept up to date as parts are made or given up.

A part costs something when it becomes ready, when it is handed out and when it is made, never for
being looked at: a plan of a hundred thousand parts is as quick as one of ten. Tasks are built when
they are about to be handed out. Lanes keep apart what does not wait for each other: the pools of a
cluster; on one machine, whose cores all share, there is a single lane.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from campaign.execution.tasks import Task
from campaign.plan.items import PlannedPart

__all__ = ["Frontier"]

_Entry = tuple[int, int, PlannedPart | Task]


class Frontier:
    """Parts that are neither made nor out of reach, and the tasks that they need now.

    Parameters
    ----------
    plan : sequence of PlannedPart
        In order of precedence.
    done : iterable of str
        Fingerprints of what is made.
    lost : iterable of str
        Fingerprints of what is not to be tried; what needs one of them is out of reach too.
    expand : callable
        Tasks that a part whose inputs are made needs now; from what lies in the workspace.
    rest_of : callable
        What is left of a task that came back unfinished, if anything is.
    lane_of : callable
        Lane of a part.
    """

    def __init__(
        self,
        plan: Sequence[PlannedPart],
        done: Iterable[str],
        lost: Iterable[str],
        expand: Callable[[PlannedPart], list[Task]],
        rest_of: Callable[[Task], Task | None],
        lane_of: Callable[[PlannedPart], str],
    ) -> None:
        self._expand, self._rest_of, self._lane_of = expand, rest_of, lane_of
        self._order = {part.fingerprint: place for place, part in enumerate(plan)}
        self._done, self._out = set(done), set[str]()
        self._open = {p.fingerprint: p for p in plan if p.fingerprint not in self._done}
        self._lacking = {p.fingerprint: set(p.needs - self._done) for p in self._open.values()}
        self._needed_by: dict[str, list[str]] = {}
        for part in self._open.values():
            for need in part.needs:
                self._needed_by.setdefault(need, []).append(part.fingerprint)
        self._lanes: dict[str, list[_Entry]] = {}
        self._outstanding: Counter[str] = Counter()
        self._count = itertools.count()
        for fingerprint in set(lost) - self._done:
            self.give_up(fingerprint)
        for part in list(self._open.values()):
            if not self._lacking[part.fingerprint]:
                self._push(part, part)

    @property
    def open_parts(self) -> list[PlannedPart]:
        """Parts that are neither made nor out of reach, in order of precedence."""
        return list(self._open.values())

    def lacking(self, part: PlannedPart) -> set[str]:
        """Inputs of an open part that are not made yet; none of one that is not open."""
        return self._lacking[part.fingerprint] if part.fingerprint in self._open else set()

    def precedes(self, part: PlannedPart, other: PlannedPart) -> bool:
        """Whether a part comes before another."""
        return self._order[part.fingerprint] < self._order[other.fingerprint]

    def heads(self) -> list[Task]:
        """The task of each lane that is to be handed out first."""
        found = (self._head(lane) for lane in sorted(self._lanes))
        return [task for task in found if task is not None]

    def next_after(self, task: Task) -> Task | None:
        """The task that is first now in the lane of one that was handed out."""
        return self._head(self._lane_of(task.part))

    def take(self, task: Task) -> None:
        """Take note that a head was handed out."""
        heapq.heappop(self._lanes[self._lane_of(task.part)])

    def again(self, task: Task) -> None:
        """A task came back unfinished: what is left of it is to be handed out again."""
        if task.part.fingerprint not in self._open:
            return
        rest = self._rest_of(task)
        if rest is not None:
            self._push(task.part, rest)
        else:
            self.finished(task)

    def finished(self, task: Task) -> None:
        """The items of a task are there; when all of a part's are, it is merged."""
        fingerprint = task.part.fingerprint
        self._outstanding[fingerprint] -= 1
        if fingerprint in self._open and self._outstanding[fingerprint] <= 0:
            self._push(task.part, task.part)

    def made(self, fingerprint: str) -> None:
        """A part is in its place: what waited for it alone is ready."""
        self._open.pop(fingerprint, None)
        self._done.add(fingerprint)
        for waiting in self._needed_by.pop(fingerprint, []):
            if waiting not in self._open:
                continue
            self._lacking[waiting].discard(fingerprint)
            if not self._lacking[waiting]:
                self._push(self._open[waiting], self._open[waiting])

    def give_up(self, fingerprint: str) -> None:
        """A part will not be made, nor what needs it."""
        fallen = [fingerprint]
        while fallen:
            one = fallen.pop()
            if self._open.pop(one, None) is not None or one == fingerprint:
                self._out.add(one)
                fallen += self._needed_by.get(one, [])

    def _push(self, part: PlannedPart, entry: PlannedPart | Task) -> None:
        lane = self._lanes.setdefault(self._lane_of(part), [])
        heapq.heappush(lane, (self._order[part.fingerprint], next(self._count), entry))

    def _head(self, lane: str) -> Task | None:
        """First task of a lane; a part at its head is turned into its tasks."""
        heap = self._lanes[lane]
        while heap:
            _, _, entry = heap[0]
            part = entry.part if isinstance(entry, Task) else entry
            if part.fingerprint not in self._open:
                heapq.heappop(heap)
            elif isinstance(entry, Task):
                return entry
            else:
                heapq.heappop(heap)
                tasks = self._expand(part)
                self._outstanding[part.fingerprint] = len(tasks)
                for task in tasks:
                    self._push(part, task)
        return None
