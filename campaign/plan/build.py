"""From a campaign file to the plan: every part, fingerprinted, in order of dependence.

Pure but for the digests of files that the user brought. What is not science (ranks, checkpoint
intervals, names, how many chunks or pools there are beside this one) is kept out of each identity
here, so that changing one setting recomputes exactly what depends on it.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from apps.labeling.settings import LIMITS
from apps.probing.settings import ProbeSettings
from apps.sampling.probe_structures import ProbeStructureSettings
from apps.sampling.settings import SpeciesSettings
from campaign.plan.items import Items, PlannedPart, planned_part
from campaign.plan.stages import STAGES
from campaign.plan.system import (
    boxes_settings,
    brought_by,
    chunks_by_molecule,
    identity_of,
    molecule_id,
    pair_chunks,
    teacher_of,
)
from campaign.spec.model import CampaignSpec
from data_store.fingerprints import file_digest, fingerprint

__all__ = ["Plan", "build_plan"]

LABELS_PER_TASK = 3
"""Labels handed to a worker at once: some ten seconds of work."""

_CAME_LATER = {
    "potential.prior": "none",
    "pretraining.scramble_labels": False,
}
"""Keys younger than parts that are made, with the value that says what was done before there were
such keys: with it they are left out of identities, which stay what they were."""

_FILE = "force_field_file"
"""Of the sampling's settings the file is in the identity of the molecule, by its content."""

_TRAINING_RESOURCES = (
    "ranks", "data_memory_MB", "checkpoint_every_s", "checkpoint_every_steps", "checkpoint_every",
)  # fmt: skip


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
    teach = _Teaching(spec)
    if spec.system.kind != "molecule":
        return Plan(spec, tuple(_of_several(spec, teach)))
    label, tests = _labels(spec, teach)
    splits = {n: _split(spec, n, label, tests) for n in spec.finetuning.pools}
    starts = _starts(spec, teach, label, tests, splits)
    finetunes = list(_finetunes(spec, teach, label, tests, splits))
    smallest = splits[min(splits)]
    simulations = [
        run
        for model in finetunes
        for run in _simulations(spec, teach, label, smallest, starts, model)
    ]
    candidates = [teach.candidates, teach.order] if spec.labels.computed else []
    pretrained = teach.used_pretrainings(spec) if "pretrained" in spec.finetuning.arms else []
    return Plan(
        spec,
        (
            teach.molecule, *(teach.chunks if pretrained else []), *candidates, *pretrained, label,
            *tests, *splits.values(), starts, *finetunes,
            *(_probes(spec, teach, starts, finetunes) if pretrained else []), *simulations,
            *_controls(spec, teach, label, smallest, starts),
        ),
    )  # fmt: skip


def _of_several(spec: CampaignSpec, teach: _Teaching) -> Iterator[PlannedPart]:
    """A liquid or a mixture: as far as pre-training, and the boxes to start dynamics from."""
    yield from teach.molecules
    if "pretrained" in spec.finetuning.arms:
        yield from teach.chunks
        yield from teach.used_pretrainings(spec)
    if spec.system.has_box:
        yield planned_part(
            "starts",
            "starting boxes",
            boxes_settings(spec.system, spec.dynamics.replicas),
            spec.campaign.seed,
            inputs={"molecule": teach.molecules},
            function="apps.sampling.task:boxes",
        )


def _as_before(spec: CampaignSpec, table: str = "") -> tuple[str, ...]:
    """Dotted keys, from a table on, that say nothing but what was done before there were such."""
    return tuple(
        key.removeprefix(table)
        for key, value in _CAME_LATER.items()
        if key.startswith(table) and attrgetter(key)(spec) == value
    )


def _brought(path: str | Path | None) -> tuple[Path, str] | None:
    return (Path(path), file_digest(Path(path))) if path is not None else None


def _start(spec: CampaignSpec) -> dict[str, tuple[Path, str]]:
    """The weights file that all arms start from, where there is one."""
    found = _brought(spec.potential.start_from)
    return {"start": found} if found else {}


class _Teaching:
    """The molecules, the teachers' structures, the order of candidates and pre-training."""

    def __init__(self, spec: CampaignSpec) -> None:
        self.molecules = [self._molecule(spec, one) for one in spec.system.molecules()]
        self.molecule = self.molecules[0]
        self.chunks = [*self._chunks(spec), *self._pair_chunks(spec)]
        self.candidates = self._candidates(spec)
        self.order = self._order(spec)
        self.pretrainings = [self._pretrain(spec, seed) for seed in spec.pretraining.seeds]

    def _molecule(self, spec: CampaignSpec, one: SpeciesSettings) -> PlannedPart:
        alone = spec.system.kind == "molecule"
        labels = _brought(spec.labels.file) if alone else None  # whose order of atoms it takes
        return planned_part(
            "prepare",
            f"molecule {spec.campaign.name if alone else one.written}",
            identity_of(one, spec.sampling),
            spec.campaign.seed,
            files=brought_by(one, teacher_of(one, spec.sampling)[1])
            | ({"labels": labels} if labels else {}),
            not_science=("system.name",),
        )

    def _chunks(self, spec: CampaignSpec) -> Iterator[PlannedPart]:
        settings = spec.sampling.model_dump(mode="json", exclude={"structures", _FILE})
        alone = spec.system.kind == "molecule"
        counts = chunks_by_molecule(spec.system, spec.sampling)
        for one, made, count in zip(spec.system.molecules(), self.molecules, counts, strict=True):
            own = {} if alone else {"molecule": molecule_id(one)}
            # Which teacher a species has is in the identity of its molecule.
            known = () if alone else ("force_field",)
            for chunk in range(count):
                yield planned_part(
                    "sample",
                    f"teacher chunk {chunk}" + ("" if alone else f" of {one.written}"),
                    settings,
                    spec.campaign.seed,
                    key={"chunk": chunk, **own},
                    inputs={"molecule": [made]},
                    not_science=(*_as_before(spec, "sampling."), *known),
                )

    def _pair_chunks(self, spec: CampaignSpec) -> Iterator[PlannedPart]:
        settings = spec.sampling.model_dump(mode="json", exclude={"structures", _FILE})
        ids = [molecule_id(one) for one in spec.system.molecules()]
        made = dict(zip(ids, self.molecules, strict=True))
        for one, other, count in pair_chunks(spec.system, spec.sampling):
            both = [molecule_id(one), molecule_id(other)]
            for chunk in range(count):
                yield planned_part(
                    "sample",
                    f"teacher chunk {chunk} of {one.written} with {other.written}",
                    settings,
                    spec.campaign.seed,
                    key={"chunk": chunk, "molecules": both},
                    inputs={"molecule": [made[which] for which in both]},
                    not_science=(*_as_before(spec, "sampling."), "force_field"),
                    function="apps.sampling.task:sample_pairs",
                )

    def _candidates(self, spec: CampaignSpec) -> PlannedPart:
        settings = spec.sampling.model_dump(
            mode="json", exclude={"structures", "chunk_structures", _FILE}
        )
        return planned_part(
            "candidates",
            "thermal candidates",
            {
                **settings,
                "count": spec.labels.candidates,
                "temperatures_K": list(spec.labels.temperatures_K),
            },
            spec.campaign.seed,
            key={"candidates": True},
            inputs={"molecule": [self.molecule]},
            not_science=_as_before(spec, "sampling."),
        )

    def _order(self, spec: CampaignSpec) -> PlannedPart:
        return planned_part(
            "select",
            f"selection, {spec.labels.select}",
            {"select": spec.labels.select},
            spec.campaign.seed,
            inputs={"candidates": [self.candidates]},
        )

    def pretraining_of(self, seed: int) -> PlannedPart:
        """Pre-training that the models of a fine-tuning seed start from."""
        return self.pretrainings[seed % len(self.pretrainings)]

    def used_pretrainings(self, spec: CampaignSpec) -> list[PlannedPart]:
        """Those that a model starts from, each once."""
        used = {self.pretraining_of(seed).fingerprint for seed in spec.finetuning.seeds}
        return [part for part in self.pretrainings if part.fingerprint in used]

    def _pretrain(self, spec: CampaignSpec, seed: int) -> PlannedPart:
        return planned_part(
            "pretrain",
            "pre-training" + (f", seed {seed}" if len(spec.pretraining.seeds) > 1 else ""),
            {
                "potential": spec.potential.model_dump(mode="json"),
                "pretraining": spec.pretraining.model_dump(mode="json", exclude={"seeds"}),
            },
            spec.campaign.seed,
            key={"seed": seed} if seed else {},
            inputs={"teacher": self.chunks, "molecule": self.molecules},
            files=_start(spec),
            not_science=(
                *(f"pretraining.{key}" for key in _TRAINING_RESOURCES),
                "potential.start_from",
                *_as_before(spec),
            ),
            cores=spec.pretraining.ranks,
        )


def _labels(spec: CampaignSpec, teach: _Teaching) -> tuple[PlannedPart, list[PlannedPart]]:
    """Labels, computed or imported, and the test labels where there is a file of them."""
    labels, seed = spec.labels, spec.campaign.seed
    if not labels.computed:
        found = [
            planned_part(
                stage,
                f"imported {role}",
                {},
                seed,
                key={"role": role},
                inputs={"molecule": [teach.molecule]},
                files={"labels": brought},
                function="apps.labeling.task:import_labels",
            )
            for stage, role, path in (
                ("label", "labels", labels.file),
                ("test", "test", labels.test_file),
            )
            if (brought := _brought(path)) is not None
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


def _split(
    spec: CampaignSpec, pool: int, label: PlannedPart, tests: list[PlannedPart]
) -> PlannedPart:
    return planned_part(
        "split",
        f"split of {pool} labels",
        {"pool": pool, "test_count": 0 if tests else spec.labels.test_count},
        spec.campaign.seed,
        key={"labels": pool},
        inputs={"labels": [label]},
    )


def _starts(
    spec: CampaignSpec,
    teach: _Teaching,
    label: PlannedPart,
    tests: list[PlannedPart],
    splits: dict[int, PlannedPart],
) -> PlannedPart:
    """Held-out structures: test labels where there is a file, else candidates never labelled."""
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
    )


_WHICH_MODELS = {"arms", "pools", "seeds", "scratch_long_pools"}


def _finetunes(
    spec: CampaignSpec,
    teach: _Teaching,
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
                inputs = {"labels": [label], "split": [splits[pool]], "molecule": [teach.molecule]}
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
                    files={} if arm == "pretrained" else _start(spec),
                    not_science=(
                        *(f"finetuning.{key}" for key in _TRAINING_RESOURCES),
                        "potential.start_from",
                        *_as_before(spec),
                    ),
                )


def _probes(
    spec: CampaignSpec, teach: _Teaching, starts: PlannedPart, models: list[PlannedPart]
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
    teach: _Teaching,
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
                not_science=tuple(f"dynamics.{key}" for key in _TRAINING_RESOURCES),
            )


def _simulations(
    spec: CampaignSpec,
    teach: _Teaching,
    label: PlannedPart,
    smallest: PlannedPart,
    starts: PlannedPart,
    model: PlannedPart,
) -> Iterator[PlannedPart]:
    dynamics = spec.dynamics
    settings = dynamics.model_dump(mode="json", exclude={"temperatures_K", "replicas"})
    blocks = -(-dynamics.replicas // dynamics.block_replicas)
    for temperature in dynamics.temperatures_K:
        for block in range(blocks):
            size = min(dynamics.block_replicas, dynamics.replicas - block * dynamics.block_replicas)
            yield planned_part(
                "simulate",
                f"{model.label}, {temperature:g} K, block {block}",
                {"dynamics": settings, "replicas_in_block": size},
                spec.campaign.seed,
                key={**model.key, "temperature_K": temperature, "block": block},
                inputs={
                    "model": [model],
                    "starts": [starts],
                    "split": [smallest],
                    "labels": [label],
                    "molecule": [teach.molecule],
                },
                not_science=tuple(f"dynamics.{key}" for key in _TRAINING_RESOURCES),
            )
