"""Structures and models in and out of a campaign, in formats that others read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_store.errors import InputError, unknown_name
from data_store.extxyz import read_extxyz, write_extxyz
from data_store.parts import Part, find_part
from data_store.structure_parts import read_structures
from data_store.structures import concatenate
from data_store.work import write_atomic

if TYPE_CHECKING:
    from campaign.campaign import Campaign

__all__ = ["EXPORTS", "export_files", "import_file"]

EXPORTS = {
    "teacher": "sample",
    "candidates": "candidates",
    "labels": "label",
    "test": "test",
    "starts": "starts",
    "models": "finetune",
}
"""What can be exported, and the stage that makes it."""


def import_file(campaign: Campaign, file: Path, role: str) -> dict[str, Any]:
    """Check labels and copy them to where the campaign file looks for them.

    Parameters
    ----------
    campaign : Campaign
    file : Path
        Extended xyz.
    role : {"labels", "test"}

    Raises
    ------
    InputError
        If the file is unusable, the campaign computes its labels, or other labels are there.
    """
    from campaign.spec.problems import read_toml

    keys = {"labels": "file", "test": "test_file"}
    if role not in keys:
        raise unknown_name("role of labels", role, list(keys))
    labels = read_toml(campaign.file).get("labels", {})
    if labels.get("source") != "file" or not labels.get(keys[role]):
        raise InputError(
            f"{campaign.file} imports no {role}",
            f'its [labels] need source = "file" and {keys[role]} = "….extxyz"',
        )
    structures = read_extxyz(file)
    target = (campaign.file.parent / labels[keys[role]]).resolve()
    content = file.read_bytes()
    if target.exists() and target.read_bytes() != content:
        raise InputError(
            f"{target} is there already and holds other labels; it is left as it is",
            "move it away, or name another file in the campaign file",
        )
    write_atomic(target, content)
    numbers, counts = structures.numbers_of(0), len(structures)
    return {"path": str(target), "structures": counts, "formula": _formula(numbers)}


def _formula(numbers: Any) -> str:
    from data_store.elements import SYMBOLS

    symbols = [SYMBOLS[int(z)] for z in numbers]
    found = {s: symbols.count(s) for s in sorted(set(symbols))}
    return "".join(f"{s}{n if n > 1 else ''}" for s, n in found.items())


def export_files(campaign: Campaign, what: str, to: Path) -> dict[str, Any]:
    """Write what a workspace holds: structures as one extended xyz, models into a folder.

    Raises
    ------
    InputError
        If there is no such thing to export, none was made yet, or the target exists.
    """
    if what not in EXPORTS:
        raise unknown_name("export", what, list(EXPORTS))
    if to.exists():
        raise InputError(f"{to} exists; it is left as it is", "give another name with --to")
    plan = campaign.launched_plan()
    parts = [
        (planned, part)
        for planned in plan.of(EXPORTS[what])
        if (part := find_part(campaign.workspace.parts, planned.stage, planned.fingerprint))
    ]
    if not parts:
        raise InputError(f"the campaign has made no {what} yet", "`campaign launch` makes them")
    if what == "models":
        names = [_copy_model(part, to / _model_name(planned.key)) for planned, part in parts]
        return {"count": len(names), "files": names}
    structures = concatenate([read_structures(part) for _, part in parts])
    write_extxyz(to, structures)
    return {"count": len(structures), "files": [str(to)]}


def _model_name(key: dict[str, Any]) -> str:
    return f"{key['arm']}-{key['labels']}-seed{key['seed']}.safetensors"


def _copy_model(part: Part, target: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(part.file("model.safetensors"), target)
    return str(target)
