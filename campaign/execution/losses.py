"""`Losses`: workers lost in one launch, counted by task and by host; who is to blame, if anybody.

A task whose worker dies says something of the task, of the host, or of neither. The rules:

- Lost with its whole block or node: neither's doing. The task is tried again, up to
  `MAX_BLOCK_LOSSES` times.
- A task whose worker was lost on `MAX_HOSTS` hosts, or `MAX_LOSSES` times on one, kills its workers
  itself: it is given up. So is one that was lost `MAX_LOSSES` times in a way that no single host
  can be blamed for: where that is not known, several nodes were at it, or it came back saying so.
- A host *eats tasks* if the workers of `FEWEST_EATEN` or more different tasks, none of them lost on
  any other host, were lost there in a row, nothing coming back in between, while other hosts gave
  answers to tasks of the same stages; and if such a run were rarer than `MAX_CHANCE` on a host like
  the others. With a share p of tries of those stages lost elsewhere since the run began (by
  Laplace's rule of succession, so that few tries prove little), a run of k has chance p^k.

A task lost on several hosts speaks against itself: each is held against one host at most, so that a
few that kill their workers put out no row of hosts. A stage that dies everywhere, or a file system
that hangs for all, has no answers elsewhere and puts out none. What is lost on a host that is left
out says nothing of the task, and what is lost in a run of three and more as little as a loss with
the block. No file is read here, and nobody is asked.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

__all__ = [
    "FEWEST_EATEN",
    "MAX_BLOCK_LOSSES",
    "MAX_CHANCE",
    "MAX_HOSTS",
    "MAX_LOSSES",
    "Eater",
    "Losses",
]

MAX_HOSTS = 3
"""Hosts on which a task's worker was lost, after which it is taken to kill its workers itself."""

MAX_LOSSES = 8
"""Losses of its worker on one host after which it is taken to do so."""

MAX_BLOCK_LOSSES = 24
"""Losses with a whole block or node after which it is taken to kill those: they are many where
nodes fail, walltimes are short or operators busy, and say little of the task."""

FEWEST_EATEN = 3
"""Different tasks that must be lost on a host in a row before it can be taken to eat them."""

MAX_CHANCE = 1e-3
"""Chance of such a run on a host like the others, above which nothing is held against it."""


@dataclass(frozen=True)
class Eater:
    """A host that eats tasks.

    Parameters
    ----------
    host : str
    tasks : tuple of str
        Names of those that were lost there in a row, and nowhere else.
    lost_elsewhere, answered_elsewhere : int
        Tries of the same stages on other hosts since the first of these losses.
    """

    host: str
    tasks: tuple[str, ...]
    lost_elsewhere: int
    answered_elsewhere: int

    @property
    def in_words(self) -> str:
        """What there is against it."""
        shown = ", ".join(self.tasks[:FEWEST_EATEN])
        more = ", ..." if len(self.tasks) > FEWEST_EATEN else ""
        return (
            f"{len(self.tasks)} different tasks in a row lost their workers there ({shown}{more}), "
            f"while on other hosts {self.answered_elsewhere} tries of the same stages gave an "
            f"answer and {self.lost_elsewhere} were lost"
        )


@dataclass
class _Run:
    """Losses in a row on one host, and how all hosts together stood when it began."""

    lost_before: Counter[str]
    answered_before: Counter[str]
    tasks: dict[str, None] = field(default_factory=dict)
    tries: Counter[str] = field(default_factory=Counter)


class Losses:
    """Losses of one launch.

    Parameters
    ----------
    left_out : callable
        Hosts that new blocks do not get.
    can_leave_out : bool
        Whether the site can leave hosts out at all.
    """

    def __init__(
        self, left_out: Callable[[], Collection[str]] = tuple, *, can_leave_out: bool = False
    ) -> None:
        self._left_out, self._can_leave_out = left_out, can_leave_out
        self._by_host: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._with_block: Counter[str] = Counter()
        self._no_host: Counter[str] = Counter()
        self._in_a_run: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._hosts_of: defaultdict[str, set[str]] = defaultdict(set)
        self._runs: dict[str, _Run] = {}
        self._lost: Counter[str] = Counter()
        self._answered: Counter[str] = Counter()
        self._told: set[str] = set()

    def answered(self, stage: str, host: str) -> None:
        """A worker of a host came back with an answer: whatever that was, the host is well."""
        self._answered[stage] += 1
        self._runs.pop(host, None)

    def lost(self, task: str, stage: str, host: str, *, with_block: bool = False) -> str:
        """A task was lost.

        Parameters
        ----------
        task, stage, host : str
            The host is empty where no single one can be blamed.
        with_block : bool
            Whether it was lost with its whole block or node.

        Returns
        -------
        str
            Why it is to be given up, in words; empty where it is to be tried again.
        """
        if with_block:
            self._with_block[task] += 1
            return self._verdict(task)
        if not host:
            self._no_host[task] += 1
            return self._verdict(task)
        self._hosts_of[task].add(host)
        if host not in self._left_out():
            self._prolong_run(task, stage, host)
            in_a_run = self._can_leave_out and len(self._eaten(host)) >= FEWEST_EATEN
            (self._in_a_run if in_a_run else self._by_host)[task][host] += 1
        return self._verdict(task)

    def _prolong_run(self, task: str, stage: str, host: str) -> None:
        if host not in self._runs:
            self._runs[host] = _Run(self._lost.copy(), self._answered.copy())
        self._lost[stage] += 1
        self._runs[host].tasks[task] = None
        self._runs[host].tries[stage] += 1

    def _verdict(self, task: str) -> str:
        left_out = self._left_out()
        told = {host: n for host, n in self._by_host[task].items() if host not in left_out}
        if len(told) >= MAX_HOSTS or max(told.values(), default=0) >= MAX_LOSSES:
            return f"its worker was lost on {_hosts_in_words(told)}"
        if self._no_host[task] >= MAX_LOSSES:
            return (
                f"it was lost {self._no_host[task]} times, for none of which one host is to blame"
            )
        in_a_run = sum(n for host, n in self._in_a_run[task].items() if host not in left_out)
        times = self._with_block[task] + in_a_run
        if times >= MAX_BLOCK_LOSSES:
            of_them = f", {in_a_run} of them on hosts that lost others too" if in_a_run else ""
            return f"it was lost with its block or node {times} times{of_them}"
        return ""

    def eaters(self) -> Iterator[Eater]:
        """Hosts found to eat tasks; each is told once."""
        if not self._runs:
            return
        known = {*self._told, *self._left_out()}
        for host in [host for host in self._runs if host not in known]:
            found = self._against(host)
            if found is not None:
                self._told.add(host)
                yield found

    def _against(self, host: str) -> Eater | None:
        run, eaten = self._runs[host], self._eaten(host)
        lost = sum(self._lost[s] - run.lost_before[s] - run.tries[s] for s in run.tries)
        answered = sum(self._answered[s] - run.answered_before[s] for s in run.tries)
        share = (lost + 1) / (lost + answered + 2)
        if len(eaten) < FEWEST_EATEN or not answered or share ** len(eaten) > MAX_CHANCE:
            return None
        return Eater(host, eaten, lost, answered)

    def _eaten(self, host: str) -> tuple[str, ...]:
        """Tasks lost on a host since it last gave an answer, and on no other."""
        return tuple(task for task in self._runs[host].tasks if self._hosts_of[task] == {host})


def _hosts_in_words(counts: dict[str, int]) -> str:
    each = ", ".join(
        f"{host} ({times} {'time' if times == 1 else 'times'})"
        for host, times in sorted(counts.items())
    )
    return f"{len(counts)} {'host' if len(counts) == 1 else 'hosts'}: {each}"
