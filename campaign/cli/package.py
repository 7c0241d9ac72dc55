"""``campaign package``: a model in a file that torch opens without this project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from campaign.cli.options import JsonOption, say
from campaign.exchange import package_model

__all__ = ["package"]


def package(
    model: Annotated[
        Path, typer.Argument(help="Weights file, as `campaign export FOLDER models` writes them.")
    ],
    to: Annotated[
        Path, typer.Option(metavar="FILE", help="New file; its name by custom ends in .pt2.")
    ],
    machine: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="MACHINE",
            help="any (portable), or compiled for the processor or GPU of this machine: cpu, cuda.",
        ),
    ] = "any",
    precision: Annotated[str, typer.Option(help="as-saved, float32 or float64.")] = "as-saved",
    as_json: JsonOption = False,
) -> None:
    """Write a model as a file that torch alone can use: energy and forces, no training."""
    found = package_model(model, to, machine, precision=precision)
    if as_json:
        say(found)
        return
    kind = "any machine" if machine == "any" else f"machines like this one ({machine})"
    Console(highlight=False, markup=False, soft_wrap=True).print(
        f"wrote {to}: {found['precision']}, for {kind}; docs/models.md says how it is used"
    )
