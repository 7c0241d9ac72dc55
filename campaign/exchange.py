"""Structures and models in and out of a campaign, in formats that others read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_store.errors import InputError, unknown_name
from data_store.extxyz import read_extxyz, write_extxyz
from data_store.parts import find_part
from data_store.structure_parts import read_structures
from data_store.structures import concatenate
from data_store.work import write_atomic

if TYPE_CHECKING:
    from campaign.campaign import Campaign

__all__ = [
    "EXPORTS",
    "PRECISIONS",
    "TrainedModel",
    "export_files",
    "import_file",
    "package_model",
    "trained_models",
]

EXPORTS = {
    "teacher": "sample",
    "candidates": "candidates",
    "labels": "label",
    "test": "test",
    "starts": "starts",
    "models": "finetune",
}
"""What can be exported, and the stage that makes it."""

PRECISIONS = ("as-saved", "float32", "float64")
"""What a packaged model can compute in."""


@dataclass(frozen=True)
class TrainedModel:
    """A fine-tuned model of a campaign, as it lies in the workspace.

    Parameters
    ----------
    arm : str
    labels : int
        Size of the pool that it was tuned on, validation included.
    seed : int
    file : Path
        Its weights: for reading alone, `campaign export` copies them.
    trained_on : dict
        Campaign, arm, labels, seed, fingerprint, digest and errors, as plain data.
    """

    arm: str
    labels: int
    seed: int
    file: Path
    trained_on: dict[str, Any]


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
    if what == "models":
        models = trained_models(campaign)
        if not models:
            raise _nothing_yet(what)
        return {"count": len(models), "files": [_copy_model(model, to) for model in models]}
    plan = campaign.launched_plan()
    parts = [
        part
        for planned in plan.of(EXPORTS[what])
        if (part := find_part(campaign.workspace.parts, planned.stage, planned.fingerprint))
    ]
    if not parts:
        raise _nothing_yet(what)
    structures = concatenate([read_structures(part) for part in parts])
    write_extxyz(to, structures)
    return {"count": len(structures), "files": [str(to)]}


def _nothing_yet(what: str) -> InputError:
    return InputError(f"the campaign has made no {what} yet", "`campaign launch` makes them")


def trained_models(campaign: Campaign) -> list[TrainedModel]:
    """Fine-tuned models that are there, in the order of the plan.

    Raises
    ------
    InputError
        If nothing was launched.
    """
    plan = campaign.launched_plan()
    found = []
    for planned in plan.of("finetune"):
        part = find_part(campaign.workspace.parts, planned.stage, planned.fingerprint)
        if part is not None:
            key = {name: planned.key[name] for name in ("arm", "labels", "seed")}
            told = {name: part.metadata.get(name) for name in ("validation", "test")}
            trained_on = {
                "campaign": plan.spec.campaign.name,
                **key,
                "fingerprint": part.fingerprint,
                "digest": part.digest,
                **told,
            }
            found.append(
                TrainedModel(**key, file=part.file("model.safetensors"), trained_on=trained_on)
            )
    return found


def _copy_model(model: TrainedModel, folder: Path) -> str:
    """The same weights, told what they were trained on."""
    from apps.potential.weights import load_potential, save_bytes

    target = folder / f"{model.arm}-{model.labels}-seed{model.seed}.safetensors"
    write_atomic(target, save_bytes(load_potential(model.file), model.trained_on))
    return str(target)


def package_model(
    model: Path,
    to: Path,
    machine: str = "any",
    *,
    precision: str = "as-saved",
    trained_on: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a package of a weights file that torch opens without this project (docs/models.md).

    Parameters
    ----------
    model : Path
        Weights file.
    to : Path
        New file.
    machine : {"any", "cpu", "cuda"}
        What it is for.
    precision : {"as-saved", "float32", "float64"}
    trained_on : mapping, optional
        By default what the weights file says of itself.

    Raises
    ------
    InputError
        If a value is none of these, the target exists, or the potential cannot be packaged.
    StoreError
        If the weights cannot be read.
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision of a package", precision, PRECISIONS)
    if to.exists():
        raise InputError(f"{to} exists; it is left as it is", "give another name with --to")
    from apps.potential.package import package_bytes
    from apps.potential.weights import load_potential, read_header

    potential = load_potential(model)
    if precision != "as-saved":
        potential = potential.double() if precision == "float64" else potential.float()
    told = (
        read_header(model.read_bytes(), str(model))["extra"] if trained_on is None else trained_on
    )
    data = package_bytes(potential, machine, trained_on=told)
    write_atomic(to, data)
    return {
        "path": str(to),
        "bytes": len(data),
        "for": machine,
        "precision": str(potential.dtype).removeprefix("torch."),
        "species": list(potential.species),
        "cutoff_A": potential.cutoff_A,
    }
