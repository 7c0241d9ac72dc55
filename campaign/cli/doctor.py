"""``campaign doctor``: whether a site works, tried with the smallest block of each pool."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from campaign.cli.display import console_for
from campaign.cli.options import JsonOption, SetOption, SiteOption, say, settings_of
from campaign.sites.layers import layered_site, refuse_blanks, site_settings

__all__ = ["doctor"]


def doctor(
    site: SiteOption = "local",
    directory: Annotated[
        Path, typer.Option("--dir", help="A folder that driver and nodes share.")
    ] = Path(),
    patience: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long blocks may take to come.")
    ] = 600.0,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try a site: submit the smallest block of each pool, say what works; 1 if anything fails."""
    from campaign.execution.doctor import examine_site

    _, settings = site_settings(settings_of(assignments))
    layered = layered_site(site, None, settings)
    refuse_blanks(layered, f"site {site}")
    folder = Path(tempfile.mkdtemp(prefix="campaign-doctor-", dir=directory.resolve()))
    findings = examine_site(layered.site, folder, patience)
    well = all(finding.well for finding in findings)
    if well:
        shutil.rmtree(folder)
    if as_json:
        logs = None if well else str(folder)
        say({"well": well, "findings": [asdict(f) for f in findings], "logs": logs})
    else:
        table = Table(box=None, pad_edge=False)
        for column in ("pool", "check", "", "found"):
            table.add_column(column)
        for f in findings:
            mark = "[green]ok[/green]" if f.well else "[red]not[/red]"
            words = f.found if f.well else f"{f.found}\n  {f.advice}"
            table.add_row(f.pool, f.check, mark, words)
        console = console_for()
        console.print(table)
        last = f"site {site} works" if well else f"site {site} does not work yet; logs: {folder}"
        console.print(last, highlight=False, soft_wrap=True)
    raise typer.Exit(0 if well else 1)
