"""``campaign convert``: a model file of another program, once, to weights of this project.

Words for a person; what is converted, and checked, is the business of `apps.potential.mace_file`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from campaign.cli.options import JsonOption, say
from data_store.errors import InputError
from data_store.work import write_atomic

__all__ = ["convert"]


def convert(
    file: Annotated[Path, typer.Argument(help="Model file of MACE (….model), which is a pickle.")],
    to: Annotated[Path, typer.Option(help="Weights file to write (….safetensors).")],
    trust: Annotated[
        bool, typer.Option("--trust", help="Let the file run the code that it may hold.")
    ] = False,
    head: Annotated[
        str | None, typer.Option(help="Which of the model's heads, where it has several.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Convert a MACE file to weights that [potential] start_from takes; compared before written."""
    if not file.is_file():
        raise InputError(f"{file}: no such file", "expected a model file of MACE")
    if to.exists():
        raise InputError(f"{to} exists; it is left as it is", "give another name with --to")
    warning = f"{file} is a pickle: opening it runs whatever code it holds, with your rights"
    if not trust:
        raise InputError(
            f"{warning}; it was not opened", "say --trust if you trust whoever made the file"
        )
    sys.stderr.write(f"warning: {warning}\n")
    from apps.potential.mace_file import convert_mace_file
    from apps.potential.weights import save_bytes

    found = convert_mace_file(file, head)
    potential = found.potential
    write_atomic(to, save_bytes(potential))
    lines = {
        "architecture": potential.architecture,
        "size": potential.size,
        "cutoff_A": potential.cutoff_A,
        "start_from": str(to),
    }
    parameters = sum(p.numel() for p in potential.parameters())
    if as_json:
        say(
            {
                "path": str(to), "potential": lines, "species": list(potential.species),
                "parameters": parameters, "structures_compared": found.structures,
                "energy_error": found.energy_error, "force_error": found.force_error,
            }
        )  # fmt: skip
        return
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"wrote {to}: {parameters} parameters, {len(potential.species)} elements; on "
        f"{found.structures} random structures energies differ by {found.energy_error:.1e} per "
        f"atom, forces by {found.force_error:.1e}, relative to the largest"
    )
    console.print("next, in a campaign file:\n[potential]")
    for key, value in lines.items():
        console.print(f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value:g}")
