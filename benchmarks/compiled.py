"""Compiled against as defined: energies and forces, and a training step's gradient.

Usage, from the root of the repository, on one thread::

    OMP_NUM_THREADS=1 python -m benchmarks.compiled

Aspirin, PaiNN `small` with fresh weights, 32 replicas (as a block of dynamics has) and batches of
32 and 4 (pre-training, fine-tuning). The two ways are timed in turn in one process, so that what
else the machine does falls on both; ratios are taken pair by pair. Processor time, not wall time:
what others take of the core does not count, what they take of its caches does.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import numpy as np
import torch

from apps.dynamics.forces import compiled_force_function, suits_native
from apps.potential.evaluate import molecular_force_function
from apps.potential.registry import make_potential
from apps.training.flat_model import FlatModel
from apps.training.gradient import AddGradient, Prices, compiled_gradient, plain_gradient
from apps.training.labelled_set import LabelledSet
from benchmarks.aspirin import NUMBERS, shaken
from benchmarks.workloads import LOSS, processor_s

_ROUNDS = 60


def main() -> None:
    torch.set_num_threads(1)
    numbers, positions = torch.tensor(NUMBERS), shaken(32)
    potential = make_potential("painn", "small", [1, 6, 8], 5.0, seed=0)
    plain = molecular_force_function(potential, numbers)
    fast = compiled_force_function(potential, numbers, 32, native=suits_native(potential))
    _compare(
        "energies and forces, 32 replicas", 32, lambda: plain(positions), lambda: fast(positions)
    )
    everything = LabelledSet(
        numbers.repeat(32, 1),
        positions.float(),
        torch.randn(positions.shape),
        torch.randn(32).double(),
    )
    for batch in (32, 4):
        chosen, model = everything.take(torch.arange(batch)), FlatModel(potential)
        ways = (plain_gradient(LOSS), compiled_gradient(potential, LOSS, batch))
        _compare(f"gradient, batch of {batch}", batch, *(_step(way, model, chosen) for way in ways))


def _step(way: AddGradient, model: FlatModel, chosen: LabelledSet) -> Callable[[], object]:
    return lambda: way(model, chosen, Prices(0.01, 0.01))


def _compare(what: str, structures: int, *ways: Callable[[], object]) -> None:
    for way in ways:
        for _ in range(3):
            way()
    times = np.array([[processor_s(way) for way in ways] for _ in range(_ROUNDS)])
    rates, ratios = structures / times, times[:, 0] / times[:, 1]
    low, high = np.percentile(ratios, [10, 90])
    print(
        f"{what}: as defined {statistics.median(rates[:, 0]):.0f}/s, compiled "
        f"{statistics.median(rates[:, 1]):.0f}/s; ratio {statistics.median(ratios):.2f} "
        f"(10 to 90 %: {low:.2f} to {high:.2f})"
    )


if __name__ == "__main__":
    main()
