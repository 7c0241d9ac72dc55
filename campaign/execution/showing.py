"""`Showing`: how far a launch is, told now and then, but not so often that it does little else."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from campaign.execution.tasks import Task
from campaign.left_out import LeftOut
from campaign.progress import Progress, Tally, with_left_out, with_quarantine
from campaign.quarantine import Quarantined

__all__ = ["Display", "Showing"]

Display = Callable[[Progress], None]

SHOWN_EVERY_S = 0.5

SHOWN_SHARE = 0.05
"""Of the time at most, for showing: a look at ten thousand files takes a while."""


class Showing:
    """When and what a display is told.

    Parameters
    ----------
    tally : Tally
    display : callable
    """

    def __init__(self, tally: Tally, display: Display) -> None:
        self._tally, self._display = tally, display
        self._after = -math.inf

    @property
    def is_due(self) -> bool:
        """Whether it was long enough ago."""
        return time.monotonic() >= self._after

    def show(
        self,
        flight: Iterable[Task],
        quarantined: Iterable[Quarantined],
        left_out: Sequence[LeftOut],
    ) -> None:
        """Tell the display how far each stage is, and what went wrong so far."""
        began = time.monotonic()
        running: Counter[str] = Counter()
        for task in flight:
            running[task.part.stage] += task.items
        progress = with_quarantine(self._tally.progress().counting(running=running), quarantined)
        self._display(with_left_out(progress, left_out))
        now = time.monotonic()
        self._after = now + max(SHOWN_EVERY_S, (now - began) / SHOWN_SHARE)
