"""``campaign plan``: what a campaign will take and what it can tell, before anything is spent.

Items per stage (what is made already is told apart), node-hours by rates of the ledger or by a
benchmark of some seconds, files and bytes, expert labels, and the power of the headline comparison
by simulation. Nothing is launched, and nothing written into the workspace; what the benchmark
measured is kept in the user's cache, for the prediction of a launch.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from campaign.cli.costs import cost_in_words, cost_table, storage_in_words
from campaign.cli.display import console_for, power_in_words
from campaign.cli.options import (
    FolderArgument,
    JsonOption,
    SetOption,
    SiteOption,
    WorkspaceOption,
    open_campaign,
    say,
)
from campaign.costs.prediction import foresee
from campaign.plan.active import budgets
from campaign.plan.channels import channels_in_words
from campaign.plan.power import Option, Quiet, Study, power_of, study_of
from campaign.plan.system import WITHOUT_LABELS, in_words
from campaign.plan.work import work_by_pool
from campaign.progress import Progress, progress_of
from campaign.sites.fitness import refuse_unfit
from campaign.spec.model import CampaignSpec

if TYPE_CHECKING:
    from campaign.statistics.design import Powered

__all__ = ["plan"]


def plan(
    folder: FolderArgument,
    site: SiteOption = "local",
    assignments: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a campaign will take and what it can tell; some seconds, nothing is launched."""
    campaign = open_campaign(folder, workspace, assignments)
    built, places = campaign.plan(), campaign.workspace
    at = campaign.site(site)
    refuse_unfit(at, built.spec)
    pools = work_by_pool(built.parts, places, at)
    progress = progress_of(built.parts, places.parts, places.work)
    foreseen = foresee(built, places, at)
    compared = len(built.spec.finetuning.arms) > 1 and built.spec.labelled
    study = study_of(built.spec) if compared else None
    if as_json:
        say(
            {
                "stages": _stages(progress),
                "site": at.site.name,
                "pools": [asdict(pool) for pool in pools],
                "node_hours": foreseen.cost.to_json(),
                "storage": foreseen.storage.to_json(),
                "expert": _expert(built.spec),
                "power": power_of(built.spec).to_json() if study else None,
                "study": study.to_json() if study else None,
            }
        )
        return
    console = console_for()
    console.print(_items_table(progress))
    for pool in pools:
        console.print(pool.in_words, highlight=False, soft_wrap=True)
    if foreseen.cost.stages:
        console.print(cost_table(foreseen.cost))
    for line in (*cost_in_words(foreseen.cost), *storage_in_words(foreseen.storage)):
        console.print(line, highlight=False, soft_wrap=True)
    if built.spec.several:
        said = in_words(built.spec.system, built.spec.sampling)
        console.print(said, highlight=False, soft_wrap=True)
    if (said_of := channels_in_words(built.spec)) is not None:
        console.print(said_of, highlight=False, soft_wrap=True)
    if not built.spec.labelled:
        console.print(WITHOUT_LABELS, highlight=False, soft_wrap=True)
        return
    console.print(_expert_in_words(built.spec), highlight=False, soft_wrap=True)
    if study is None:
        console.print("one arm only: there is no comparison to plan", highlight=False)
        return
    console.print(power_in_words(power_of(built.spec)), highlight=False, soft_wrap=True)
    _print_study(console, study)


def _stages(progress: Progress) -> dict[str, dict[str, int]]:
    return {
        stage.stage: {"items": stage.total, "done": stage.done, "to_do": stage.total - stage.done}
        for stage in progress.stages
    }


def _expert(spec: CampaignSpec) -> dict[str, Any]:
    """Labels that the expert is asked for; none are computed where they come from a file."""
    computed = spec.labels.computed and spec.labelled
    planned = budgets(spec)
    return {
        "source": spec.labels.labeler if spec.labels.computed else "file",
        "calls": spec.labels.count if computed else 0,
        "pools": sorted(spec.finetuning.pools),
        "active_learning": {
            "chains": len(spec.finetuning.seeds),
            "rounds": len(planned) - 1,
            "most_calls_of_a_chain": planned[-1] - planned[0],
        }
        if spec.active_learning
        else None,
    }


def _expert_in_words(spec: CampaignSpec) -> str:
    expert = _expert(spec)
    pools = ", ".join(str(pool) for pool in expert["pools"])
    if expert["source"] == "file":
        text = f"expert labels: none computed, imported from {spec.labels.file}; pools of {pools}"
    else:
        text = f"expert labels: {expert['calls']} computed ({expert['source']}); pools of {pools}"
    chains = expert["active_learning"]
    if chains is None:
        return text
    return (
        f"{text}\nactive learning: {chains['chains']} chains of up to {chains['rounds']} rounds, "
        f"each asking for up to {chains['most_calls_of_a_chain']} labels beyond the initial ones"
        + (", of those withheld from it" if expert["source"] == "file" else "")
        + "; priced as if none ended early"
    )


def _items_table(progress: Progress) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    for name in ("items", "done", "to do"):
        table.add_column(name, justify="right")
    for stage in progress.stages:
        counts = stage.total, stage.done, stage.total - stage.done
        table.add_row(stage.title, *map(str, counts))
    return table


def _print_study(console: Console, study: Study) -> None:
    guess, own = study.guess, study.campaign
    models = "one model" if own.design.seeds == 1 else f"{own.design.seeds} models"
    console.print(
        f"simulated (the headline's own interval over seeds, models that differ by a factor of "
        f"about {_factor(guess.scatter)}): {models} × {own.design.replicas} replicas × "
        f"{own.design.length_ps:g} ps tell it in {_percent(own)} of campaigns",
        highlight=False,
        soft_wrap=True,
    )
    if own.design.seeds == 1:
        console.print(
            "one model per arm: what is told is conditional on these two models, and their scatter "
            "passes for a difference",
            highlight=False,
            soft_wrap=True,
        )
    console.print(_options_table(study))
    for quiet, whose in ((study.quiet_model, "a model"), (study.quiet_arm, "an arm")):
        console.print(_quiet_in_words(quiet, whose), highlight=False, soft_wrap=True)


def _factor(scatter: float) -> str:
    return f"{math.exp(scatter):.2g}"


def _percent(found: Powered) -> str:
    return f"{100.0 * found.power:.0f} ± {100.0 * found.error:.0f} %"


def _options_table(study: Study) -> Table:
    design = study.campaign.design
    table = Table(title="For 80 % power", title_justify="left", box=None, pad_edge=False)
    table.add_column("models per arm")
    table.add_column(f"replicas of {design.length_ps:g} ps", justify="right")
    table.add_column("(power)", justify="right")
    table.add_column(f"ps of {design.replicas} replicas", justify="right")
    table.add_column("(power)", justify="right")
    for option in study.options:
        table.add_row(str(option.seeds), *_cells(option))
    table.caption = "Per model, pool and temperature; –: not with any that was tried."
    return table


def _cells(option: Option) -> tuple[str, str, str, str]:
    replicas, length = option.replicas, option.length
    return (
        str(replicas.design.replicas) if replicas else "–",
        _percent(replicas) if replicas else "",
        f"{length.design.length_ps:g}" if length else "–",
        _percent(length) if length else "",
    )


def _quiet_in_words(quiet: Quiet, whose: str) -> str:
    return (
        f"if none of {whose}'s {quiet.replicas} replicas fails: at most "
        f"{100.0 * quiet.failed_fraction_bound:.1f} % fail, at most "
        f"{quiet.rate_per_ns_bound:.3g} per ns (95 %)"
    )
