"""Gathering a report's inputs: results from parts, cost and mishaps from the ledger.

Results depend on parts alone, so that they come out the same however often a campaign was
interrupted; what that cost is history, and in the ledger.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from campaign.coverage.dynamics import dynamics_rows
from campaign.ledger import read_ledger
from campaign.plan.build import Plan
from campaign.plan.items import PlannedPart
from campaign.quarantine import kept_of
from campaign.report.channel_set import ChannelSet
from campaign.report.coverage import shown_to_the_student
from campaign.report.free_energy import biased_block
from campaign.report.gallery import Block, first_failures, limits_of
from campaign.report.inputs import (
    Control,
    Curve,
    DistanceReference,
    Distances,
    Limits,
    Model,
    ReportInputs,
    StageCost,
)
from campaign.report.liquid import frames_in_block, is_box, liquid_of
from campaign.report.liquid_inputs import Liquid
from campaign.report.liquid_reference import reference_of_labels
from campaign.report.predicted import predicted_rows
from campaign.report.rdf_file import read_rdf
from campaign.report.species import REACTIVE, species_rows
from campaign.report.structure import distances_of, reference_of, sound_distances
from campaign.report.subject import Subject, of_the_same_atoms, subject_of
from campaign.workspace import Workspace
from data_store.errors import InputError
from data_store.molecules import Molecule
from data_store.parts import Part, find_part
from data_store.runs import Run, runs_from_part
from data_store.structure_parts import read_structures
from data_store.structures import Structures

__all__ = ["collect"]


def collect(plan: Plan, workspace: Workspace, rdf: Path | None = None) -> ReportInputs:
    """Gather what there is.

    Parameters
    ----------
    plan : Plan
    workspace : Workspace
    rdf : Path, optional
        g(r) that boxes are held to, in place of that of the labels (`campaign.report.rdf_file`).

    Raises
    ------
    InputError
        If no dynamics has been made yet, or `rdf` is no table of g(r), or there are no boxes.
    """
    made = _Made(plan, workspace)
    simulated = list(made.parts("simulate"))
    if not simulated:
        raise InputError(
            f"{workspace.root} holds no dynamics yet: there is nothing to report",
            "`campaign status` shows how far it is, `campaign launch` goes on",
        )
    first = Molecule.from_json(made.first("prepare").metadata["molecule"])
    molecule, cell_A = _subject(plan, made, first)
    blocks = [
        Block(_model(planned), float(planned.key["temperature_K"]), part, runs_from_part(part))
        for planned, part in simulated
    ]
    runs: dict[tuple[Model, float], list[Run]] = defaultdict(list)
    for block in blocks:
        runs[block.model, block.temperature_K] += block.runs
    tuned = {_model(planned): part for planned, part in made.parts("finetune")}
    events = list(read_ledger(workspace.ledger))
    return ReportInputs(
        campaign=plan.spec.campaign.name,
        settings=plan.spec.model_dump(mode="json"),
        molecule=molecule,
        runs=dict(runs),
        errors={model: part.metadata["test"] for model, part in tuned.items()},
        parity={model: _parity(part) for model, part in tuned.items()},
        details={model: part.metadata for model, part in tuned.items()},
        curves=list(_curves(made, tuned)),
        pictures=list(first_failures(blocks, molecule, plan.spec.dynamics.keep_stride_fs, cell_A)),
        limits=_limits(plan, made, molecule),
        distances=distances_of(blocks) if cell_A is None else {},
        reference=_reference(made, molecule) if cell_A is None else None,
        liquid=_liquid(made, blocks, rdf),
        probes={
            _model(planned): part.metadata["probes"]
            for planned, part in made.parts("probe")
            if "arm" in planned.key
        },
        biased=[
            found
            for planned, part in simulated
            if (
                found := biased_block(
                    _model(planned), float(planned.key["temperature_K"]), planned.key["block"], part
                )
            )
        ],
        channels=_channels(made),
        species=species_rows(blocks, np.array(molecule.numbers), cell_A)
        if REACTIVE in plan.spec.dynamics.criteria
        else [],
        control=_control(plan.spec.control.method, made),
        cost=_cost(events),
        predicted=predicted_rows(events),
        expert_calls=_expert_calls(plan, made),
        teacher=_teacher(made),
        coverage=shown_to_the_student([part for _, part in made.parts("sample")], first),
        world_size=_world_size(made),
        notes=[
            *_lacking(plan, made),
            *_quarantined(plan, workspace),
            *_left_out(made),
            *_unusual(made),
            *_mishaps(events),
        ],
    )


def _subject(plan: Plan, made: _Made, molecule: Molecule) -> Subject:
    if not plan.spec.several:
        return Subject(molecule)
    name = plan.spec.system.name if plan.spec.system.kind == "liquid" else plan.spec.campaign.name
    return subject_of(name, read_structures(made.first("starts")))


class _Made:
    """Parts of the plan that are in their place."""

    def __init__(self, plan: Plan, workspace: Workspace) -> None:
        self._plan, self._workspace = plan, workspace

    def parts(self, stage: str) -> Iterator[tuple[PlannedPart, Part]]:
        for planned in self._plan.of(stage):
            part = find_part(self._workspace.parts, stage, planned.fingerprint)
            if part is not None:
                yield planned, part

    def first(self, stage: str) -> Part:
        """First part of a stage that dynamics is made from: there, unless it was moved away."""
        for _, part in self.parts(stage):
            return part
        raise InputError(
            f"{self._workspace.root} holds dynamics, but no part of stage {stage} that it was made "
            "from",
            "`campaign launch` makes it anew",
        )


def _model(planned: PlannedPart) -> Model:
    return Model(planned.key["arm"], planned.key["labels"], planned.key["seed"])


def _parity(part: Part) -> dict[str, Any]:
    units = {"force": "eV/Å", "energy": "eV"}
    return {
        f"{quantity}_{kind}": part.read(f"test_{quantity}_{kind}", unit)
        for quantity, unit in units.items()
        for kind in ("label", "predicted")
        if f"test_{quantity}_{kind}" in part.units
    }


def _curves(made: _Made, tuned: dict[Model, Part]) -> Iterator[Curve]:
    for planned, part in made.parts("pretrain"):
        yield Curve(planned.label, "teacher", _log(part))
    for model, part in tuned.items():
        rate = part.metadata["learning_rate"]
        rows = [row for row in _log(part) if row["learning_rate"] == rate]
        yield Curve(str(model), model.arm, rows)


def _log(part: Part) -> list[dict[str, float]]:
    text = part.file("metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _control(method: str, made: _Made) -> Control | None:
    """What the reference method did; None where there is none, or nothing of it yet."""
    runs: dict[float, list[Run]] = defaultdict(list)
    distances: dict[float, Distances] = {}
    for planned, part in made.parts("control"):
        temperature, found = float(planned.key["temperature_K"]), runs_from_part(part)
        runs[temperature] += found
        more = Distances.none() if is_box(part) else sound_distances(part, found)
        distances[temperature] = distances.get(temperature, Distances.none()) + more
    probes = [p.metadata["probes"] for planned, p in made.parts("probe") if "method" in planned.key]
    if not runs and not probes:
        return None
    return Control(method, dict(runs), distances, probes[0] if probes else None)


def _limits(plan: Plan, made: _Made, molecule: Molecule) -> Limits:
    """What the criteria of distances allowed: bonds against the labels of the smallest pool.

    Of liquids and mixtures it is not told.
    """
    if plan.spec.several:
        return Limits({}, {})
    splits = {planned.key["labels"]: part for planned, part in made.parts("split")}
    smallest = splits[min(splits)] if splits else made.first("split")
    labels = read_structures(made.first("label"))
    training = labels.take(smallest.read("train", "")).dense_positions()
    return limits_of(molecule, plan.spec.dynamics, training)


def _reference(made: _Made, molecule: Molecule) -> DistanceReference | None:
    """Structures of the test set, or all labels where there is none; None where none is alike."""
    for _, part in made.parts("test"):
        return _reference_of("the test set", read_structures(part), molecule)
    labels = read_structures(made.first("label"))
    held_out = made.first("split").read("test", "")
    if len(held_out):
        return _reference_of("the test set", labels.take(held_out), molecule)
    return _reference_of("all labels", labels, molecule)


def _reference_of(
    source: str, structures: Structures, molecule: Molecule
) -> DistanceReference | None:
    frames = of_the_same_atoms(structures, molecule)
    return reference_of(source, frames) if len(frames) else None


def _liquid(made: _Made, blocks: list[Block], rdf: Path | None) -> Liquid | None:
    """Runs of boxes, held to all labels that are boxes, or to a file."""
    part = next((block.part for block in blocks if is_box(block.part)), None)
    if rdf is not None:
        if part is None:
            raise InputError(
                f"{rdf} is g(r) to hold periodic boxes to, and none was simulated",
                "leave it out",
            )
        return liquid_of(blocks, read_rdf(rdf))
    if part is None:
        return None
    labels, frames = read_structures(made.first("label")), frames_in_block(part)
    return liquid_of(blocks, reference_of_labels(labels, part.metadata["numbers"], frames))


def _channels(made: _Made) -> ChannelSet | None:
    """Channels of the test set; None where labels name none."""
    for _, part in made.parts("test"):
        said: Any = part.metadata.get("channels")
        if said is not None:
            names = [said["names"][code] for code in part.read("channel", "")]
            structures, on_path = read_structures(part), part.read("on_path", "")
            return ChannelSet.of(structures, names, on_path, said["table"], said["held_out"])
    return None


def _cost(events: list[dict[str, Any]]) -> dict[str, StageCost]:
    """Core-hours, items and peak memory per stage; what was lost is not known and noted apart."""
    seconds: Counter[str] = Counter()
    items: Counter[str] = Counter()
    peak: dict[str, float] = defaultdict(float)
    for row in events:
        if row.get("event") != "result" or "resources" not in row:
            continue
        stage, used = row["stage"], row["resources"]
        seconds[stage] += used["cpu_s"]
        items[stage] += row["items"] if row["outcome"] == "done" else 0
        peak[stage] = max(peak[stage], used["peak_rss_MB"])
    return {
        stage: StageCost(seconds[stage] / 3600.0, items[stage], peak[stage]) for stage in seconds
    }


def _expert_calls(plan: Plan, made: _Made) -> int:
    """Labels that were computed, or those of the largest pool where they were imported."""
    if not plan.spec.labels.computed:
        return max(plan.spec.finetuning.pools)
    return sum(
        part.shape("candidate")[0] + len(part.metadata["left_out"])
        for _, part in made.parts("label")
    )


def _teacher(made: _Made) -> dict[str, Any]:
    tiers: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    for _, part in made.parts("sample"):
        tiers.update(part.metadata["tiers"])
        for reasons in part.metadata["rejected"].values():
            rejected.update(reasons)
    prepared = made.first("prepare").metadata
    return {
        "force_field": prepared["teacher"],
        "reason": prepared["teacher_reason"],
        "structures": dict(tiers),
        "rejected": {reason: count for reason, count in rejected.items() if count},
        "dynamics": dynamics_rows(part for _, part in made.parts("sample")),
    }


def _world_size(made: _Made) -> int:
    return max((int(part.metadata["world_size"]) for _, part in made.parts("pretrain")), default=1)


def _lacking(plan: Plan, made: _Made) -> Iterator[str]:
    for stage in ("finetune", "simulate", "probe", "control"):
        planned, there = len(plan.of(stage)), len(list(made.parts(stage)))
        if there < planned:
            yield f"{planned - there} of {planned} parts of stage {stage} are lacking"


def _quarantined(plan: Plan, workspace: Workspace) -> Iterator[str]:
    for entry in kept_of(workspace, plan.parts).values():
        yield f"in quarantine: {entry.in_words}"


def _left_out(made: _Made) -> Iterator[str]:
    for _, part in made.parts("label"):
        reasons: Counter[str] = Counter()
        for item in part.metadata["left_out"]:
            reasons[item["reason"]] += item.get("count", 1)
        yield from (f"{n} labels left out: {reason}" for reason, n in reasons.items())


def _unusual(made: _Made) -> Iterator[str]:
    """What was asked for and is easily overlooked, or was asked for and could not be."""
    for planned, part in made.parts("pretrain"):
        found = part.metadata.get("scrambled")
        if found:
            yield (
                f"{planned.label}: negative control, {found['labels']} structures were taught the "
                f"labels of another and {found['own_labels']} their own"
            )
    tiers = {t for _, part in made.parts("sample") for t in part.metadata.get("tiers_left_out", [])}
    yield from (f"tier {t} makes nothing of this molecule: left out" for t in sorted(tiers))


def _mishaps(events: list[dict[str, Any]]) -> Iterator[str]:
    launches = sum(row.get("event") == "launched" for row in events)
    if launches > 1:
        yield f"launched {launches} times"
    bad = Counter(
        (row["outcome"], row["stage"])
        for row in events
        if row.get("event") == "result" and row["outcome"] not in {"done", "continue"}
    )
    yield from (f"{n} × {outcome} in stage {stage}" for (outcome, stage), n in bad.items())
    for row in events:
        if row.get("event") == "host_left_out":
            yield f"host {row['host']} of site {row['site']} ate tasks: {row['message']}"
    unreadable = sum(row.get("event") == "unreadable" for row in events)
    if unreadable:
        yield f"{unreadable} lines of the ledger are torn"
