"""What a GPU gives is what a CPU gives: energies, forces, gradients, trajectories, failures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from apps.dynamics.boxes import Box, BoxForces, box_forces_for
from apps.dynamics.criteria import Watched
from apps.dynamics.engine import Block, State, start_block
from apps.dynamics.ensemble import Member, simulate_block, simulate_blocks
from apps.dynamics.forces import compiled_force_function
from apps.dynamics.images import nearest_images
from apps.dynamics.memory import FittingForces
from apps.dynamics.settings import DynamicsSettings
from apps.potential.evaluate import molecular_force_function
from apps.potential.registry import make_potential
from apps.training.flat_model import FlatModel
from apps.training.gradient import Prices, compiled_gradient, plain_gradient
from apps.training.labelled_boxes import labelled_set
from apps.training.labelled_set import LabelledSet
from tests.laws.box_toys import toy_boxes
from tests.laws.dynamics_systems import CHAIN, make_block, repulsive_after
from tests.laws.test_boxes import CELL, water
from tests.laws.test_boxes import NUMBERS as WATERS
from tests.laws.test_compiled import (
    NUMBERS,
    WEIGHTS,
    largest_difference,
    scattered,
    some_potential,
)
from tests.laws.test_metadynamics import TWO, failing_block, hills_of
from tests.laws.training_toys import toy_potential, toy_set

GPU = torch.device("cuda")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def on_gpu(labelled: LabelledSet) -> LabelledSet:
    return LabelledSet(*(tensor.to(GPU) for tensor in vars(labelled).values()))


def test_energies_and_forces_are_those_of_the_cpu() -> None:
    numbers, x = NUMBERS.to(GPU), scattered(12)
    exact = molecular_force_function(some_potential(0).double(), NUMBERS)(x)
    potential = some_potential(0).to(GPU)
    plain = molecular_force_function(potential, numbers)(x.to(GPU))
    fast = compiled_force_function(potential, numbers, 12)
    first = fast(x.to(GPU))
    assert torch.equal(fast(x.to(GPU))[1], first[1]), "one graph, one result"
    for found in (plain, first):
        assert largest_difference(tuple(t.cpu() for t in found), exact) < 5e-6


def test_who_is_in_a_batch_changes_no_bit_of_the_others() -> None:
    fast = compiled_force_function(some_potential(0).to(GPU), NUMBERS.to(GPU), 12)
    x, left = scattered(12).to(GPU), [1, 5, 6, 9, 11]
    assert torch.equal(fast(x)[1][left], fast(x[left])[1])


def test_gradients_are_those_of_the_cpu() -> None:
    labelled, prices = toy_set(16), Prices(1.0 / 48, 0.2 / 16)
    found = []
    for add, device in (
        (plain_gradient(WEIGHTS), torch.device("cpu")),
        (plain_gradient(WEIGHTS), GPU),
        (compiled_gradient(toy_potential(labelled).to(GPU), WEIGHTS, 16), GPU),
    ):
        model = FlatModel(toy_potential(labelled).to(device))
        sums = add(model, on_gpu(labelled) if device == GPU else labelled, prices)
        found.append(tuple(t.cpu() for t in (*sums, model.gradient)))
    for ours in found[1:]:
        assert largest_difference(ours, found[0]) < 1e-4


def test_gradients_on_boxes_are_those_of_the_cpu() -> None:
    labelled = labelled_set(toy_boxes(6), torch.device("cpu"), 4.0)
    prices, found = Prices(1.0 / 144, 0.2 / 6), []
    for device, is_compiled in ((torch.device("cpu"), False), (GPU, False), (GPU, True)):
        model = FlatModel(make_potential("painn", "small", [1, 8], 4.0, seed=1).to(device))
        add = compiled_gradient(model.potential, WEIGHTS, 6) if is_compiled else (
            plain_gradient(WEIGHTS)
        )  # fmt: skip
        sums = add(model, labelled.to(device), prices)
        found.append(tuple(t.cpu() for t in (*sums, model.gradient)))
    for ours in found[1:]:
        assert largest_difference(ours, found[0]) < 1e-4


def test_dynamics_and_failures_are_those_of_the_cpu() -> None:
    here = _breaking()
    there = _there(here)
    ours, theirs = (_ran(block) for block in (here, there))
    assert ours.failures, "nothing failed: nothing was compared"
    assert [(f.replica, f.step, f.cause, f.atoms) for f in ours.failures] == [
        (f.replica, f.step, f.cause, f.atoms) for f in theirs.failures
    ]
    assert torch.equal(ours.alive, theirs.alive.cpu())
    moved = (ours.point.positions - theirs.point.positions.cpu()).abs().max()
    assert float(moved) < 1e-9


def test_blocks_that_share_a_batch_are_as_alone() -> None:
    alike = [replace(_there(_breaking()), seed=seed) for seed in (1, 2, 3)]
    members = [Member(block, _started(block), lambda _: None) for block in alike]
    assert all(simulate_blocks(members, 1e9, lambda: False))
    for member in members:
        alone = _ran(member.block)
        assert [(f.replica, f.step) for f in member.state.failures] == [
            (f.replica, f.step) for f in alone.failures
        ]
        moved = (member.state.point.positions - alone.point.positions).abs().max()
        assert float(moved) < 1e-9


def test_hills_and_bias_are_those_of_the_cpu() -> None:
    here = replace(_breaking(), settings=failing_block(TWO, length_ps=0.1).settings)
    ours, theirs = (hills_of(_ran(block)) for block in (here, _there(here)))
    assert ours.count == theirs.count > 0
    for name in ("table", "centres", "heights"):
        one, other = getattr(ours, name), getattr(theirs, name).cpu()
        torch.testing.assert_close(one, other, atol=1e-8, rtol=1e-6, equal_nan=True)


def test_parts_are_as_large_as_the_cards_memory_allows() -> None:
    """Twenty thousand replicas of 40 MB each, which no card has at once."""

    def forces(x: Tensor) -> tuple[Tensor, Tensor]:
        wide = x.sum((1, 2))[:, None].expand(-1, 5_000_000) + 1.0
        return wide.mean(1), -x

    x = torch.rand(20_000, 4, 3, dtype=torch.float64, device=GPU)
    fitting = FittingForces(forces, GPU)
    for _ in range(2):
        energies, found = fitting(x)
        assert torch.equal(found, -x)
        torch.testing.assert_close(energies, x.sum((1, 2)) + 1.0)
    _, total = torch.cuda.mem_get_info(GPU)
    assert fitting.backed_off <= 1, "the model, not trial and error, finds the size"
    assert fitting.most_at_once * 40e6 > 0.3 * total


def _breaking() -> Block:
    return make_block(
        repulsive_after(60.0), replicas=16, temperature_K=1000.0, length_ps=0.2,
        check_stride_fs=2.0, compact_every_steps=20, stretch_A=0.3, save_stride_ps=0.01,
    )  # fmt: skip


def _there(here: Block) -> Block:
    """The same on the GPU."""
    tensors = {k: v.to(GPU) for k, v in vars(here.watched).items() if isinstance(v, Tensor)}
    return replace(here, watched=Watched(**{**vars(here.watched), **tensors}), device=GPU)


def _started(block: Block) -> State:
    return start_block(block, CHAIN.expand(16, -1, -1).clone())


def _ran(block: Block) -> State:
    state = _started(block)
    simulate_block(block, state, lambda _: None, 1e9, lambda: False)
    return state


@pytest.mark.parametrize("replicas", [3, 40])
def test_forces_in_a_box_are_those_of_the_cpu(replicas: int) -> None:
    """Lists renewed on the device, as a walk goes on; compiled and not."""
    potential = make_potential("painn", "small", [1, 8], 4.0, 3)
    exact = BoxForces(potential.double(), Box(WATERS, CELL), compile=False)
    single = make_potential("painn", "small", [1, 8], 4.0, 3).to(GPU)
    box = Box(WATERS.to(GPU), CELL.to(GPU))
    x = water(replicas)
    fast, evaluation = box_forces_for(single, box, x.to(GPU), 10**9)
    assert evaluation.compiled, evaluation
    plain = BoxForces(single, box, compile=False)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        expected = exact(x)
        for found in (fast(x.to(GPU)), plain(x.to(GPU))):
            assert largest_difference(tuple(t.cpu() for t in found), expected) < 1e-4
        x = x + 0.15 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    assert fast.lists_made > replicas


def springs(x: Tensor) -> tuple[Tensor, Tensor]:
    """Of the bonds of water in nearest images, weak enough that some break their bounds."""
    x = x.detach().requires_grad_(True)
    with torch.enable_grad():
        bonds = BONDS.to(x.device)
        vectors = nearest_images(x[:, bonds[:, 1]] - x[:, bonds[:, 0]], CELL.to(x.device))
        energies = 4.0 * (torch.linalg.vector_norm(vectors, dim=-1) - 0.96).square().sum(-1)
        (gradient,) = torch.autograd.grad(energies.sum(), x)
    return energies.detach(), -gradient


BONDS = torch.tensor([[first, first + n] for first in range(0, 24, 3) for n in (1, 2)])
CRITERIA = ("not_finite", "close_contact", "fused", "bond_out_of_bounds", "pair_too_close")


def springs_in_a_box(device: torch.device) -> Block:
    i, j = torch.triu_indices(24, 24, 1)
    apart = i // 3 != j // 3
    watched = Watched(
        numbers=WATERS, masses_amu=torch.tensor([15.999, 1.008, 1.008] * 8).double(), bonds=BONDS,
        bond_lengths_A=torch.full((16,), 0.96).double(),
        others=torch.stack([i[apart], j[apart]], 1),
        least_distances_A=torch.full((int(apart.sum()),), 0.3).double(), hot_eV=1e9,
        temperature_K=300.0, cell=CELL, molecule_of=torch.arange(8).repeat_interleave(3),
    )  # fmt: skip
    moved: dict[str, Any] = {
        n: v.to(device) if isinstance(v, Tensor) else v for n, v in vars(watched).items()
    }
    settings = DynamicsSettings(
        length_ps=0.1, check_stride_fs=2.5, criteria=CRITERIA, fused_fs=10.0, bond_bounds_fs=5.0,
        bond_bounds_A={"O-H": (0.85, 1.1)}, pair_bounds_A={"O-O": 1.0}, compact_every_steps=20,
    )  # fmt: skip
    return Block(springs, Watched(**moved), settings, 300.0, 5, 24, device)


def dynamics_in_a_box(device: torch.device) -> State:
    block = springs_in_a_box(device)
    state = start_block(block, water(24).to(device))
    assert simulate_block(block, state, lambda _: None, 1e9, lambda: False)
    return state


def test_dynamics_and_failures_in_a_box_are_those_of_the_cpu() -> None:
    """By an analytic force across the boundary, with the criteria of boxes."""
    here, there = dynamics_in_a_box(torch.device("cpu")), dynamics_in_a_box(GPU)
    assert 0 < len(here.failures) < 24
    assert len({failure.cause for failure in here.failures}) > 1
    for ours, theirs in zip(here.failures, there.failures, strict=True):
        assert vars(ours) == {**vars(theirs), "value": pytest.approx(theirs.value, rel=1e-6)}
    for name, steps in here.since.items():
        assert torch.equal(steps, there.since[name].cpu())
