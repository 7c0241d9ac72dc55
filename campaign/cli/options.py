"""What the verbs share: arguments and options, opening a campaign, JSON on standard output."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from campaign.campaign import Campaign
from data_store.errors import InputError

__all__ = [
    "FolderArgument",
    "JsonOption",
    "SetOption",
    "SiteOption",
    "WorkspaceOption",
    "open_campaign",
    "say",
    "settings_of",
]

FolderArgument = Annotated[
    Path, typer.Argument(help="Folder of the campaign, or its campaign file.", show_default=False)
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Lay a setting over the file; repeatable."),
]
SiteOption = Annotated[
    str,
    typer.Option(metavar="SITE", help="Name of a site (`campaign sites list`), or a site file."),
]
WorkspaceOption = Annotated[
    Path | None,
    typer.Option(help="Where everything is kept; by default `workspace` beside the file."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


def settings_of(assignments: list[str] | None) -> dict[str, Any]:
    """Values by dotted key from ``KEY=VALUE``, the value as TOML, or a bare string."""
    found = {}
    for text in assignments or []:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set {text!r}", "write --set KEY=VALUE, as dynamics.replicas=64")
        try:
            found[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[key.strip()] = value
    return found


def open_campaign(
    folder: Path, workspace: Path | None = None, assignments: list[str] | None = None
) -> Campaign:
    """Campaign of a folder or file, with what ``--workspace`` and ``--set`` say."""
    return Campaign.read(folder, settings=settings_of(assignments), workspace=workspace)


def say(data: dict[str, Any]) -> None:
    """Write plain data as JSON."""
    sys.stdout.write(json.dumps(data, indent=2) + "\n")
