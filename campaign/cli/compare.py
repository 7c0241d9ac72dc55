"""``campaign compare``: several campaigns in one report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from campaign.cli.options import JsonOption, say
from data_store.errors import InputError

__all__ = ["compare"]


def compare(
    folders: Annotated[
        list[Path],
        typer.Argument(help="Campaigns, workspaces or report.json files.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where compare.html and compare.json go.")
    ] = Path(),
    as_json: JsonOption = False,
) -> None:
    """Put what several campaigns found side by side; the first is what others are compared with."""
    if len(folders) < 2:
        raise InputError("one campaign alone is not compared", "name two or more")
    from campaign.comparing import compared, read_told  # with scipy: when asked for
    from campaign.report.several import write_several

    found = compared(read_told(folders))
    out.mkdir(parents=True, exist_ok=True)
    write_several(out, found, json.dumps(found, indent=1, allow_nan=False) + "\n")
    if as_json:
        say(found)
        return
    console = Console(highlight=False, markup=False, soft_wrap=True)
    names = ", ".join(entry["name"] for entry in found["campaigns"])
    console.print(f"{names}: {len(found['differing_settings'])} settings differ")
    for row in found["comparisons"]:
        low, high = row["rate_ratio_interval"]
        none = "∞" if row["failures"][0] else "not known, nothing failed"
        value = none if row["rate_ratio"] is None else f"{row['rate_ratio']:.3g}"
        console.print(
            f"{row['campaign']} over {row['against']}, {row['arm']} with {row['labels']} labels at "
            f"{row['temperature_K']:g} K: rate ratio {value} (95 % {low or 0.0:.3g} to "
            f"{'∞' if high is None else format(high, '.3g')}, {row['seeds']} seeds)"
        )
    console.print(f"wrote {out / 'compare.html'} and {out / 'compare.json'}")
