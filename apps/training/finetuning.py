"""Fine-tuning, and its control: the same labels, seeds, steps and settings without a teacher.

For each learning rate of the declared grid the model is trained anew; the one of least validation
force error is kept, and only then looked at on the test set. Failures of dynamics play no part in
any choice.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.contract import Request, Result
from apps.potential.protocol import Potential
from apps.potential.settings import PotentialSettings
from apps.potential.starting import starting_potential
from apps.potential.weights import load_potential, save_bytes
from apps.training.accuracy import Accuracy, accuracy, predict
from apps.training.distributed import World
from apps.training.labelled_boxes import labelled_set
from apps.training.labelled_set import LabelledSet
from apps.training.loop import Training, TrainingOutcome, train
from apps.training.loss import LossWeights
from apps.training.refit import Refit, force_rms, refit
from apps.training.settings import FinetuningSettings
from data_store.columns import Column
from data_store.parts import Part, write_part
from data_store.streams import stream_seed
from data_store.structure_parts import read_structures
from data_store.work import load_item, save_item

__all__ = ["run_finetuning"]

_PARITY_POINTS = 20_000
"""Most force components that are kept for a parity plot."""


@dataclass(frozen=True)
class _Sets:
    train: LabelledSet
    validation: LabelledSet
    test: LabelledSet | None


@dataclass(frozen=True)
class _Candidate:
    """A finished entry of the grid."""

    learning_rate: float
    score: float
    best_step: int
    model: bytes
    metrics: list[dict[str, float]]
    fitted: dict[str, object]
    evaluation: str


def run_finetuning(req: Request, world: World, should_stop: Callable[[], bool]) -> Result:
    """Fine-tune one model of one arm, pool and seed."""
    settings = FinetuningSettings.model_validate(req.settings["finetuning"])
    sets = _sets(req, world)
    found: list[_Candidate] = []
    for rate in settings.learning_rates:
        candidate = _kept(req, rate) or _trained(req, settings, rate, sets, world, should_stop)
        if candidate is None:
            return Result("continue", counts={"grid_entries_done": float(len(found))})
        found.append(candidate)
    best = min(found, key=lambda candidate: candidate.score)
    part = _write(req, found, best, sets)
    compiled = sum(candidate.evaluation == "compiled" for candidate in found)
    counts = {"grid_entries": float(len(found)), "compiled": float(compiled)}
    return Result.done(part, counts, best.evaluation)


def _sets(req: Request, world: World) -> _Sets:
    (labels,), (split,) = req.input_parts("labels"), req.input_parts("split")
    cutoff_A = PotentialSettings.model_validate(req.settings["potential"]).cutoff_A
    labelled = labelled_set(read_structures(labels), world.device, cutoff_A)
    train_set, validation = (labelled.take(split.read(n, "")) for n in ("train", "validation"))
    tests = [
        labelled_set(read_structures(part), world.device, cutoff_A)
        for part in req.input_parts("test")
    ]
    held_out = split.read("test", "")
    if not tests and len(held_out):
        tests = [labelled.take(held_out)]
    return _Sets(train_set, validation, tests[0] if tests else None)


def _start(
    req: Request, settings: FinetuningSettings, sets: _Sets, world: World
) -> tuple[Potential, Refit]:
    """The model before its first step: handed over from the teacher, or given, or fresh."""
    checkpoints = req.input_parts("checkpoint")
    given = req.files.get("start")
    if checkpoints:
        potential = load_potential(checkpoints[0].file("model.safetensors"))
        potential.check_species(sets.train.numbers.cpu())
    else:
        chosen = PotentialSettings.model_validate(req.settings["potential"])
        species = _species(req, sets.train)
        seed = stream_seed(req.seed, "finetune", "weights", req.key["labels"], req.key["seed"])
        potential = starting_potential(chosen, species, seed, given)
    potential = potential.to(world.device)
    if not checkpoints and given is None:
        return potential, refit(potential, sets.train, force_rms(sets.train))
    scale_to = float(potential.scale) if settings.keep_scale else None
    return potential, refit(potential, sets.train, scale_to)


def _species(req: Request, train_set: LabelledSet) -> list[int]:
    """Elements of the training labels and of all molecules: of a mixture a pool may lack one."""
    found = {int(z) for z in train_set.numbers.unique() if z > 0}
    for prepared in req.input_parts("molecule"):
        found |= {int(z) for z in prepared.metadata["molecule"]["numbers"]}
    return sorted(found)


def _training(req: Request, settings: FinetuningSettings, rate: float, count: int) -> Training:
    return Training(
        steps=settings.steps + int(req.settings["pretraining_steps"]),
        batch_size=min(settings.batch_size, count),
        learning_rate=rate,
        warmup_steps=settings.warmup_steps,
        final_lr_fraction=settings.final_lr_fraction,
        weight_decay=settings.weight_decay,
        clip_norm=settings.clip_norm,
        ema_decay=settings.ema_decay,
        weights=LossWeights.of(settings),
        validate_every=settings.validate_every,
        keep_best=True,
        # The arm is not in the path: the same seed sees the same batches in every arm.
        seed=stream_seed(req.seed, "finetune", "batches", req.key["labels"], req.key["seed"]),
    )


def _trained(
    req: Request,
    settings: FinetuningSettings,
    rate: float,
    sets: _Sets,
    world: World,
    should_stop: Callable[[], bool],
) -> _Candidate | None:
    """Train one entry of the grid; None where it was stopped, to go on from its checkpoint."""
    potential, fitted = _start(req, settings, sets, world)
    outcome = train(
        potential, _training(req, settings, rate, len(sets.train)), sets.train, sets.validation,
        world, (req.work_dir, f"checkpoint-{rate:g}"), settings.checkpoint_every_s, should_stop,
    )  # fmt: skip
    if not outcome.finished:
        return None
    candidate = _candidate(rate, potential, outcome, fitted)
    arrays = {"model": np.frombuffer(candidate.model, dtype=np.uint8)}
    details = {
        "score": candidate.score,
        "best_step": candidate.best_step,
        "metrics": candidate.metrics,
        "fitted": candidate.fitted,
        "evaluation": candidate.evaluation,
    }
    save_item(req.work_dir, f"candidate-{rate:g}", arrays, details)
    return candidate


def _candidate(
    rate: float, potential: Potential, outcome: TrainingOutcome, fitted: Refit
) -> _Candidate:
    return _Candidate(
        rate,
        outcome.validation_force_mae_eV_per_A,
        outcome.best_step,
        save_bytes(potential),
        outcome.metrics,
        fitted.to_json(),
        str(outcome.evaluation),
    )


def _kept(req: Request, rate: float) -> _Candidate | None:
    """An entry of the grid that an earlier attempt finished."""
    found = load_item(req.work_dir, f"candidate-{rate:g}")
    if found is None:
        return None
    arrays, details = found
    # Candidates older than the key were evaluated as defined.
    details = {"evaluation": "as defined", **details}
    return _Candidate(rate, model=arrays["model"].tobytes(), **details)


def _write(req: Request, grid: list[_Candidate], best: _Candidate, sets: _Sets) -> Part:
    potential = load_potential(best.model).to(sets.train.energies.device)
    tested = accuracy(potential, sets.test) if sets.test is not None else None
    metadata: dict[str, Any] = {
        **req.key,
        "learning_rate": best.learning_rate,
        "best_step": best.best_step,
        "refit": best.fitted,
        "compiled": best.evaluation == "compiled",
        "grid": [
            {"learning_rate": c.learning_rate, "validation_force_mae_eV_per_A": c.score}
            for c in grid
        ],
        "validation": accuracy(potential, sets.validation).to_json(),
        "test": Accuracy.to_json(tested) if tested else None,
        "train_structures": len(sets.train),
        "validation_structures": len(sets.validation),
    }
    rows = [{"learning_rate": c.learning_rate, **row} for c in grid for row in c.metrics]
    return write_part(
        Path(req.parts_root), req.stage, req.fingerprint, _parity(potential, sets.test), metadata,
        files={"model.safetensors": best.model},
        attachments={"metrics.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode()},
    )  # fmt: skip


def _parity(potential: Potential, test: LabelledSet | None) -> dict[str, Column]:
    """Labels against predictions on the test set: force components and energies."""
    if test is None:
        return {}
    energies, forces = predict(potential, test)
    real = test.numbers > 0
    label, predicted = test.forces[real].cpu().numpy(), forces[real].cpu().numpy()
    return {
        "test_force_label": Column(_thinned(label), "eV/Å"),
        "test_force_predicted": Column(_thinned(predicted), "eV/Å"),
        "test_energy_label": Column(test.energies.cpu().numpy(), "eV"),
        "test_energy_predicted": Column(energies.cpu().numpy(), "eV"),
    }


def _thinned(components: NDArray[np.float32]) -> NDArray[np.float32]:
    flat = components.reshape(-1)
    return flat[:: max(1, -(-len(flat) // _PARITY_POINTS))].astype(np.float32)
