"""What a launch will take, said before it starts and compared with what it took.

A launch predicts from its workspace's ledger and, for what that does not tell, from what
`campaign plan` last measured for this workspace and site. Measurements are kept, not the sum that
was made of them, so that the prediction is of just what this launch has left to do, and of nothing
whose settings were changed since. A launch itself measures nothing: it is often a continuation, and
should begin. What neither tells stays without a prediction, and the report says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from campaign.costs.benchmark import keep_benchmark, kept_benchmark, run_benchmark
from campaign.costs.cost import Cost, cost_of, unpriced
from campaign.costs.rates import Rates, observations, recent_rows
from campaign.costs.storage import Storage, storage_of
from campaign.costs.todo import ToDo, todo_of
from campaign.plan.build import Plan
from campaign.plan.items import PlannedPart
from campaign.sites.site import Site
from campaign.spec.model import CampaignSpec
from campaign.workspace import Workspace
from data_store.parts import find_part

__all__ = ["Foresight", "foresee", "predicted_cost"]


@dataclass(frozen=True)
class Foresight:
    """What a campaign will take: node-hours that are left, and what its workspace will hold."""

    cost: Cost
    storage: Storage


def predicted_cost(parts: Sequence[PlannedPart], workspace: Workspace, site: Site) -> Cost:
    """Node-hours of what is not made yet, by what is known already; nothing is measured."""
    todo = todo_of(parts, workspace)
    if not todo:
        return Cost(site.site.name, (), ())
    rates = _rates(todo, workspace, site)
    return cost_of(todo, site, rates, kept_benchmark(workspace, site.site.name))


def foresee(plan: Plan, workspace: Workspace, site: Site) -> Foresight:
    """What a plan will take; what no ledger tells is measured, in some seconds.

    What was measured is kept for a launch.
    """
    todo = todo_of(plan.parts, workspace)
    rates = _rates(todo, workspace, site)
    lacking = unpriced(todo, rates)
    benchmark = kept_benchmark(workspace, site.site.name)
    # A miniature is of one molecule: of several nothing is measured beforehand.
    if lacking and not plan.spec.several:
        benchmark = run_benchmark(plan.spec, lacking, site)
        keep_benchmark(workspace, benchmark)
    atoms, parameters = (benchmark.atoms, benchmark.parameters) if benchmark else (0, 0)
    return Foresight(
        cost_of(todo, site, rates, benchmark),
        storage_of(
            plan.parts, workspace, atoms or _atoms(plan, workspace), parameters,
            _atoms_of_label(plan.spec),
        ),
    )  # fmt: skip


def _rates(todo: Sequence[ToDo], workspace: Workspace, site: Site) -> Rates:
    stages = {one.example.stage for one in todo}
    return Rates(observations(recent_rows(workspace.ledger, stages)), site.site.name)


def _atoms(plan: Plan, workspace: Workspace) -> int:
    """Atoms of the molecule, if it is made; of several, of the largest."""
    parts = [find_part(workspace.parts, p.stage, p.fingerprint) for p in plan.of("prepare")]
    return max(0 if part is None else len(part.metadata["molecule"]["numbers"]) for part in parts)


def _atoms_of_label(spec: CampaignSpec) -> int:
    """Atoms of the first label of a liquid or a mixture, or of nothing: 0.

    An extended xyz begins with their number.
    """
    if not spec.several or spec.labels.file is None:
        return 0
    with Path(spec.labels.file).open(encoding="utf-8", errors="replace") as file:
        first = file.readline().strip()
    return int(first) if first.isdigit() else 0
