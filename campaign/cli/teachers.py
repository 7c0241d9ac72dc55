"""``campaign teachers``: the cheap force fields there are, and which one a molecule would get."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from campaign.cli.options import JsonOption, say

__all__ = ["teachers"]


def teachers(
    smiles: Annotated[
        str | None,
        typer.Argument(
            metavar="SMILES", help="Say which of them know this molecule.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the teachers: what each knows, its reference and licence; and what auto takes."""
    found = _listed(smiles)
    if as_json:
        say(found)
        return
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for entry in found["teachers"]:
        console.print(_in_words(entry))
    if smiles is not None:
        console.print(f"auto for {smiles} ({found['formula']}): {found['auto']}, {found['reason']}")


def _listed(smiles: str | None) -> dict[str, Any]:
    from apps.sampling.molecule import molecule_from_smiles
    from apps.sampling.teacher import PARAMETRISED, choose_teacher, force_field_names

    molecule = molecule_from_smiles(smiles) if smiles is not None else None
    names = (*force_field_names(), *PARAMETRISED)
    listed: dict[str, Any] = {"teachers": [_entry(name, molecule) for name in names]}
    if molecule is not None:
        choice = choose_teacher("auto", molecule)
        listed |= {"formula": molecule.formula, "auto": choice.name, "reason": choice.reason}
    return listed


def _entry(name: str, molecule: Any) -> dict[str, Any]:
    """What is to be told of one; of a package's that cannot be loaded, why."""
    from apps.sampling.teacher import PARAMETRISED, ForceField, find_force_field
    from data_store.errors import InputError

    try:
        kind = PARAMETRISED[name] if name in PARAMETRISED else find_force_field(name)
    except InputError as error:
        return {"name": name, "problem": str(error)}
    entry = {
        "name": name, "title": kind.title, "types": kind.types, "reference": kind.reference,
        "licence": kind.licence,
    }  # fmt: skip
    if molecule is None or not isinstance(kind, ForceField):
        return entry  # what needs a file, or programs, is not tried out for a list
    return entry | {"knows_it": not kind.untyped_atoms(molecule)}


def _in_words(entry: dict[str, Any]) -> str:
    head = f"{entry['name']:<12}"
    if "problem" in entry:
        return f"{head} cannot be used: {entry['problem']}"
    indent = " " * 13
    known = {True: "knows it; ", False: "does not know it; "}
    said = known[entry["knows_it"]] if "knows_it" in entry else ""
    return (
        f"{head} {entry['title']}: {said}{entry['types']}\n"
        f"{indent}{entry['reference']}; {entry['licence']}"
    )
