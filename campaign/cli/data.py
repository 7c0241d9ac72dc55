"""``campaign data``: what is stored, listed, verified, cleared, merged, and in others' formats."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from campaign.cli.options import FolderArgument, JsonOption, WorkspaceOption, open_campaign, say

__all__ = ["data"]

data = typer.Typer(help="What a campaign has stored, and data of others.", no_args_is_help=True)

StageOption = Annotated[str | None, typer.Option(help="Only this stage.")]
FormatOption = Annotated[
    str | None,
    typer.Option("--format", help="extxyz, ase-db, lmdb, mace-hdf5 or npz; else by the suffix."),
]


def _console() -> Console:
    return Console(highlight=False, markup=False, soft_wrap=True)


@data.callback()
def _data() -> None:
    """What a campaign has stored, and data of others."""


@data.command()
def verify(
    folder: FolderArgument,
    stage: StageOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare every stored part with its manifest, byte by byte; 1 if any is damaged."""
    found = open_campaign(folder, workspace).verify_data(stage)
    if as_json:
        say(found.to_json())
    else:
        console = _console()
        for damage in found.damaged:
            console.print(f"damaged: {damage.in_words}")
        console.print(
            f"{found.verified} parts verified, {len(found.damaged)} damaged; {found.absent} of the "
            "plan are not made yet"
        )
        if found.damaged:
            console.print("next: move these folders out of parts/ and launch: they are made anew")
    raise typer.Exit(1 if found.damaged else 0)


@data.command("ls")
def listed(
    folder: FolderArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False
) -> None:
    """List what is stored, stage by stage."""
    from campaign.stored import stored

    campaign = open_campaign(folder, workspace)
    stages = stored(campaign.workspace, campaign.launched_plan())
    if as_json:
        say({"stages": [stage.to_json() for stage in stages]})
        return
    console = _console()
    for s in stages:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(s.newest_unix))
        more = f", {s.structures} structures" if s.structures else ""
        bad = f"; {s.unreadable} cannot be read" if s.unreadable else ""
        schemas = ", ".join(map(str, s.schemas)) or "none"
        console.print(
            f"{s.stage:<18}{s.parts} parts, {s.planned} of them of the plan{more}, "
            f"{s.bytes / 1e6:.1f} MB, schema {schemas}, newest {made}{bad}"
        )


@data.command()
def gc(
    folder: FolderArgument,
    delete: Annotated[bool, typer.Option("--delete", help="Delete them; else only told.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find parts that the launched plan does not name; nothing is deleted unless asked for."""
    from campaign.driver_lock import held
    from campaign.stored import cleared, unplanned

    campaign = open_campaign(folder, workspace)
    # Looked for under the lock: a launch in between could plan them again, or be making them.
    with held(campaign.workspace.root) if delete else nullcontext():
        found = unplanned(campaign.workspace, campaign.launched_plan())
        if delete:
            cleared(found)
    total = sum(part.bytes for part in found)
    if as_json:
        say({"deleted": delete, "bytes": total, "parts": [part.to_json() for part in found]})
        return
    console = _console()
    for part in found:
        console.print(f"{part.stage}  {part.fingerprint[:16]}  {part.bytes / 1e6:.1f} MB")
    what = "deleted" if delete else "not of the plan"
    console.print(f"{len(found)} parts {what}, {total / 1e6:.1f} MB")
    if found and not delete:
        console.print("next: look at them; `--delete` deletes these and nothing else")


@data.command()
def merge(
    sources: Annotated[list[Path], typer.Argument(help="Parts, campaigns or files.")],
    to: Annotated[Path, typer.Option(help="Folder that gets the merged parts.")],
    stage: StageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write structures of several parts or files as few large parts."""
    from campaign.stored import merged

    found = merged(sources, to, stage)
    if as_json:
        say(found)
        return
    _console().print(f"{found['structures']} structures in {len(found['parts'])} parts in {to}")


@data.command("export")
def export_data(
    source: Annotated[Path, typer.Argument(help="A part, a campaign or a file.")],
    to: Annotated[Path, typer.Option(help="New file.")],
    stage: StageOption = None,
    format: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write structures in a format of others."""
    from campaign.stored import exported

    found = exported(source, to, stage, format)
    if as_json:
        say(found)
        return
    lost = f"; {found['loses']}" if found["loses"] else ""
    _console().print(f"wrote {found['structures']} structures to {to} ({found['format']}){lost}")


@data.command("import")
def import_data(
    file: Annotated[Path, typer.Argument(help="File of structures.")],
    to: Annotated[Path, typer.Option(help="Folder that gets the parts.")],
    format: FormatOption = None,
    energy_unit: Annotated[str, typer.Option(help="eV, Hartree, kcal/mol or kJ/mol.")] = "eV",
    length_unit: Annotated[str, typer.Option(help="Å (or A), Bohr or nm.")] = "Å",
    gradients: Annotated[
        bool, typer.Option("--gradients", help="What it calls forces are gradients.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Read structures in a format of others into parts, converted to eV and Å."""
    from campaign.stored import imported
    from data_store.interchange.convention import Convention

    convention = Convention(energy_unit, length_unit, "gradients" if gradients else "forces")
    found = imported(file, to, convention, format)
    if as_json:
        say(found)
        return
    _console().print(f"{found['structures']} structures in {len(found['parts'])} parts in {to}")
