"""The frozen copy of a campaign file: what a workspace was last launched with.

The copy is complete (every default written out, paths absolute), so that `status`, `report` and
`export` need nothing else, and a later version of a default changes nothing behind the user's back.
A workspace belongs to the campaign whose name its copy holds, for good.
"""

from __future__ import annotations

from typing import Any

import tomli_w

from campaign.spec.model import CampaignSpec, parse_spec
from campaign.spec.problems import read_toml
from campaign.workspace import Workspace
from data_store.errors import InputError
from data_store.work import write_atomic

__all__ = ["check_launched", "check_owner", "freeze", "thaw"]


def check_owner(workspace: Workspace, name: str) -> None:
    """Refuse a workspace that belongs to another campaign.

    Raises
    ------
    InputError
        If it does; the message names both.
    """
    if not workspace.campaign_file.exists():
        return
    owner = read_toml(workspace.campaign_file).get("campaign", {}).get("name")
    if owner != name:
        raise InputError(
            f"the workspace {workspace.root} belongs to campaign {owner!r}, not to {name!r}",
            "give this campaign a workspace of its own with --workspace, or its old name back",
        )


def check_launched(workspace: Workspace) -> None:
    """Refuse a workspace in which nothing was launched.

    Raises
    ------
    InputError
        If nothing was.
    """
    if not workspace.campaign_file.exists():
        raise InputError(
            f"no campaign was launched in {workspace.root}",
            "`campaign launch FOLDER` starts one; or give its folder",
        )


def freeze(workspace: Workspace, spec: CampaignSpec) -> None:
    """Write the frozen copy.

    Raises
    ------
    InputError
        If the workspace belongs to another campaign.
    """
    check_owner(workspace, spec.campaign.name)
    tables = _without_none(spec.model_dump(mode="json"))
    header = "# What this workspace was last launched with; written by `campaign launch`.\n"
    write_atomic(workspace.campaign_file, (header + tomli_w.dumps(tables)).encode())


def thaw(workspace: Workspace) -> CampaignSpec:
    """Spec of the frozen copy.

    Raises
    ------
    InputError
        If nothing was launched here.
    """
    check_launched(workspace)
    path = workspace.campaign_file
    return parse_spec(read_toml(path), str(path), workspace.root)


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    """TOML has no null: a key without a value is absent."""

    def inner(value: Any) -> Any:
        if isinstance(value, dict):
            return _without_none(value)
        return [inner(one) for one in value] if isinstance(value, list) else value

    return {key: inner(value) for key, value in table.items() if value is not None}
