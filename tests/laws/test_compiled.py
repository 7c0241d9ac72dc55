"""What is compiled gives what the potential gives: energies, forces, gradients of the loss.

Atoms are scattered at random: close contacts, far pairs and pairs beyond the cutoff are among them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from apps.dynamics import forces as dynamics_forces
from apps.dynamics.forces import compiled_force_function, force_function_for
from apps.potential.compiled import compare, repays, rows_of_chunk
from apps.potential.evaluate import ForceFunction, molecular_force_function
from apps.potential.protocol import Potential
from apps.potential.registry import make_potential
from apps.training import gradient as training_gradient
from apps.training.flat_model import FlatModel
from apps.training.gradient import Prices, compiled_gradient, gradient_for, plain_gradient
from apps.training.loss import LossWeights
from tests.laws.training_toys import toy_potential, toy_set

CPU = torch.device("cpu")
NUMBERS = torch.tensor([8, 1, 1, 6, 1])
WEIGHTS = LossWeights(1.0, 0.2, 5.0, None)


def some_potential(seed: int) -> Potential:
    """Potential on top of a prior, with a scale and a shift of its own."""
    potential = make_potential("painn", "small", [1, 6, 8], 4.0, seed, "zbl")
    potential.scale.fill_(0.5 + seed)
    potential.shift_eV[[1, 6, 8]] = torch.tensor([-13.0, -1030.0, -2040.0], dtype=torch.float64)
    return potential


def scattered(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 5.0 * torch.rand(count, len(NUMBERS), 3, generator=generator, dtype=torch.float64)


def largest_difference(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> float:
    """Largest difference, relative to the largest entry of each."""
    return max(
        float((ours - theirs).abs().max() / theirs.abs().max())
        for ours, theirs in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("native", [False, True], ids=["dense", "native"])
def test_compiled_energies_and_forces_are_those_of_the_potential(native: bool) -> None:
    dynamics_forces._graph.cache_clear()
    for seed in (0, 1):  # the second model of an architecture uses the graph of the first
        potential = some_potential(seed)
        compiled = compiled_force_function(potential, NUMBERS, 12, native=native)
        plain = molecular_force_function(potential, NUMBERS)
        x = scattered(12, seed)
        assert largest_difference(compiled(x), plain(x)) < 2e-6
        left = [1, 5, 6, 9, 11]  # others have left the batch
        assert torch.equal(compiled(x)[1][left], compiled(x[left])[1])
    assert dynamics_forces._graph.cache_info().misses == 1


@pytest.mark.parametrize("count", [7, 16])
def test_compiled_gradients_are_those_of_the_loss(count: int) -> None:
    labelled = toy_set(count)
    potential = toy_potential(labelled)
    prices = Prices(1.0 / 48, 0.2 / 16)
    found = []
    for add in (compiled_gradient(potential, WEIGHTS, 16), plain_gradient(WEIGHTS)):
        model = FlatModel(potential)
        sums = add(model, labelled, prices)
        found.append((*sums, model.gradient.clone()))
    assert largest_difference(found[0], found[1]) < 1e-5
    assert training_gradient._graph.cache_info().misses == 1


def test_chunks_are_few_and_even() -> None:
    assert rows_of_chunk(32, 21, CPU) == 8
    assert rows_of_chunk(16, 21, CPU) == 8
    assert rows_of_chunk(20, 21, CPU) == 7  # three of 7, 7 and 6, not 8, 8 and 4
    assert rows_of_chunk(5, 21, CPU) == 5
    assert rows_of_chunk(4, 1000, CPU) == 1
    assert rows_of_chunk(32, 21, CPU, times=2) == 16
    assert rows_of_chunk(4096, 21, torch.device("cuda")) == 2048
    for count in range(1, 60):
        rows = rows_of_chunk(count, 21, CPU)
        assert rows <= 8
        assert -count % rows < -(-count // rows)


def test_work_that_cannot_or_need_not_be_compiled_is_done_as_defined_and_says_why() -> None:
    potential = some_potential(0)
    assert "short" in repays(potential, CPU, 1e3).why_not
    assert repays(potential, CPU, 1e9).compiled
    assert "short" in repays(potential, torch.device("cuda"), 1e6).why_not
    assert repays(potential, torch.device("cuda"), 1e9).compiled
    assert "meta" in repays(potential, torch.device("meta"), 1e9).why_not
    potential.traceable = False
    assert "not traceable" in repays(potential, CPU, 1e9).why_not


def test_a_graph_that_is_not_the_potential_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object, **__: object) -> object:
        plain = molecular_force_function(some_potential(0), NUMBERS)
        return lambda x: (plain(x)[0], 1.001 * plain(x)[1])

    monkeypatch.setattr(dynamics_forces, "compiled_force_function", wrong)
    found, evaluation = force_function_for(some_potential(0), NUMBERS, 32, 100_000)
    assert not evaluation.compiled
    assert "differs by" in evaluation.why_not
    x = scattered(3)
    expected = molecular_force_function(some_potential(0), NUMBERS)(x)
    assert torch.equal(found(x)[1], expected[1])
    with pytest.raises(RuntimeError, match="differs"):
        compare((torch.tensor([float("nan")]),), (torch.tensor([1.0]),))


def test_without_sums_in_cpp_all_pairs_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_dense(*given: Any, native: bool) -> ForceFunction:
        if native:
            raise RuntimeError("the cache is not writable")
        potential, numbers, _ = given
        return molecular_force_function(potential, numbers)

    monkeypatch.setattr(dynamics_forces, "suits_native", lambda _: True)
    monkeypatch.setattr(dynamics_forces, "compiled_force_function", only_dense)
    _, evaluation = force_function_for(some_potential(0), NUMBERS, 32, 100_000)
    assert str(evaluation) == "compiled"


def test_training_falls_back_where_nothing_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_compiler(*_: object) -> object:
        raise RuntimeError("no C++ compiler\nand much more")

    monkeypatch.setattr(training_gradient, "compiled", without_compiler)
    training_gradient._graph.cache_clear()
    labelled = toy_set(8)
    model = FlatModel(toy_potential(labelled))
    add, evaluation = gradient_for(model, WEIGHTS, labelled, 8, 10**6)
    training_gradient._graph.cache_clear()
    assert str(evaluation) == "as defined (no C++ compiler)"
    sums = add(model, labelled, Prices(1.0, 1.0))
    assert np.isfinite([float(s) for s in sums]).all()
