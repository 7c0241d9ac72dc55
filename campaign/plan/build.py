"""From a campaign file to the plan: every part, fingerprinted, in order of dependence.

Pure but for the digests of files that the user brought. What is not science (ranks, checkpoint
intervals, names, how many chunks or pools there are beside this one) is kept out of each identity
here, so that changing one setting recomputes exactly what depends on it.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from apps.labeling.settings import LIMITS
from apps.probing.settings import ProbeSettings
from apps.sampling.probe_structures import ProbeStructureSettings
from campaign.plan.active import plan_chains
from campaign.plan.identities import TRAINING_RESOURCES, as_before, brought, start_file
from campaign.plan.items import Items, PlannedPart, planned_part
from campaign.plan.stages import STAGES
from campaign.plan.system import boxes_settings
from campaign.plan.teaching import Teaching
from campaign.spec.model import CampaignSpec
from data_store.fingerprints import fingerprint

__all__ = ["Plan", "build_plan"]

LABELS_PER_TASK = 3
"""Labels handed to a worker at once: some ten seconds of work."""


@dataclass(frozen=True)
class Plan:
    """All parts of a campaign.

    Parameters
    ----------
    spec : CampaignSpec
    parts : tuple of PlannedPart
        In order of dependence.
    """

    spec: CampaignSpec
    parts: tuple[PlannedPart, ...]

    def of(self, stage: str, **key: Any) -> list[PlannedPart]:
        """Parts of a stage whose key holds these values."""
        return [
            part
            for part in self.parts
            if part.stage == stage and all(part.key.get(k) == v for k, v in key.items())
        ]

    def the(self, stage: str, **key: Any) -> PlannedPart:
        """The one part of a stage with this key."""
        (part,) = self.of(stage, **key)
        return part


def build_plan(spec: CampaignSpec) -> Plan:
    """Plan of a campaign.

    Raises
    ------
    InputError
        If a file that the campaign names cannot be read.
    """
    with _uncollected():
        return _built(spec)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the collector of cycles away: there are none, and very many objects to look through."""
    was_at_work = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_at_work:
            gc.enable()


def _built(spec: CampaignSpec) -> Plan:
    teach = Teaching(spec)
    if not spec.labelled:
        return Plan(spec, tuple(_unlabelled(spec, teach)))
    label, tests = _labels(spec, teach)
    splits = {n: _split(spec, n, label, tests) for n in spec.finetuning.pools}
    starts = _starts(spec, teach, label, tests, splits)
    finetunes = list(_finetunes(spec, teach, label, tests, splits))
    smallest = splits[min(splits)]
    chains = plan_chains(spec, teach.molecule, label, tests, splits, starts, finetunes)
    models = [*((model, None) for model in finetunes), *chains.models]
    simulations: list[PlannedPart] = []
    for model, before in models:
        again = [run for run in simulations if before and before.fingerprint in run.needs]
        simulations += _simulations(spec, teach, label, smallest, starts, model, again)
    candidates = [teach.candidates, teach.order] if spec.labels.computed else []
    pretrained = teach.used_pretrainings(spec) if "pretrained" in spec.finetuning.arms else []
    probed = pretrained and not spec.several  # probes scan the bonds of one molecule
    return Plan(
        spec,
        (
            *teach.molecules, *(teach.chunks if pretrained else []), *candidates, *pretrained,
            label, *tests, *splits.values(), starts, *finetunes, *chains.parts,
            *(_probes(spec, teach, starts, [m for m, _ in models]) if probed else []),
            *simulations,
            *_controls(spec, teach, label, smallest, starts),
        ),
    )  # fmt: skip


def _unlabelled(spec: CampaignSpec, teach: Teaching) -> Iterator[PlannedPart]:
    """A liquid or a mixture without labels: as far as pre-training, and boxes to start from."""
    yield from teach.molecules
    if "pretrained" in spec.finetuning.arms:
        yield from teach.chunks
        yield from teach.used_pretrainings(spec)
    if spec.system.has_box:
        yield _boxes(spec, teach)


def _boxes(spec: CampaignSpec, teach: Teaching) -> PlannedPart:
    return planned_part(
        "starts",
        "starting boxes",
        boxes_settings(spec.system, spec.dynamics.replicas),
        spec.campaign.seed,
        inputs={"molecule": teach.molecules},
        function="apps.sampling.task:boxes",
    )


def _labels(spec: CampaignSpec, teach: Teaching) -> tuple[PlannedPart, list[PlannedPart]]:
    """Labels, computed or imported, and the test labels where there is a file of them."""
    labels, seed = spec.labels, spec.campaign.seed
    if labels.channels is not None:
        return _channels(spec, teach)
    if not labels.computed:
        settings = labels.relation() | ({"kind": spec.system.kind} if spec.several else {})
        found = [
            planned_part(
                stage,
                f"imported {role}",
                settings,
                seed,
                key={"role": role},
                inputs={"molecule": teach.molecules},
                files={"labels": file},
                function="apps.labeling.task:import_labels" + ("_of_several" * spec.several),
            )
            for stage, role, path in (
                ("label", "labels", labels.file),
                ("test", "test", labels.test_file),
            )
            if (file := brought(path)) is not None
        ]
        return found[0], found[1:]
    method = labels.identity()
    limits = {name: value for name in LIMITS if (value := getattr(labels, name)) is not None}
    series = {
        "stage": "label",
        "version": STAGES["label"].version,
        "settings": method,
        "seed": seed,
        "inputs": [teach.candidates.fingerprint, teach.order.fingerprint],
    }
    items = Items(labels.count, "apps.labeling.task:label", fingerprint(series), LABELS_PER_TASK)
    computed = planned_part(
        "label",
        f"{labels.count} labels",
        {**method, "count": labels.count, **limits},
        seed,
        inputs={
            "candidates": [teach.candidates],
            "order": [teach.order],
            "molecule": [teach.molecule],
        },
        items=items,
        not_science=LIMITS,
    )
    return computed, []


def _channels(spec: CampaignSpec, teach: Teaching) -> tuple[PlannedPart, list[PlannedPart]]:
    """Labels of reaction channels, and of those of the same file what tests."""
    file = brought(spec.labels.file)
    label, test = (
        planned_part(
            stage,
            f"imported {role}",
            spec.labels.choice() | {"kind": spec.system.kind},
            spec.campaign.seed,
            key={"role": role},
            inputs={"molecule": teach.molecules},
            files={"labels": file} if file else {},
            function="apps.labeling.channel_task:import_channels",
        )
        for stage, role in (("label", "labels"), ("test", "test"))
    )
    return label, [test]


def _split(
    spec: CampaignSpec, pool: int, label: PlannedPart, tests: list[PlannedPart]
) -> PlannedPart:
    settings = {"pool": pool, "test_count": 0 if tests else spec.labels.test_count}
    own = {"validation": spec.validation(pool)} if spec.system.kind == "liquid" else {}
    return planned_part(
        "split",
        f"split of {pool} labels",
        settings | own,
        spec.campaign.seed,
        key={"labels": pool},
        inputs={"labels": [label]},
    )


def _starts(
    spec: CampaignSpec,
    teach: Teaching,
    label: PlannedPart,
    tests: list[PlannedPart],
    splits: dict[int, PlannedPart],
) -> PlannedPart:
    """Held-out structures: test labels where there is a file, else candidates never labelled.

    Of a liquid or a mixture: boxes of a stated size, else labels of one kind.
    """
    if spec.system.has_box:
        return _boxes(spec, teach)
    settings = {"count": spec.dynamics.replicas}
    if tests:
        inputs = {"test": tests}
    elif spec.labels.computed:
        inputs = {"candidates": [teach.candidates], "order": [teach.order]}
        settings["labels"] = spec.labels.count
    else:
        inputs = {"labels": [label], "split": [splits[max(splits)]]}
    return planned_part(
        "starts",
        "starting structures",
        settings,
        spec.campaign.seed,
        inputs=inputs,
        function="apps.selection.task:starts_alike" if spec.several else None,
    )


_WHICH_MODELS = {"arms", "pools", "seeds", "scratch_long_pools"}


def _finetunes(
    spec: CampaignSpec,
    teach: Teaching,
    label: PlannedPart,
    tests: list[PlannedPart],
    splits: dict[int, PlannedPart],
) -> Iterator[PlannedPart]:
    tuning = spec.finetuning
    for arm in tuning.arms:
        settings = {
            "potential": spec.potential.model_dump(mode="json"),
            "finetuning": tuning.model_dump(mode="json", exclude=_WHICH_MODELS),
            "pretraining_steps": spec.pretraining.steps if arm == "scratch_long" else 0,
        }
        for pool in tuning.pools_of(arm):
            for seed in tuning.seeds:
                inputs = {"labels": [label], "split": [splits[pool]], "molecule": teach.molecules}
                inputs |= {"test": tests} if tests else {}
                start = {"checkpoint": [teach.pretraining_of(seed)]}
                inputs |= start if arm == "pretrained" else {}
                yield planned_part(
                    "finetune",
                    f"{arm}, {pool} labels, seed {seed}",
                    settings,
                    spec.campaign.seed,
                    key={"arm": arm, "labels": pool, "seed": seed},
                    inputs=inputs,
                    files={} if arm == "pretrained" else start_file(spec),
                    not_science=(
                        *(f"finetuning.{key}" for key in TRAINING_RESOURCES),
                        "potential.start_from",
                        *as_before(spec),
                    ),
                )


def _probes(
    spec: CampaignSpec, teach: Teaching, starts: PlannedPart, models: list[PlannedPart]
) -> Iterator[PlannedPart]:
    """Probes of all models by the teacher's structures; without a teacher there are none."""
    settings = ProbeStructureSettings(held_out=spec.pretraining.held_out)
    structures = planned_part(
        "probe_structures",
        "structures to probe with",
        settings.model_dump(mode="json"),
        spec.campaign.seed,
        inputs={"molecule": [teach.molecule], "teacher": teach.chunks, "starts": [starts]},
    )
    yield structures
    for model in models:
        yield planned_part(
            "probe",
            f"probes of {model.label}",
            ProbeSettings().model_dump(mode="json"),
            spec.campaign.seed,
            key=model.key,
            inputs={"model": [model], "structures": [structures]},
        )
    if spec.control.method != "none":
        yield planned_part(
            "probe",
            f"probes of {spec.control.method}",
            ProbeSettings().model_dump(mode="json"),
            spec.campaign.seed,
            key={"method": spec.control.method},
            inputs={"molecule": [teach.molecule], "structures": [structures]},
            function="apps.probing.task:probe_method",
        )


def _controls(
    spec: CampaignSpec,
    teach: Teaching,
    label: PlannedPart,
    smallest: PlannedPart,
    starts: PlannedPart,
) -> Iterator[PlannedPart]:
    """The same dynamics by a reference method, where one is asked for."""
    control, dynamics = spec.control, spec.dynamics
    if control.method == "none":
        return
    settings = dynamics.model_dump(mode="json", exclude={"temperatures_K", "replicas"})
    settings |= {"length_ps": control.length_ps, "block_replicas": control.block_replicas}
    for temperature in dynamics.temperatures_K:
        for block in range(-(-control.replicas // control.block_replicas)):
            size = min(control.block_replicas, control.replicas - block * control.block_replicas)
            yield planned_part(
                "control",
                f"{control.method}, {temperature:g} K, block {block}",
                {"dynamics": settings, "method": control.method, "replicas_in_block": size},
                spec.campaign.seed,
                key={"temperature_K": temperature, "block": block},
                inputs={
                    "starts": [starts],
                    "split": [smallest],
                    "labels": [label],
                    "molecule": [teach.molecule],
                },
                not_science=tuple(f"dynamics.{key}" for key in TRAINING_RESOURCES),
            )


def _simulations(
    spec: CampaignSpec,
    teach: Teaching,
    label: PlannedPart,
    smallest: PlannedPart,
    starts: PlannedPart,
    model: PlannedPart,
    before: Sequence[PlannedPart] = (),
) -> Iterator[PlannedPart]:
    """Examination of a model; `before` is that of the model of which it may be a repetition."""
    dynamics = spec.dynamics
    settings = dynamics.model_dump(mode="json", exclude={"temperatures_K", "replicas"})
    blocks = -(-dynamics.replicas // dynamics.block_replicas)
    for temperature in dynamics.temperatures_K:
        for block in range(blocks):
            size = min(dynamics.block_replicas, dynamics.replicas - block * dynamics.block_replicas)
            place = {"temperature_K": temperature, "block": block}
            same = [run for run in before if place.items() <= run.key.items()]
            yield planned_part(
                "simulate",
                f"{model.label}, {temperature:g} K, block {block}",
                {"dynamics": settings, "replicas_in_block": size},
                spec.campaign.seed,
                key={**model.key, **place},
                inputs={
                    "model": [model],
                    "starts": [starts],
                    "split": [smallest],
                    "labels": [label],
                    "molecule": teach.molecules,
                    **({"before": same} if same else {}),
                },
                not_science=tuple(f"dynamics.{key}" for key in TRAINING_RESOURCES),
                function="apps.dynamics.rounds:examine" if same else None,
            )
