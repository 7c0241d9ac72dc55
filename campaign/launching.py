"""One launch, from a spec to a report: what `campaign launch` and `Campaign.launch` both do.

The order matters: the workspace is prepared and locked, its owner checked, what the user brought
tried out, while parts that are there are glanced at, what an earlier driver left behind ended
(processes on this machine, jobs of a batch system), and only then are workers started.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from campaign.cancelling import withdraw
from campaign.costs.prediction import predicted_cost
from campaign.freezing import check_owner, freeze
from campaign.glancing import glances_of
from campaign.ledger import Ledger
from campaign.plan.build import Plan, build_plan
from campaign.plan.items import PlannedPart
from campaign.plan.stages import STAGES
from campaign.preflight import preflight_meanwhile
from campaign.progress import Progress, progress_of
from campaign.sites.fitness import refuse_unfit
from campaign.sites.site import Site
from campaign.workspace import Workspace
from data_store.errors import unknown_name
from data_store.parts import is_made
from data_store.provenance import provenance

if TYPE_CHECKING:
    from campaign.execution.driver import Ending
    from campaign.spec.model import CampaignSpec

__all__ = ["Limits", "Outcome", "launch"]

GLANCED_S = 0.5
"""How long parts are glanced at before workers start: some thousands of them; a campaign of more
has the rest glanced at while it runs."""


@dataclass(frozen=True)
class Limits:
    """Where a launch stops short of its plan.

    Parameters
    ----------
    budget_node_hours : float or None
        Never passed by the blocks of all launches of the workspace, on a cluster.
    until : str or None
        Last stage, in the order of `STAGES`, that is made.
    """

    budget_node_hours: float | None = None
    until: str | None = None

    def __post_init__(self) -> None:
        """Refuse a stage that there is not.

        Raises
        ------
        InputError
            Listing the stages.
        """
        if self.until is not None and self.until not in STAGES:
            raise unknown_name("stage", self.until, list(STAGES))

    def within(self, parts: Sequence[PlannedPart]) -> list[PlannedPart]:
        """Parts of the stages up to the last."""
        order = list(STAGES)
        last = len(order) if self.until is None else order.index(self.until)
        return [part for part in parts if order.index(part.stage) <= last]


@dataclass(frozen=True)
class Outcome:
    """What a launch came to.

    Parameters
    ----------
    ending : Ending
    report : dict or None
        `report.json`; None where too little was made for one.
    within_quorum : bool
        Whether each stage made at least the declared share of its items.
    """

    ending: Ending
    report: dict[str, Any] | None
    within_quorum: bool


def launch(
    spec: CampaignSpec,
    workspace: Workspace,
    site: Site,
    display: Callable[[Progress], None],
    limits: Limits = Limits(),
) -> Outcome:
    """Make what the plan lacks, then write the report.

    Parameters
    ----------
    spec : CampaignSpec
    workspace : Workspace
    site : Site
    display : callable
        Called with a `Progress` whenever something changed.
    limits : Limits
        Where to stop.

    Raises
    ------
    InputError
        If the workspace is another campaign's or in use, holds a damaged part that the plan would
        read, or what the user brought is unusable.
    WorkspaceError
        If the file system refuses; a later launch goes on.
    Stopped
        If stopped by a signal or by the budget; a later launch goes on.
    """
    # Workers and their libraries are loaded here, not when `campaign` is imported.
    from campaign.execution.driver import Driver
    from campaign.execution.leftovers import end_leftovers, watched

    refuse_unfit(site, spec, limits.budget_node_hours)
    check_owner(workspace, spec.campaign.name)
    workspace.prepare()
    with workspace.locked(), Ledger(workspace.ledger) as ledger:
        with preflight_meanwhile(spec) as drop:
            plan = build_plan(spec)
            glances = glances_of(plan.parts, workspace)
            if len(glances) == len(plan.parts) and _all_made(plan, workspace):
                drop()
            glances.go_on(GLANCED_S)
        freeze(workspace, spec)
        glances.refuse_damaged()
        withdraw(workspace)
        orphans, jobs = end_leftovers(workspace, site, ledger)
        ledger.write(
            "launched", campaign=spec.campaign.name, site=site.site.name, orphans=orphans,
            jobs=jobs, scheduler=site.site.scheduler,
            command_timeout_s=getattr(site.site, "command_timeout_s", None) or 60,
            parts=len(plan.parts), budget_node_hours=limits.budget_node_hours,
            until=limits.until, not_glanced_at_yet=len(glances), **provenance(),
        )  # fmt: skip
        predicted = predicted_cost(limits.within(plan.parts), workspace, site)
        if predicted.stages:
            ledger.write("predicted", **predicted.to_json())
        started = time.monotonic()
        watch = watched(workspace, site, ledger, limits.budget_node_hours)
        within = limits.within(plan.parts)
        ending = Driver(within, workspace, site, ledger, display, watch, glances).run()
        ledger.write(
            "ended", complete=ending.complete,
            quarantined=[entry.fingerprint for entry in ending.quarantined],
            blocked=list(ending.blocked), wall_s=round(time.monotonic() - started, 1),
        )  # fmt: skip
        return _outcome(plan, workspace, ending, limits)


def _all_made(plan: Plan, workspace: Workspace) -> bool:
    return all(is_made(workspace.parts, part.stage, part.fingerprint) for part in plan.parts)


def _outcome(plan: Plan, workspace: Workspace, ending: Ending, limits: Limits) -> Outcome:
    from campaign.report.collect import collect
    from campaign.report.write import write_report

    progress = progress_of(limits.within(plan.parts), workspace.parts, workspace.work)
    quorum_of = plan.spec.campaign.quorum_of
    within = all(stage.done >= quorum_of(stage.stage) * stage.total for stage in progress.stages)
    simulated = next((s for s in progress.stages if s.stage == "simulate"), None)
    if simulated is None or not simulated.done:
        return Outcome(ending, None, within)
    return Outcome(ending, write_report(workspace, collect(plan, workspace)), within)
