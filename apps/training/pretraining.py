"""Pre-training: a potential, fresh or given, learns the teacher's energies and forces.

Runs on every rank alike; rank 0 alone writes. The last of a seeded order of the structures are held
out to validate on. Where labels are scrambled as a negative control, theirs are not: scrambled ones
would be missed as widely by a model that knows the physics as by one that knows nothing. Nothing is
chosen by them, the last average of weights is kept. Structures of which memory cannot hold all
(`pretraining.data_memory_MB`) stay on disk; batches are the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apps.contract import Request, Result
from apps.potential.protocol import Potential
from apps.potential.settings import PotentialSettings
from apps.potential.starting import starting_potential
from apps.potential.weights import save_bytes
from apps.training.accuracy import accuracy
from apps.training.distributed import World
from apps.training.labelled_set import LabelledSet
from apps.training.loop import Training, TrainingOutcome, train
from apps.training.loss import LossWeights
from apps.training.refit import (
    Refit,
    force_rms,
    force_rms_of_blocks,
    refit,
    refit_in_blocks,
)
from apps.training.scramble import scrambled
from apps.training.settings import PretrainingSettings
from apps.training.streamed_set import StreamedSet, bytes_of_structure
from data_store.datasets import Dataset
from data_store.errors import InputError
from data_store.parts import Part, write_part
from data_store.splits import teacher_holdout
from data_store.streams import stream_seed

__all__ = ["run_pretraining"]

_COPIES = 3
"""How often structures are in memory while a set that memory holds is made."""


class _Sets(NamedTuple):
    """What is trained on; what is held out; how many labels belong to another structure."""

    train: LabelledSet | StreamedSet
    held_out: LabelledSet
    scrambled: int


def run_pretraining(req: Request, world: World, should_stop: Callable[[], bool]) -> Result | None:
    """Pre-train; the result on rank 0, None on the others.

    Raises
    ------
    InputError
        If there are too few structures, none whose labels can be scrambled though they should be,
        or more ranks than structures in a batch.
    """
    settings = PretrainingSettings.model_validate(req.settings["pretraining"])
    if world.size > settings.batch_size:
        raise InputError(
            f"{world.size} ranks share batches of {settings.batch_size}",
            "each rank needs a structure: raise pretraining.batch_size or lower ranks",
        )
    sets = _sets(req, settings, world)
    with sets.train if isinstance(sets.train, StreamedSet) else nullcontext():
        potential, fitted = _starting_potential(req, sets.train, world)
        outcome = train(
            potential, _training(settings, _seed(req, "batches")), sets.train, sets.held_out,
            world, (req.work_dir, "checkpoint"), settings.checkpoint_every_s, should_stop,
        )  # fmt: skip
    if world.rank > 0:
        return None
    counts = {
        "world_size": float(world.size),
        "structures": float(len(sets.train)),
        "structures_per_s": outcome.structures_per_s,
        "compiled": float(outcome.evaluation.compiled),
        "streamed": float(isinstance(sets.train, StreamedSet)),
    } | ({"scrambled_labels": float(sets.scrambled)} if sets.scrambled else {})
    if not outcome.finished:
        return Result("continue", counts=counts)
    part = _write(req, potential, outcome, fitted, sets, world)
    return Result.done(part, counts, str(outcome.evaluation))


def _seed(req: Request, stream: str) -> int:
    """Seed of one of its streams; that of number 0 carries no number."""
    number = int(req.key.get("seed", 0))
    return stream_seed(req.seed, "pretrain", stream, *([number] if number else []))


def _sets(req: Request, settings: PretrainingSettings, world: World) -> _Sets:
    dataset = Dataset(req.input_parts("teacher"))
    if len(dataset) <= settings.held_out:
        raise InputError(
            f"{len(dataset)} teacher structures, of which {settings.held_out} are to be held out",
            "raise sampling.structures or lower pretraining.held_out",
        )
    trained_on, kept = teacher_holdout(len(dataset), settings.held_out, req.seed)
    memory_bytes = 1e6 * settings.data_memory_MB
    needed = _COPIES * len(dataset) * bytes_of_structure(dataset.most_atoms())
    if needed > memory_bytes:
        return _streamed(dataset, trained_on, kept, settings, needed, world)
    everything = LabelledSet.of(dataset.cached(), world.device)
    training_set, held_out = everything.take(trained_on), everything.take(kept)
    if not settings.scramble_labels:
        return _Sets(training_set, held_out, 0)
    others, alone = scrambled(training_set, stream_seed(req.seed, "pretrain", "scramble"))
    if alone == len(others):
        raise InputError(
            f"no labels to scramble: each of {alone} structures is the only one of its atoms",
            "set pretraining.scramble_labels to false, or sample more structures of a molecule",
        )
    return _Sets(others, held_out, len(others) - alone)


def _streamed(
    dataset: Dataset,
    trained_on: NDArray[np.int64],
    kept: NDArray[np.int64],
    settings: PretrainingSettings,
    needed_bytes: float,
    world: World,
) -> _Sets:
    """Sets of which those to train on stay on disk."""
    if settings.scramble_labels:
        raise InputError(
            f"scrambled labels of {len(dataset)} structures need some {needed_bytes / 1e6:,.0f} MB",
            "a ring of labels runs through all of them: raise pretraining.data_memory_MB",
        )
    memory_bytes = 1e6 * settings.data_memory_MB
    streamed = StreamedSet(dataset, trained_on, settings.steps, memory_bytes, world.device)
    held_out = LabelledSet.of(dataset.take(kept), world.device, streamed.padded_atoms)
    return _Sets(streamed, held_out, 0)


def _starting_potential(
    req: Request, training_set: LabelledSet | StreamedSet, world: World
) -> tuple[Potential, Refit]:
    chosen = PotentialSettings.model_validate(req.settings["potential"])
    given = req.files.get("start")
    blocks = [training_set] if isinstance(training_set, LabelledSet) else training_set.blocks()
    found = {int(z) for block in blocks for z in block.numbers.unique()}
    species = sorted(found - {0})
    potential = starting_potential(chosen, species, _seed(req, "weights"), given).to(world.device)
    if isinstance(training_set, LabelledSet):
        scale_to = None if given else force_rms(training_set)
        return potential, refit(potential, training_set, scale_to)
    scale_to = None if given else force_rms_of_blocks(training_set.blocks())
    return potential, refit_in_blocks(potential, training_set.blocks, scale_to)


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
        seed=seed,
    )


def _write(
    req: Request,
    potential: Potential,
    outcome: TrainingOutcome,
    fitted: Refit,
    sets: _Sets,
    world: World,
) -> Part:
    metadata: dict[str, Any] = {
        "world_size": world.size,
        "steps": outcome.best_step,
        "structures": len(sets.train),
        "held_out": accuracy(potential, sets.held_out).to_json(),
        "refit": fitted.to_json(),
        "compiled": outcome.evaluation.compiled,
        "parameters": sum(p.numel() for p in potential.parameters()),
    }
    if sets.scrambled:
        metadata["scrambled"] = _control(sets)
    metrics = "".join(json.dumps(row) + "\n" for row in outcome.metrics)
    return write_part(
        Path(req.parts_root), req.stage, req.fingerprint, {}, metadata,
        files={"model.safetensors": save_bytes(potential)},
        attachments={"metrics.jsonl": metrics.encode()},
    )  # fmt: skip


def _control(sets: _Sets) -> dict[str, float]:
    """What was scrambled, and the error of predicting no forces, which nothing learned comes to."""
    forces = sets.held_out.forces[sets.held_out.numbers > 0]
    return {
        "labels": sets.scrambled,
        "own_labels": len(sets.train) - sets.scrambled,
        "held_out_force_mean_abs_eV_per_A": float(forces.abs().mean()),
    }
