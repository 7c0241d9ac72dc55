"""`Standing`: how a campaign stands, all that `campaign status` tells, from its workspace alone.

The same whether a driver runs or not, and on whatever host it is asked: progress by parts in their
place, the rest by the ledger, which is read once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from campaign.driver_lock import is_at_work
from campaign.ledger import read_ledger
from campaign.left_out import hosts_left_out
from campaign.outcomes import StageOutcomes, outcomes_of
from campaign.plan.items import PlannedPart
from campaign.progress import (
    Progress,
    progress_of,
    with_left_out,
    with_quarantine,
    with_running,
)
from campaign.quarantine import kept_of
from campaign.spending import Spending, spending_of
from campaign.time_left import TimeLeft, time_left
from campaign.workspace import Workspace

__all__ = ["Standing", "progress_now", "standing_of"]


@dataclass(frozen=True)
class Standing:
    """How a campaign stands.

    Parameters
    ----------
    progress : Progress
        Stages, what is in quarantine, hosts left out.
    outcomes : tuple of StageOutcomes
    time_left : TimeLeft
    spending : Spending
    """

    progress: Progress
    outcomes: tuple[StageOutcomes, ...]
    time_left: TimeLeft
    spending: Spending

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            **self.progress.to_json(),
            "outcomes": {found.stage: found.to_json() for found in self.outcomes},
            "time_left": self.time_left.to_json(),
            "spending": self.spending.to_json(),
        }

    @property
    def in_lines(self) -> list[str]:
        """What there is to say beside the progress, a line each."""
        lines = [found.in_words for found in self.outcomes if found.eventful]
        spent = self.spending
        lines += spent.in_lines if spent.blocks or spent.refusal else []
        return [*lines, self.time_left.in_words]


def progress_now(plan: Iterable[PlannedPart], workspace: Workspace) -> Progress:
    """Progress, with what runs, what is in quarantine and which hosts are left out."""
    parts = list(plan)
    found = progress_of(parts, workspace.parts, workspace.work)
    found = with_running(found, workspace.running)
    found = with_left_out(found, hosts_left_out(workspace))
    return with_quarantine(found, kept_of(workspace, parts).values())


def standing_of(plan: Iterable[PlannedPart], workspace: Workspace) -> Standing:
    """How a campaign of this plan stands."""
    parts = list(plan)
    progress, rows = progress_now(parts, workspace), list(read_ledger(workspace.ledger))
    return Standing(
        progress,
        tuple(outcomes_of(progress, parts, workspace, rows)),
        time_left(progress, rows, at_work=is_at_work(workspace.root)),
        spending_of(rows),
    )
