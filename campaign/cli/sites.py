"""``campaign sites``: which sites there are, what is in one and from where, and new ones.

Nothing is submitted. Words for a person; what is said is found out by `campaign.sites` and, for
what a pool will submit, by `campaign.execution.rendering`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from campaign.cli.options import JsonOption, SetOption, say, settings_of
from campaign.sites.layers import (
    LayeredSite,
    layered_site,
    packaged_sites,
    site_settings,
    sites_by_name,
    user_sites,
)
from data_store.errors import InputError

__all__ = ["sites"]

sites = typer.Typer(help="Where campaigns run: site files.", no_args_is_help=True)

CampaignOption = Annotated[
    Path | None,
    typer.Option("--campaign", help="Folder of a campaign (or its file), whose sites/ is heeded."),
]


def _console() -> Console:
    """Console for lines that hold anything."""
    return Console(highlight=False, markup=False, soft_wrap=True)


def _folder(campaign: Path | None) -> Path | None:
    return campaign.parent if campaign is not None and campaign.is_file() else campaign


@sites.callback()
def _sites() -> None:
    """Where campaigns run: site files."""


@sites.command("list")
def list_sites(campaign: CampaignOption = None, as_json: JsonOption = False) -> None:
    """List the sites that can be named, those that cannot be read too."""
    folder = _folder(campaign)
    found = [_about(name, files, folder) for name, files in sites_by_name(folder).items()]
    if as_json:
        say({"sites": found})
        return
    for about in found:
        _console().print(_in_words(about))


def _about(name: str, files: Sequence[Path], folder: Path | None) -> dict[str, Any]:
    about: dict[str, Any] = {"name": name, "files": [str(file) for file in files], "problem": None}
    try:
        layered = layered_site(name, folder)
    except InputError as error:
        return {**about, "problem": str(error)}
    head = layered.site.site
    return {
        **about,
        "scheduler": head.scheduler,
        "description": head.description,
        "tested": head.tested,
        "blanks": layered.blanks,
    }


def _in_words(about: dict[str, Any]) -> str:
    name, files = f"{about['name']:<15}", f"{'':<15} {' < '.join(about['files'])}"
    if about["problem"]:
        return f"{name} cannot be read: {about['problem']}\n{files}"
    tested = "tested" if about["tested"] else "not tested on the machine"
    lines = [f"{name} {about['scheduler']}, {tested}: {about['description']}"]
    lines += [f"{'':<15} to fill in: {', '.join(about['blanks'])}"] if about["blanks"] else []
    return "\n".join([*lines, files])


@sites.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of a site, or a site file.")],
    campaign: CampaignOption = None,
    assignments: SetOption = None,
    rendered: Annotated[
        bool, typer.Option("--rendered", help="Also what each pool will submit, word for word.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show every value of a site and where it is from."""
    laid = site_settings(settings_of(assignments))
    if laid[0]:
        raise InputError(
            f"--set {', '.join(laid[0])}: no key of a site",
            "those begin with site., pools. or driver., as pools.cpu.account",
        )
    layered = layered_site(name, _folder(campaign), laid[1])
    scripts, config = _render(layered) if rendered else ([], None)
    if as_json:
        say(
            {
                "name": layered.site.site.name,
                "values": [asdict(value) for value in layered.values],
                "blanks": layered.blanks,
                "rendered": {script["pool"]: script for script in scripts} if rendered else None,
                "parsl_config": config,
            }
        )
        return
    console = _console()
    console.print(_values_in_words(layered))
    for script in scripts:
        console.print(f"\n# pool {script['pool']}: {script['command']}\n\n{script['script']}")
    if config is not None:
        console.print(f"\n# Parsl's configuration\n\n{config}")


def _render(layered: LayeredSite) -> tuple[list[dict[str, str]], str | None]:
    from campaign.execution.rendering import render

    scripts, config = render(layered.site)
    return [asdict(script) for script in scripts], config


def _values_in_words(layered: LayeredSite) -> str:
    told = [(f"{v.key} = {json.dumps(v.value)}", v.origin) for v in layered.values]
    width = min(60, max(len(text) for text, _ in told))
    lines = [f"{text:<{width}}  ({origin})" for text, origin in told]
    lines += [f"to fill in: {', '.join(layered.blanks)}"] if layered.blanks else []
    return "\n".join(lines)


@sites.command()
def check(
    file: Annotated[Path, typer.Argument(help="A site file; with the files that it is laid over.")],
    as_json: JsonOption = False,
) -> None:
    """Check a site file: all errors at once."""
    if file.suffix != ".toml":
        raise InputError(f"{file}: a site file is TOML", "name it NAME.toml")
    below = sites_by_name().get(file.stem, [])
    is_layer = any(file.resolve() == other.resolve() for other in below)
    layered = layered_site(file.stem if is_layer else str(file))
    if as_json:
        say({"valid": True, "name": layered.site.site.name, "blanks": layered.blanks})
        return
    console = _console()
    others = [str(other) for other in below if other.resolve() != file.resolve()]
    laid = f", laid over {', '.join(others)}" if is_layer and others else ""
    console.print(f"{file} is valid{laid}")
    if layered.blanks:
        console.print(f"to fill in before a launch: {', '.join(layered.blanks)}")


@sites.command()
def new(
    name: Annotated[str, typer.Argument(help="What the site is to be called.")],
    detect: Annotated[
        bool, typer.Option("--detect", help="From what sinfo and scontrol tell of this cluster.")
    ] = False,
    to: Annotated[
        Path | None, typer.Option(help="File; by default NAME.toml among your own sites.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a site file for this cluster; what cannot be known is a blank to fill in."""
    from campaign.sites.detect import ask_slurm, site_file

    file = to or user_sites() / f"{name}.toml"
    _refuse_name(name, file)
    if not detect:
        raise InputError(
            "a new site is written from what its Slurm tells",
            "say --detect on a login node of it; elsewhere start from slurm_generic "
            "(`campaign sites show slurm_generic`)",
        )
    _write_new(file, site_file(name, ask_slurm()))
    layered = layered_site(str(file))
    if as_json:
        say({"file": str(file), "pools": list(layered.site.pools), "blanks": layered.blanks})
        return
    console = _console()
    console.print(f"wrote {file}, with pools {', '.join(layered.site.pools)}")
    if layered.blanks:
        console.print(f"to fill in: {', '.join(layered.blanks)}")
    console.print(f"next: read it, then `campaign sites show {to or name} --rendered`")


def _refuse_name(name: str, file: Path) -> None:
    if name in packaged_sites():
        raise InputError(
            f"{name} comes with the package: a file of yours of that name is laid over it",
            "choose another name",
        )
    if not name.replace("-", "").replace("_", "").isalnum() or file.suffix != ".toml":
        raise InputError(
            f"site {name!r} in {file}: a name is letters, digits, - and _, and its file ends in "
            ".toml",
            "choose another name, or another file with --to",
        )


def _write_new(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as handle:
            handle.write(text)
    except FileExistsError as error:
        raise InputError(f"{file} is there already", "name another with --to") from error
    except OSError as error:
        raise InputError(
            f"cannot write {file}: {error.strerror}", "name another with --to"
        ) from error
