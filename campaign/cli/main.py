"""``campaign``: the verbs.

Exit codes: 0 done; 1 the campaign ended with failures beyond its quorum (`data verify`: a part is
damaged); 2 unusable input; 3 stopped, can be resumed. A user's mistake gives a message, never a
traceback; with ``--json`` errors are JSON too, on standard error.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from campaign.campaign import Campaign
from campaign.cli.compare import compare
from campaign.cli.convert import convert
from campaign.cli.data import data
from campaign.cli.display import (
    LineDisplay,
    LiveDisplay,
    console_for,
    left_out_in_words,
    power_in_words,
    print_report,
    progress_view,
)
from campaign.cli.doctor import doctor
from campaign.cli.inspect import inspect
from campaign.cli.operations import cancel, retry, why
from campaign.cli.options import (
    FolderArgument,
    JsonOption,
    SetOption,
    SiteOption,
    WorkspaceOption,
    open_campaign,
    say,
)
from campaign.cli.package import package
from campaign.cli.plan import plan
from campaign.cli.sites import sites
from campaign.cli.teachers import teachers
from campaign.plan.channels import channels_in_words
from campaign.plan.power import power_of
from campaign.plan.system import WITHOUT_LABELS, in_words
from campaign.templates import templates
from data_store.errors import CampaignError, unknown_name

__all__ = ["app", "main"]

app = typer.Typer(
    help="Teach a machine-learned potential from a cheap force field and a few ab initio labels, "
    "and measure how often its dynamics fails.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
DRIVERS = ("local", "slurm", "pbs")
"""Where a launch's driver runs: this process, or a job."""

app.command()(plan)


@app.command()
def init(
    template: Annotated[str, typer.Argument(help=f"One of: {', '.join(templates())}.")],
    directory: Annotated[
        Path | None, typer.Option("--dir", help="New folder; by default the template's name.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a campaign file to start from."""
    campaign = Campaign.from_template(template, directory or Path(template))
    if as_json:
        say({"campaign_file": str(campaign.file)})
        return
    console = Console(highlight=False)
    folder = directory or Path(template)
    console.print(f"wrote {folder / 'campaign.toml'}")
    console.print(f"next: read it, then `campaign validate {folder}`, `campaign launch {folder}`")


@app.command()
def validate(
    folder: FolderArgument,
    site: SiteOption = "local",
    assignments: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a campaign, and that a site can serve it, without computing: all errors at once."""
    campaign = open_campaign(folder, workspace, assignments)
    plan = campaign.validate(site)
    stages: dict[str, int] = {}
    for part in plan.parts:
        stages[part.stage] = stages.get(part.stage, 0) + (part.items.count if part.items else 1)
    power = power_of(plan.spec)
    if as_json:
        say({"valid": True, "items": stages, "power": power.to_json()})
        return
    counted = ", ".join(f"{count} {name}" for name, count in stages.items())
    console = Console(highlight=False)
    console.print(f"{campaign.file} is valid; a launch makes: {counted}", soft_wrap=True)
    if plan.spec.several:
        console.print(in_words(plan.spec.system, plan.spec.sampling), soft_wrap=True)
    if (said_of := channels_in_words(plan.spec)) is not None:
        console.print(said_of, soft_wrap=True)
    if not plan.spec.labelled:
        console.print(WITHOUT_LABELS, soft_wrap=True)
    elif len(plan.spec.finetuning.arms) > 1:
        console.print(power_in_words(power), soft_wrap=True)


@app.command()
def launch(
    folder: FolderArgument,
    site: SiteOption = "local",
    budget: Annotated[
        float | None,
        typer.Option(
            metavar="NODE_HOURS", min=0.0, help="Never passed by all launches of this workspace."
        ),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="STAGE", help="Last stage to make.")] = None,
    driver: Annotated[
        str, typer.Option(help="local, or slurm (pbs): a job that submits its own successor.")
    ] = "local",
    detach: Annotated[bool, typer.Option("--detach", help="Leave this terminal.")] = False,
    assignments: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a campaign; the same command starts and resumes."""
    campaign = open_campaign(folder, workspace, assignments)
    console = console_for(stderr=as_json)
    if driver not in DRIVERS:
        raise unknown_name("driver", driver, DRIVERS)
    if detach or driver != "local":
        as_job = driver != "local"
        number, log = campaign.launch_elsewhere(
            site, as_job=as_job, budget_node_hours=budget, until=until
        )
        if as_json:
            say({"driver": "job" if as_job else "process", "id": number, "log": str(log)})
            return
        what = f"{'job' if as_job else 'process'} {number}"
        console.print(f"the driver is {what}; it writes to {log}", soft_wrap=True, highlight=False)
        console.print(f"next: `campaign status {folder}`, `campaign cancel {folder}`")
        return
    with LiveDisplay(console) if console.is_terminal else LineDisplay(console) as display:
        outcome = campaign.launch(site, display, budget_node_hours=budget, until=until)
    for line in left_out_in_words(outcome.ending.quarantined, len(outcome.ending.blocked)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if not campaign.spec.labelled and not as_json:
        said = in_words(campaign.spec.system, campaign.spec.sampling)
        console.print(f"{said}\n{WITHOUT_LABELS}", highlight=False, soft_wrap=True)
    if outcome.report is not None and not as_json:
        print_report(console, outcome.report)
        console.print(f"report: {campaign.workspace.report_html}", soft_wrap=True, highlight=False)
    if as_json:
        say(
            {
                "complete": outcome.ending.complete,
                "quarantined": [asdict(entry) for entry in outcome.ending.quarantined],
                "blocked": list(outcome.ending.blocked),
                "report_json": str(campaign.workspace.report_json) if outcome.report else None,
                "report_html": str(campaign.workspace.report_html) if outcome.report else None,
            }
        )
    raise typer.Exit(0 if outcome.within_quorum else 1)


@app.command()
def status(
    folder: FolderArgument,
    workspace: WorkspaceOption = None,
    watch: Annotated[bool, typer.Option(help="Go on showing until it is complete.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show how far a campaign is."""
    campaign = open_campaign(folder, workspace)
    console = console_for()
    if as_json:
        while True:
            standing = campaign.standing()
            say(standing.to_json())
            if not watch or standing.progress.complete:
                return
            time.sleep(2.0)
    if not watch:
        standing = campaign.standing()
        console.print(progress_view(standing.progress))
        for line in standing.in_lines:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        return
    with LiveDisplay(console) as display:
        while True:
            progress = campaign.status()
            display(progress)
            if progress.complete:
                return
            time.sleep(2.0)


@app.command()
def report(
    folder: FolderArgument,
    workspace: WorkspaceOption = None,
    rdf: Annotated[
        Path | None,
        typer.Option(help="g(r) to hold simulated boxes to, in place of the labels'."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the report anew from what is there, and print its results."""
    campaign = open_campaign(folder, workspace)
    found = campaign.report(rdf)
    if as_json:
        say(found)
        return
    console = console_for()
    print_report(console, found)
    console.print(f"report: {campaign.workspace.report_html}", soft_wrap=True, highlight=False)


@app.command("import")
def import_labels(
    folder: FolderArgument,
    file: Annotated[Path, typer.Argument(help="Extended xyz: energies in eV, forces in eV/Å.")],
    role: Annotated[
        str, typer.Option("--as", help="labels (train and validate) or test.")
    ] = "labels",
    as_json: JsonOption = False,
) -> None:
    """Check published labels and copy them to where the campaign file looks for them."""
    from campaign.exchange import import_file

    found = import_file(open_campaign(folder), file, role)
    if as_json:
        say(found)
        return
    Console(highlight=False).print(
        f"{found['structures']} structures of {found['formula']} from {file} -> {found['path']}"
    )


@app.command()
def export(
    folder: FolderArgument,
    what: Annotated[str, typer.Argument(help="teacher, candidates, labels, test, starts, models.")],
    to: Annotated[Path, typer.Option(help="File (extended xyz) or, for models, folder.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write structures as extended xyz, or trained models, from the workspace."""
    from campaign.exchange import export_files

    found = export_files(open_campaign(folder, workspace), what, to)
    if as_json:
        say(found)
        return
    Console(highlight=False).print(f"wrote {found['count']} {what} to {to}")


app.command()(cancel)
app.command()(compare)
app.command()(convert)
app.command()(doctor)
app.command()(inspect)
app.command()(package)
app.command()(retry)
app.command()(teachers)
app.command()(why)
app.add_typer(data, name="data")
app.add_typer(sites, name="sites")


def main() -> None:
    """Entry point: run a verb; turn errors into messages and exit codes."""
    as_json = "--json" in sys.argv[1:]
    try:
        app()
    except CampaignError as error:
        if as_json:
            data = {"error": error.message, "hint": error.hint, "exit_code": error.exit_code}
            sys.stderr.write(json.dumps(data) + "\n")
        else:
            sys.stderr.write(f"error: {error}\n")
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        sys.stderr.write("stopped; the same command goes on\n")
        raise SystemExit(3) from None
