"""Pre-training: a fresh potential learns the teacher's energies and forces.

Runs on every rank alike; rank 0 alone writes. The last of a seeded order of the structures are held
out to validate on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apps.contract import Request, Result
from apps.potential.protocol import Potential
from apps.potential.registry import make_potential
from apps.potential.settings import PotentialSettings
from apps.potential.weights import save_bytes
from apps.training.accuracy import accuracy
from apps.training.distributed import World
from apps.training.labelled_set import LabelledSet
from apps.training.loop import Training, TrainingOutcome, train
from apps.training.loss import LossWeights
from apps.training.refit import Refit, force_rms, refit
from apps.training.settings import PretrainingSettings
from data_store.datasets import Dataset
from data_store.errors import InputError
from data_store.parts import Part, write_part
from data_store.splits import teacher_holdout
from data_store.streams import stream_seed

__all__ = ["run_pretraining"]


def run_pretraining(req: Request, world: World, should_stop: Callable[[], bool]) -> Result | None:
    """Pre-train; the result on rank 0, None on the others.

    Raises
    ------
    InputError
        If there are too few structures, or more ranks than structures in a batch.
    """
    settings = PretrainingSettings.model_validate(req.settings["pretraining"])
    if world.size > settings.batch_size:
        raise InputError(
            f"{world.size} ranks share batches of {settings.batch_size}",
            "each rank needs a structure: raise pretraining.batch_size or lower ranks",
        )
    training_set, held_out = _sets(req, settings, world)
    potential, fitted = _fresh_potential(req, training_set, world)
    outcome = train(
        potential, _training(settings, req.seed), training_set, held_out, world,
        (req.work_dir, "checkpoint"), settings.checkpoint_every_s, should_stop,
    )  # fmt: skip
    if world.rank > 0:
        return None
    counts = {
        "world_size": float(world.size),
        "structures": float(len(training_set)),
        "structures_per_s": outcome.structures_per_s,
    }
    if not outcome.finished:
        return Result("continue", counts=counts)
    part = _write(req, potential, outcome, fitted, held_out, world, len(training_set))
    return Result.done(part, counts)


def _sets(
    req: Request, settings: PretrainingSettings, world: World
) -> tuple[LabelledSet, LabelledSet]:
    """Training and held-out structures."""
    dataset = Dataset(req.input_parts("teacher"))
    if len(dataset) <= settings.held_out:
        raise InputError(
            f"{len(dataset)} teacher structures, of which {settings.held_out} are to be held out",
            "raise sampling.structures or lower pretraining.held_out",
        )
    trained_on, held_out = teacher_holdout(len(dataset), settings.held_out, req.seed)
    everything = LabelledSet.of(dataset.cached(), world.device)
    return everything.take(trained_on), everything.take(held_out)


def _fresh_potential(
    req: Request, training_set: LabelledSet, world: World
) -> tuple[Potential, Refit]:
    chosen = PotentialSettings.model_validate(req.settings["potential"])
    species = [int(z) for z in training_set.numbers.unique() if z > 0]
    potential = make_potential(
        chosen.architecture, chosen.size, species, chosen.cutoff_A,
        stream_seed(req.seed, "pretrain", "weights"),
    ).to(world.device)  # fmt: skip
    return potential, refit(potential, training_set, force_rms(training_set))


def _training(settings: PretrainingSettings, seed: int) -> Training:
    return Training(
        steps=settings.steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        final_lr_fraction=settings.final_lr_fraction,
        weight_decay=settings.weight_decay,
        clip_norm=settings.clip_norm,
        ema_decay=settings.ema_decay,
        weights=LossWeights.of(settings),
        validate_every=settings.validate_every,
        keep_best=False,
        seed=stream_seed(seed, "pretrain", "batches"),
    )


def _write(
    req: Request,
    potential: Potential,
    outcome: TrainingOutcome,
    fitted: Refit,
    held_out: LabelledSet,
    world: World,
    structures: int,
) -> Part:
    metadata: dict[str, Any] = {
        "world_size": world.size,
        "steps": outcome.best_step,
        "structures": structures,
        "held_out": accuracy(potential, held_out).to_json(),
        "refit": fitted.to_json(),
        "parameters": sum(p.numel() for p in potential.parameters()),
    }
    metrics = "".join(json.dumps(row) + "\n" for row in outcome.metrics)
    return write_part(
        Path(req.parts_root), req.stage, req.fingerprint, {}, metadata,
        files={"model.safetensors": save_bytes(potential)},
        attachments={"metrics.jsonl": metrics.encode()},
    )  # fmt: skip
