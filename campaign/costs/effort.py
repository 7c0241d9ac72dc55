"""`Effort`: how much work a part is, in units of its stage, and what the price of a unit hangs on.

A unit is what a stage does many times: a structure, a label, an optimiser step, a step of a block.
Two parts are of one *kind* where a unit of them should take the same time: equal settings but for
their number of units, the same molecule, and the same key but for seeds and numbers of siblings.
They are of one *family* where they differ in the key alone: in arm, pool, temperature, or how many
replicas a block has. Seeds of the campaign change the molecule's fingerprint and with it the
family: then nothing is known of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from campaign.plan.items import PlannedPart, without
from data_store.fingerprints import fingerprint

__all__ = ["Effort", "effort_of", "family_of", "priced_function", "priced_stage"]

_SIBLINGS = ("seed", "block", "chunk", "candidates", "role", "indices")
"""Keys that tell parts of one kind apart."""

_ALIKE = {"finetune": ("arm", "member"), "probe": ("arm", "labels")}
"""Keys that make no difference to what a unit takes, by stage."""

_LIKE = {"committee": "finetune", "explore": "simulate"}
"""Stages whose work is that of another."""

_FUNCTIONS = {
    "apps.training.rounds:finetune_round": "apps.training.task:finetune",
    "apps.dynamics.rounds:explore": "apps.dynamics.task:simulate",
    "apps.dynamics.rounds:examine": "apps.dynamics.task:simulate",
    "apps.labeling.rounds:label_picks": "apps.labeling.task:label",
}
"""Tasks whose work is that of another."""


def priced_stage(stage: str) -> str:
    """Stage whose work that of a stage is; itself, but for active learning."""
    return _LIKE.get(stage, stage)


def priced_function(function: str) -> str:
    """Task whose work that of a task is; itself, but for active learning."""
    return _FUNCTIONS.get(function, function)


@dataclass(frozen=True)
class Effort:
    """Units of work.

    Parameters
    ----------
    kind : str
        Equal where a unit should take the same time: its family and what tells it within that.
    unit : str
        What is counted, in the plural.
    amount : float
    """

    kind: str
    unit: str
    amount: float

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class _Measure:
    """How a stage's units are counted, and which settings say nothing else."""

    unit: str
    amount: Callable[[Mapping[str, Any]], float]
    counts: tuple[str, ...]


def _finetuning_steps(settings: Mapping[str, Any]) -> float:
    tuning = settings["finetuning"]
    steps = tuning["steps"] + settings["pretraining_steps"]
    return float(steps * len(tuning["learning_rates"]))


def _block_steps(settings: Mapping[str, Any]) -> float:
    dynamics = settings["dynamics"]
    return float(round(dynamics["length_ps"] * 1000.0 / dynamics["timestep_fs"]))


def _replica_steps(settings: Mapping[str, Any]) -> float:
    return _block_steps(settings) * float(settings["replicas_in_block"])


_PART = _Measure("parts", lambda settings: 1.0, ())

_MEASURES = {
    "sample": _Measure(
        "structures", lambda settings: float(settings["chunk_structures"]), ("chunk_structures",)
    ),
    "candidates": _Measure("trajectories", lambda settings: float(settings["count"]), ("count",)),
    "pretrain": _Measure(
        "steps",
        lambda settings: float(settings["pretraining"]["steps"]),
        ("pretraining.steps", "pretraining.checkpoint_every_s"),
    ),
    "finetune": _Measure(
        "steps",
        _finetuning_steps,
        (
            "finetuning.steps",
            "finetuning.learning_rates",
            "finetuning.checkpoint_every_s",
            "pretraining_steps",
        ),
    ),
    "simulate": _Measure(
        "block steps",
        _block_steps,
        ("dynamics.length_ps", "dynamics.checkpoint_every_s", "replicas_in_block"),
    ),
    "control": _Measure(
        "replica steps",
        _replica_steps,
        ("dynamics.length_ps", "dynamics.checkpoint_every_s", "replicas_in_block"),
    ),
}


def effort_of(part: PlannedPart, items: int | None = None) -> Effort:
    """Work of a part, or of so many of its items.

    Parameters
    ----------
    part : PlannedPart
    items : int, optional
        Items of a part that is merged from many (labels); None for the part itself.
    """
    if items is not None:
        return Effort(_kind(part, ("count",), "items"), "labels", float(items))
    measure = _MEASURES.get(priced_stage(part.stage), _PART)
    try:
        amount = measure.amount(part.settings)
    except KeyError:  # settings that a campaign file never gives: nothing in them is counted
        measure, amount = _PART, 1.0
    step = "merging" if part.items else ""
    return Effort(_kind(part, measure.counts, step), measure.unit, amount)


def family_of(kind: str) -> str:
    """Family of a kind: what it shares with other arms, pools, temperatures and block sizes."""
    return kind.partition(" ")[0]


def _kind(part: PlannedPart, counts: tuple[str, ...], step: str) -> str:
    # Labels are one work, whatever they are merged into.
    labels = step == "items"
    stage = "label" if labels else priced_stage(part.stage)
    family = {
        "stage": stage,
        "function": "apps.labeling.task:merge_labels" if labels else priced_function(part.function),
        "step": step,
        "settings": without(part.settings, counts),
        "molecule": list(part.inputs.get("molecule", ())),
    }
    left_out = (*_SIBLINGS, *(("round",) if labels else ()), *_ALIKE.get(stage, ()))
    told = {key: value for key, value in part.key.items() if key not in left_out}
    if stage == "simulate":
        told["replicas"] = part.settings.get("replicas_in_block")
    within = ",".join(f"{key}={told[key]}" for key in sorted(told))
    return f"{stage}-{fingerprint(family)[:12]} {within}".rstrip()
