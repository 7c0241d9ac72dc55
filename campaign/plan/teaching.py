"""What comes before labels: molecules, teacher structures, order of candidates, pre-training."""

from __future__ import annotations

from collections.abc import Iterator

from apps.sampling.settings import SpeciesSettings
from apps.selection.registry import MODEL_STRATEGIES
from campaign.plan.identities import TRAINING_RESOURCES, as_before, brought, start_file
from campaign.plan.items import PlannedPart, planned_part
from campaign.plan.system import (
    brought_by,
    chunks_by_molecule,
    identity_of,
    molecule_id,
    pair_chunks,
    teacher_of,
)
from campaign.spec.model import CampaignSpec

__all__ = ["Teaching"]

_FILE = "force_field_file"
"""Of the sampling's settings the file is in the identity of the molecule, by its content."""


class Teaching:
    """The molecules, the teachers' structures, the order of candidates and pre-training."""

    def __init__(self, spec: CampaignSpec) -> None:
        self.molecules = [self._molecule(spec, one) for one in spec.system.molecules()]
        self.molecule = self.molecules[0]
        self.chunks = [*self._chunks(spec), *self._pair_chunks(spec)]
        self.candidates = self._candidates(spec)
        self.pretrainings = [self._pretrain(spec, seed) for seed in spec.pretraining.seeds]
        self.order = self._order(spec)

    def _molecule(self, spec: CampaignSpec, one: SpeciesSettings) -> PlannedPart:
        alone = spec.system.kind == "molecule"
        labels = brought(spec.labels.file) if alone else None  # whose order of atoms it takes
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
                    not_science=(*as_before(spec, "sampling."), *known),
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
                    not_science=(*as_before(spec, "sampling."), "force_field"),
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
            not_science=as_before(spec, "sampling."),
        )

    def _order(self, spec: CampaignSpec) -> PlannedPart:
        asked = spec.labels.select in MODEL_STRATEGIES
        models = {"models": self.used_pretrainings(spec)} if asked else {}
        return planned_part(
            "select",
            f"selection, {spec.labels.select}",
            {"select": spec.labels.select},
            spec.campaign.seed,
            inputs={"candidates": [self.candidates], **models},
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
            files=start_file(spec),
            not_science=(
                *(f"pretraining.{key}" for key in TRAINING_RESOURCES),
                "potential.start_from",
                *as_before(spec),
            ),
            cores=spec.pretraining.ranks,
        )
