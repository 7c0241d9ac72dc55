r"""`Rates`: seconds of a worker per unit of work, as the ledger of a workspace tells them.

What counts is a task that was seen from its beginning to its end: its attempts that were continued
are added up, one that was lost or failed on the way is left out, since nobody knows how long it
took. The range is for the mean over the tasks to come, from the scatter of those that were,

.. math:: \bar r \, e^{\pm t_{0.95,\,n-1}\, s \sqrt{1/n + 1/m}},

with s the standard deviation of the logarithms of n observed rates and m tasks to come: it holds
where these are like those. Where only other arms, pools, temperatures or sizes of blocks were seen,
or the same work on another site, it says so and is as wide as what was seen, and wider.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import stdev
from typing import Any

from scipy.special import stdtrit

from campaign.costs.effort import family_of
from campaign.costs.ranges import Range

__all__ = ["Observation", "Rate", "Rates", "observations", "rate_range", "recent_rows"]

_LEAST_FACTOR = 1.15
"""Rates repeat no better: what else a machine does moves them by so much."""

_OF_ONE = 2.0
"""Of a single observation, which says nothing of the scatter."""

_MOST_FACTOR = 4.0

_ROWS = 20_000
"""Of a ledger, that are read for rates."""

_LAUNCHED = re.compile(r'"event":\s*"launched"')

_OTHER_KIND, _OTHER_SITE = 1.3, 2.0
"""How much wider where other kinds, or another site's workers, were seen."""


@dataclass(frozen=True)
class Observation:
    """One task that was seen from its beginning to its end.

    Parameters
    ----------
    kind : str
        Of its work (`Effort`).
    amount : float
        Units.
    seconds : float
        Of its worker, over all attempts.
    site : str
        Where it ran.
    """

    kind: str
    amount: float
    seconds: float
    site: str

    @property
    def rate(self) -> float:
        """Seconds per unit."""
        return self.seconds / self.amount


@dataclass(frozen=True)
class Rate:
    """Seconds of a worker per unit, and how that is known.

    Parameters
    ----------
    seconds : Range
    tasks : int
        So many were seen.
    basis : str
        In words.
    same_kind : bool
        Whether what was seen is what is to come.
    """

    seconds: Range
    tasks: int
    basis: str
    same_kind: bool


def recent_rows(path: Path, stages: Collection[str]) -> list[dict[str, Any]]:
    """Last rows of a ledger that speak of some stages, and all that say where a launch ran.

    A ledger of a hundred thousand items is a hundred megabytes: only what is wanted is parsed, and
    not more of it than tells a rate well. The latest rows are those most like what is to come.
    """
    if not path.exists():
        return []
    wanted = re.compile(rf'"stage":\s*"({"|".join(map(re.escape, sorted(stages)))})"')
    launched: list[tuple[int, str]] = []
    recent: deque[tuple[int, str]] = deque(maxlen=_ROWS)
    with path.open(encoding="utf-8", errors="replace") as handle:
        for number, line in enumerate(handle):
            if _LAUNCHED.search(line):
                launched.append((number, line))
            elif wanted.search(line):
                recent.append((number, line))
    found = []
    for _, line in sorted([*launched, *recent]):
        with contextlib.suppress(ValueError):  # torn by a kill; the report counts these
            found.append(json.loads(line))
    return found


@dataclass
class _Open:
    """A task that has not ended, as far as the ledger was read."""

    kind: str
    unit: str
    amount: float
    seconds: float = 0.0
    out: bool = True
    whole: bool = True

    @staticmethod
    def of(effort: Mapping[str, Any]) -> _Open:
        return _Open(effort["kind"], effort["unit"], effort["amount"])


def observations(rows: Iterable[Mapping[str, Any]]) -> Iterator[Observation]:
    """Tasks that a ledger tells whole, in the order in which they ended."""
    site, tasks = "", dict[str, _Open]()
    for row in rows:
        event, task = row.get("event"), row.get("task", "")
        if event == "launched":
            site = row.get("site", "")
        elif event == "submitted" and "effort" in row:
            tasks[task] = _again(tasks.get(task), _Open.of(row["effort"]))
        elif event == "result" and task in tasks:
            found = tasks[task] = _answered(tasks[task], row)
            if row["outcome"] == "done":
                del tasks[task]
                if found.whole and found.amount > 0:
                    yield Observation(found.kind, found.amount, found.seconds, site)


def _again(before: _Open | None, now: _Open) -> _Open:
    """A task that is submitted, for the first time or once more.

    Labels that are there are not asked for again: after an attempt that was lost, what is left is
    a task of its own. A training goes on from a checkpoint of which nobody knows what it took.
    """
    if before is None:
        return now
    lost = before.out or not before.whole
    if lost and now.unit == "labels":
        return now
    return replace(before, out=True, whole=not lost)


def _answered(task: _Open, row: Mapping[str, Any]) -> _Open:
    told = row["outcome"] in {"done", "continue"} and "resources" in row
    more = row["resources"]["wall_s"] if told else 0.0
    return replace(task, seconds=task.seconds + more, out=False, whole=task.whole and told)


def rate_range(observed: list[Observation], to_come: int) -> Range:
    """Seconds per unit of the mean over tasks to come.

    Parameters
    ----------
    observed : list of Observation
        At least one, like those to come.
    to_come : int
        Tasks.
    """
    expected = sum(o.seconds for o in observed) / sum(o.amount for o in observed)
    count = len(observed)
    if count == 1:
        return Range.about(expected, _OF_ONE, _OF_ONE)
    scatter = stdev(math.log(max(o.rate, 1e-12)) for o in observed)
    spread = float(stdtrit(count - 1, 0.95)) * scatter * math.sqrt(1 / count + 1 / max(1, to_come))
    factor = min(max(math.exp(min(spread, 10.0)), _LEAST_FACTOR), _MOST_FACTOR)
    return Range.about(expected, factor, factor)


class Rates:
    """Rates of a ledger, as a site's tasks are to be priced by them.

    Parameters
    ----------
    observed : iterable of Observation
    site : str
        Name of the site that is to do the work.
    """

    def __init__(self, observed: Iterable[Observation], site: str) -> None:
        self._site = site
        self._families: dict[str, list[Observation]] = defaultdict(list)
        for one in observed:
            self._families[family_of(one.kind)].append(one)

    def of(self, kind: str, to_come: int) -> Rate | None:
        """Rate of a kind of work of which so many tasks are to come; None if nothing is known."""
        family = self._families.get(family_of(kind), [])
        here = [one for one in family if one.site == self._site]
        seen = here or family
        if not seen:
            return None
        site, elsewhere = ("", 1.0) if here else (f" on site {seen[-1].site}", _OTHER_SITE)
        alike = [one for one in seen if one.kind == kind]
        if alike:
            found = rate_range(alike, to_come)
            basis = f"ledger, {_counted(len(alike))}{site}"
            wider = Range(found.low / elsewhere, found.expected, found.high * elsewhere)
            return Rate(wider, len(alike), basis, same_kind=True)
        rates = [one.rate for one in seen]
        expected, wider_by = rate_range(seen, to_come).expected, _OTHER_KIND * elsewhere
        wide = Range(min(rates) / wider_by, expected, max(rates) * wider_by)
        basis = f"ledger, {_counted(len(seen))} of other kinds{site}"
        return Rate(wide, len(seen), basis, same_kind=False)


def _counted(tasks: int) -> str:
    return f"{tasks} task" + ("s" if tasks != 1 else "")
