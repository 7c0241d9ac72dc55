"""A toy to train on: bent molecules with analytic harmonic forces."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from apps.potential.protocol import Potential
from apps.potential.registry import make_potential
from apps.training.accuracy import Accuracy, shared_accuracy
from apps.training.distributed import World
from apps.training.flat_model import FlatModel
from apps.training.gradient import plain_gradient
from apps.training.labelled_set import LabelledSet
from apps.training.loop import Training, _gradient
from apps.training.loss import LossWeights, loss_sums
from apps.training.refit import force_rms, refit
from data_store.streams import stream
from data_store.structures import Structures

NUMBERS = np.array([8, 1, 1])
REST = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
BONDS = ((0, 1), (0, 2), (1, 2))


def toy_structures(count: int, seed: int = 0) -> Structures:
    """Water as three springs of 20 eV/Å²; energies −100 eV at rest."""
    x = REST + 0.1 * stream(seed, "toy").normal(size=(count, 3, 3))
    energies, forces = np.full(count, -100.0), np.zeros_like(x)
    for i, j in BONDS:
        line = x[:, j] - x[:, i]
        length = np.linalg.norm(line, axis=-1)
        change = length - np.linalg.norm(REST[j] - REST[i])
        energies += 10.0 * change**2
        pull = (20.0 * change / length)[:, None] * line
        forces[:, i] += pull
        forces[:, j] -= pull
    return Structures.from_dense(NUMBERS, x, energies=energies, forces=forces)


def toy_set(count: int, seed: int = 0) -> LabelledSet:
    return LabelledSet.of(toy_structures(count, seed), torch.device("cpu"))


def toy_potential(labelled: LabelledSet) -> Potential:
    potential = make_potential("painn", "small", [1, 8], 4.0, seed=1)
    refit(potential, labelled, force_rms(labelled))
    return potential


def toy_training(steps: int = 12, batch_size: int = 7, seed: int = 3) -> Training:
    return Training(
        steps=steps, batch_size=batch_size, learning_rate=2e-3, warmup_steps=3,
        final_lr_fraction=0.1, weight_decay=1e-3, clip_norm=10.0, ema_decay=0.9,
        weights=LossWeights(1.0, 0.2, 5.0, 5.0), validate_every=4, keep_best=True, seed=seed,
    )  # fmt: skip


def toy_gradient(world: World, *, wrong: bool = False) -> Tensor:
    """Gradient of one batch of seven structures; "wrong" averages the ranks' own means."""
    labelled = toy_set(7)
    training = toy_training()
    model = FlatModel(toy_potential(labelled))
    if not wrong:
        add = plain_gradient(training.weights)
        _gradient(model, add, labelled, training, world, lambda: False)
        return model.gradient.clone()
    mine = labelled.take(np.arange(world.rank, 7, world.size))
    force, energy = loss_sums(model.potential, mine, training.weights)
    (force / mine.atoms + 0.2 * energy / len(mine)).backward()
    world.sum_(model.gradient)
    return model.gradient / world.size


def toy_errors(world: World, count: int) -> Accuracy:
    """Errors of a fresh potential on so many structures, each rank looking at its share."""
    return shared_accuracy(toy_potential(toy_set(7)), toy_set(count, 9), world)
