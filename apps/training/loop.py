"""The training loop: read it top to bottom.

A step is: the batch that belongs to it, this rank's share of it, sums of losses and their gradient,
one sum over ranks, a clipped AdamW step, an average of weights. Everything that decides the outcome
is in `_State` and in the step number, so that stopping anywhere and going on gives the same bits.
Files are written by rank 0 alone; a stop that any rank wants is summed with the gradients, so that
all ranks take it at the same step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from apps.potential.compiled import Evaluation
from apps.potential.protocol import Potential
from apps.training.accuracy import shared_accuracy
from apps.training.distributed import World
from apps.training.flat_model import FlatModel
from apps.training.gradient import AddGradient, Prices, gradient_for
from apps.training.labelled_set import LabelledSet, TrainingSet
from apps.training.loss import LossWeights
from apps.training.schedule import learning_rate_at
from data_store.work import load_item, save_item

__all__ = ["Training", "TrainingOutcome", "train"]


@dataclass(frozen=True)
class Training:
    """What one training is.

    Parameters
    ----------
    steps, batch_size : int
    learning_rate : float
    warmup_steps : int
    final_lr_fraction, weight_decay, clip_norm, ema_decay : float
    weights : LossWeights
    validate_every : int
    keep_best : bool
        Keep the averaged weights of least validation force error instead of the last.
    seed : int
        Decides the batches.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int
    final_lr_fraction: float
    weight_decay: float
    clip_norm: float
    ema_decay: float
    weights: LossWeights
    validate_every: int
    keep_best: bool
    seed: int


@dataclass(frozen=True)
class TrainingOutcome:
    """How a training ended.

    Parameters
    ----------
    finished : bool
        False where it was stopped; a checkpoint waits.
    best_step : int
        Step of the weights that were kept; they are in the potential now.
    validation_force_mae_eV_per_A : float
        Of the weights that were kept.
    metrics : list of dict
        One row per validation.
    structures_per_s : float
        Of this sitting, over all ranks.
    evaluation : Evaluation
        How the potential was evaluated.
    """

    finished: bool
    best_step: int
    validation_force_mae_eV_per_A: float
    metrics: list[dict[str, float]]
    structures_per_s: float
    evaluation: Evaluation


@dataclass
class _State:
    """Everything that a checkpoint holds."""

    weights: Tensor
    first_moment: Tensor
    second_moment: Tensor
    average: Tensor
    best: Tensor
    step: int = 0
    best_step: int = 0
    best_score: float = math.inf
    metrics: list[dict[str, float]] = field(default_factory=list)


_LOGGED = ("train_force_loss", "train_energy_loss", "gradient_norm")

_ARRAYS = ("weights", "first_moment", "second_moment", "average", "best")


def train(
    potential: Potential,
    training: Training,
    labelled: TrainingSet,
    validation: LabelledSet,
    world: World,
    checkpoint: tuple[Path, str],
    checkpoint_every_s: float,
    should_stop: Callable[[], bool],
) -> TrainingOutcome:
    """Train a potential in place.

    Parameters
    ----------
    potential : Potential
        Scale and shift are set already and stay.
    training : Training
    labelled : TrainingSet
    validation : LabelledSet
    world : World
    checkpoint : tuple of Path and str
        Folder and key of its checkpoint; where there is one, training goes on from it.
    checkpoint_every_s : float
    should_stop : callable
        Asked each step on each rank.
    """
    model = FlatModel(potential)
    state = _restored(checkpoint, model.weights) or _fresh(model.weights)
    model.weights.data = _into(model.weights.data, state.weights)
    share = -(-training.batch_size // world.size)
    add_gradient, evaluation = gradient_for(
        model, training.weights, labelled, share, training.steps
    )
    world.meet()
    first_step, started, saved = state.step, time.monotonic(), time.monotonic()
    while state.step < training.steps:
        logged, stop = _step(model, add_gradient, state, training, labelled, world, should_stop)
        if state.step % training.validate_every == 0 or state.step == training.steps:
            _validate(model, state, validation, logged, started, world)
        due = time.monotonic() - saved >= checkpoint_every_s
        if world.rank == 0 and (due or stop) and state.step < training.steps:
            _save(checkpoint, state, model.weights)
            saved = time.monotonic()
        if stop and state.step < training.steps:
            break
    kept = state.best if training.keep_best else state.average
    model.weights.data.copy_(kept)
    elapsed = max(time.monotonic() - started, 1e-9)
    return TrainingOutcome(
        finished=state.step == training.steps,
        best_step=state.best_step if training.keep_best else state.step,
        validation_force_mae_eV_per_A=_score_of_kept(state, training),
        metrics=state.metrics,
        structures_per_s=(state.step - first_step) * training.batch_size / elapsed,
        evaluation=evaluation,
    )


def _step(
    model: FlatModel,
    add_gradient: AddGradient,
    state: _State,
    training: Training,
    labelled: TrainingSet,
    world: World,
    should_stop: Callable[[], bool],
) -> tuple[Tensor, bool]:
    """One step, in place: losses and norm of the gradient before it, and whether a rank stops.

    Alone on a GPU it waits for the device once, where the batch's rows are copied there.
    """
    batch = labelled.of_step(state.step, training.batch_size, training.seed)
    losses, stop = _gradient(model, add_gradient, batch, training, world, should_stop)
    norm = _clip(model.gradient, training.clip_norm)
    _adamw(model.weights.data, model.gradient, state, training)
    state.average.lerp_(model.weights.data, 1.0 - _ema_decay(training, state.step))
    state.step += 1
    return torch.cat([losses, norm[None]]), stop


def _score_of_kept(state: _State, training: Training) -> float:
    if training.keep_best or not state.metrics:
        return state.best_score
    return state.metrics[-1]["validation_force_mae_eV_per_A"]


def _fresh(weights: Tensor) -> _State:
    start = weights.detach().clone()
    zeros = torch.zeros_like(start)
    return _State(start, zeros, zeros.clone(), start.clone(), start.clone())


def _into(target: Tensor, source: Tensor) -> Tensor:
    target.copy_(source)
    return target


def _gradient(
    model: FlatModel,
    add_gradient: AddGradient,
    batch: LabelledSet,
    training: Training,
    world: World,
    should_stop: Callable[[], bool],
) -> tuple[Tensor, bool]:
    """Gradient of the loss of the whole batch, summed over ranks into the model."""
    alone = world.size == 1
    mine = batch if alone else batch.take(np.arange(world.rank, len(batch), world.size))
    weights, atoms, structures = training.weights, batch.atoms, len(batch)
    model.gradient.zero_()
    prices = Prices(weights.force / atoms, weights.energy / structures)
    force_sum, energy_sum = add_gradient(model, mine, prices)
    losses = torch.stack([force_sum / atoms, energy_sum / structures])
    if alone:
        return losses, should_stop()
    together = torch.cat([model.gradient, losses, losses.new_full((1,), float(should_stop()))])
    world.sum_(together)
    model.gradient.copy_(together[:-3])
    return together[-3:-1], bool(together[-1] > 0.0)


def _clip(gradient: Tensor, largest: float) -> Tensor:
    """Shorten the gradient to the largest norm allowed; its norm before."""
    norm: Tensor = torch.linalg.vector_norm(gradient)
    gradient.mul_(torch.clamp(largest / (norm + 1e-6), max=1.0))
    return norm


def _adamw(weights: Tensor, gradient: Tensor, state: _State, training: Training) -> None:
    r"""One step of AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101).

    .. math::
        m \leftarrow \beta_1 m + (1-\beta_1) g,\quad v \leftarrow \beta_2 v + (1-\beta_2) g^2,\quad
        w \leftarrow (1 - \eta\lambda) w - \eta\, \hat m / (\sqrt{\hat v} + \epsilon)
    """
    beta1, beta2, epsilon, t = 0.9, 0.999, 1e-8, state.step + 1
    rate = learning_rate_at(
        state.step,
        peak=training.learning_rate,
        steps=training.steps,
        warmup_steps=training.warmup_steps,
        final_fraction=training.final_lr_fraction,
    )
    state.first_moment.lerp_(gradient, 1.0 - beta1)
    state.second_moment.mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
    denominator = (state.second_moment / (1.0 - beta2**t)).sqrt_().add_(epsilon)
    weights.mul_(1.0 - rate * training.weight_decay)
    weights.addcdiv_(state.first_moment, denominator, value=-rate / (1.0 - beta1**t))


def _ema_decay(training: Training, step: int) -> float:
    """Decay that lets an average forget its start early on."""
    return min(training.ema_decay, (1.0 + step) / (10.0 + step))


def _validate(
    model: FlatModel,
    state: _State,
    validation: LabelledSet,
    logged: Tensor,
    started: float,
    world: World,
) -> None:
    with model.using(state.average) as averaged:
        found = shared_accuracy(averaged, validation, world)
    score = found.force_mae_eV_per_A
    if score < state.best_score:
        state.best_score, state.best_step = score, state.step
        state.best = state.average.clone()
    state.metrics.append(
        {
            "step": state.step,
            **dict(zip(_LOGGED, logged.tolist(), strict=True)),
            "validation_force_mae_eV_per_A": score,
            "validation_energy_mae_meV_per_atom": found.energy_mae_meV_per_atom,
            "elapsed_s": round(time.monotonic() - started, 3),
        }
    )


def _save(checkpoint: tuple[Path, str], state: _State, weights: Tensor) -> None:
    folder, key = checkpoint
    state.weights = weights.detach()
    arrays = {name: getattr(state, name).cpu().numpy() for name in _ARRAYS}
    metadata: dict[str, Any] = {
        "step": state.step,
        "best_step": state.best_step,
        "best_score": state.best_score if math.isfinite(state.best_score) else None,
        "metrics": state.metrics,
    }
    save_item(folder, key, arrays, metadata)


def _restored(checkpoint: tuple[Path, str], weights: Tensor) -> _State | None:
    found = load_item(*checkpoint)
    if found is None:
        return None
    arrays, metadata = found
    tensors = {name: torch.from_numpy(arrays[name]).to(weights.device) for name in _ARRAYS}
    score = metadata["best_score"]
    return _State(
        **tensors,
        step=metadata["step"],
        best_step=metadata["best_step"],
        best_score=math.inf if score is None else score,
        metrics=metadata["metrics"],
    )
