"""`TimeLeft`: a rough guess of how long a launch still takes, from the pace of the last while.

For each stage: what is left of it, over the items that came back done in the last half hour of this
launch (or since the first of the stage was handed out, where that is less). No pace, no guess: a
stage of which nothing came back yet is *not known yet*. Stages may run beside each other or one
after the other, so the whole is between the longest of them and their sum. Node-hours that a plan
predicts are another matter (`campaign plan`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from campaign.progress import Progress

__all__ = ["TimeLeft", "time_left"]

WINDOW_S = 1800.0


@dataclass(frozen=True)
class TimeLeft:
    """Time left by stage.

    Parameters
    ----------
    at_work : bool
        Whether a driver is; without one no time is told.
    stages_s : dict of str to float or None
        Of each stage that is not complete, by title; None where it is not known yet.
    """

    at_work: bool
    stages_s: dict[str, float | None]

    @property
    def at_least_s(self) -> float | None:
        """As long as the longest stage that has a pace; None where none has."""
        return max((s for s in self.stages_s.values() if s is not None), default=None)

    @property
    def at_most_s(self) -> float | None:
        """As long as all stages one after the other; None where one of them is not known."""
        known = [s for s in self.stages_s.values() if s is not None]
        return sum(known) if known and len(known) == len(self.stages_s) else None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "at_least_s": self.at_least_s, "at_most_s": self.at_most_s}

    @property
    def in_words(self) -> str:
        """One line."""
        if not self.stages_s:
            return "time left: none"
        if not self.at_work:
            return "time left: no driver is at work"
        unknown = [title for title, left_s in self.stages_s.items() if left_s is None]
        least_s, most_s = self.at_least_s, self.at_most_s
        if least_s is None:
            return "time left: not known yet"
        if most_s is None:
            return (
                f"time left: more than {_in_words(least_s)}; not known yet of {', '.join(unknown)}"
            )
        if most_s < 1.5 * least_s:
            return f"time left: about {_in_words(most_s)} at the pace of the last half hour"
        return (
            f"time left: {_in_words(least_s)} to {_in_words(most_s)} at the pace of the last half "
            "hour"
        )


def _in_words(seconds: float) -> str:
    """Two digits are more than is known."""
    for size, unit in ((86_400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def time_left(
    progress: Progress,
    rows: Iterable[Mapping[str, Any]],
    *,
    at_work: bool,
    now_unix: float | None = None,
) -> TimeLeft:
    """Time left, guessed from the ledger.

    Parameters
    ----------
    progress : Progress
    rows : iterable of mapping
        The ledger.
    at_work : bool
        Whether a driver is.
    now_unix : float, optional
        By default now.
    """
    now = time.time() if now_unix is None else now_unix
    began: dict[str, float] = {}
    done: list[tuple[str, float, int]] = []
    for row in rows:
        event = row.get("event")
        if event == "launched":
            began, done = {}, []
        elif event == "submitted":
            began.setdefault(row["stage"], row["unix"])
        elif event == "result" and row["outcome"] == "done":
            done.append((row["stage"], row["unix"], row["items"]))
    since = {stage: max(unix, now - WINDOW_S) for stage, unix in began.items()}
    paced: dict[str, int] = {}
    for stage, unix, items in done:
        if unix >= since.get(stage, now):
            paced[stage] = paced.get(stage, 0) + items
    left: dict[str, float | None] = {}
    for found in progress.stages:
        items_left, made = found.total - found.done, paced.get(found.stage, 0)
        took_s = max(1.0, now - since.get(found.stage, now))
        if items_left > 0:
            left[found.title] = round(items_left * took_s / made, 1) if at_work and made else None
    return TimeLeft(at_work, left)
