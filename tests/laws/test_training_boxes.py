"""Training on periodic labels: the same physics however a box is written, and exact gradients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from apps.dynamics.boxes import Box, BoxForces
from apps.potential.protocol import Potential
from apps.potential.registry import make_potential, potential_names
from apps.training import labelled_boxes
from apps.training.accuracy import accuracy, predict
from apps.training.flat_model import FlatModel
from apps.training.gradient import Prices, compiled_gradient, plain_gradient
from apps.training.labelled_boxes import LabelledBoxes, labelled_set
from apps.training.labelled_set import LabelledSet
from apps.training.loss import LossWeights, loss_sums
from apps.training.refit import force_rms, refit
from data_store.structures import Structures, concatenate
from tests.laws.box_toys import EDGE_A, toy_boxes, toy_energies_and_forces, unwrapped
from tests.laws.training_toys import toy_structures

CPU = torch.device("cpu")
CUTOFF_A = 4.0
WEIGHTS = LossWeights(1.0, 0.2, 5.0, 5.0)

architectures = pytest.mark.parametrize("architecture", potential_names())


def potential_of(architecture: str, prior: str = "none") -> Potential:
    found = make_potential(architecture, "small", [1, 8], CUTOFF_A, seed=1, prior=prior)
    found.shift_eV[torch.tensor([1, 8])] = torch.tensor([-13.0, -430.0], dtype=torch.float64)
    return found


def boxes_of(structures: Structures) -> LabelledBoxes:
    found = labelled_set(structures, CPU, CUTOFF_A)
    assert isinstance(found, LabelledBoxes)
    return found


def double(labelled: LabelledSet) -> LabelledSet:
    wide = (t.double() if t.is_floating_point() else t for t in labelled.tensors)
    return type(labelled)(*wide)


def losses(potential: Potential, labelled: LabelledSet) -> Tensor:
    return torch.stack(loss_sums(potential, labelled, WEIGHTS)).detach()


def gradient(potential: Potential, labelled: LabelledSet) -> Tensor:
    model = FlatModel(potential)
    plain_gradient(WEIGHTS)(model, labelled, Prices(0.3, 0.7))
    return model.gradient.clone()


def test_the_toy_is_conservative() -> None:
    x = toy_boxes(1).positions.astype(np.float64)
    _, forces = toy_energies_and_forces(x, EDGE_A)
    step = np.zeros_like(x)
    step[4, 1] = 1e-5
    up, down = (toy_energies_and_forces(x + sign * step, EDGE_A)[0] for sign in (1, -1))
    assert forces[4, 1] == pytest.approx((down - up) / 2e-5, rel=1e-6)


def test_isolated_labels_stay_dense() -> None:
    found = labelled_set(toy_structures(3), CPU, CUTOFF_A)
    assert type(found) is LabelledSet


@architectures
def test_forces_are_those_of_dynamics(architecture: str) -> None:
    structures, potential = toy_boxes(3), potential_of(architecture)
    energies, forces = predict(potential, boxes_of(structures))
    box = Box(
        torch.from_numpy(structures.numbers_of(0).astype(np.int64)),
        torch.from_numpy(structures.cells[0]),
    )
    moving = BoxForces(potential, box, compile=False)
    expected = moving(torch.from_numpy(structures.dense_positions()))
    torch.testing.assert_close(energies, expected[0], rtol=0.0, atol=2e-4)
    torch.testing.assert_close(forces.double(), expected[1], rtol=0.0, atol=2e-5)


@architectures
@pytest.mark.parametrize("prior", ["none", "zbl"])
def test_the_gradient_is_that_of_finite_differences(architecture: str, prior: str) -> None:
    potential, labelled = potential_of(architecture, prior).double(), double(boxes_of(toy_boxes(2)))
    refit(potential, labelled, force_rms(labelled))
    found = gradient(potential, labelled)
    generator = torch.Generator().manual_seed(2)
    weights = [p.detach().clone() for p in potential.parameters()]
    along = [torch.randn(w.shape, generator=generator, dtype=w.dtype) for w in weights]
    step, ends = 1e-6, []
    for sign in (1.0, -1.0):
        for parameter, weight, direction in zip(
            potential.parameters(), weights, along, strict=True
        ):
            parameter.data.copy_(weight + sign * step * direction)
        force, energy = losses(potential, labelled)
        ends.append(float(0.3 * force + 0.7 * energy))
    expected = (ends[0] - ends[1]) / (2.0 * step)
    directed = float(found @ torch.cat([direction.reshape(-1) for direction in along]))
    assert directed == pytest.approx(expected, rel=1e-5)


@architectures
def test_a_box_doubled_has_twice_the_sums(architecture: str) -> None:
    potential, one = potential_of(architecture), toy_boxes(1)
    positions = one.positions.reshape(1, -1, 3)
    there = np.concatenate([positions, positions + np.array([EDGE_A, 0.0, 0.0])], axis=1)
    two = replace(
        Structures.from_dense(
            np.tile(one.numbers, 2), there, energies=2.0 * one.labelled_energies(),
            forces=np.tile(one.labelled_forces(), (2, 1))[None],
        ),
        cells=np.diag([2.0 * EDGE_A, EDGE_A, EDGE_A])[None], pbc=np.ones((1, 3), bool),
    )  # fmt: skip
    plain = replace(WEIGHTS, energy_robust_eV=None)
    sums = [
        torch.stack(loss_sums(potential, boxes_of(structures), plain)).detach()
        for structures in (one, two)
    ]
    torch.testing.assert_close(sums[1], 2.0 * sums[0], rtol=1e-4, atol=1e-4)
    energies = [float(predict(potential, boxes_of(structures))[0]) for structures in (one, two)]
    assert energies[1] == pytest.approx(2.0 * energies[0], rel=1e-6)


@architectures
def test_the_loss_does_not_know_images_nor_places(architecture: str) -> None:
    potential, structures = potential_of(architecture), toy_boxes(2)
    potential.scale.fill_(20.0)
    expected = losses(potential, boxes_of(structures))
    found = losses(potential, boxes_of(unwrapped(structures)))
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-4)
    alone = replace(structures, pbc=np.zeros_like(structures.pbc))
    without = losses(potential, LabelledSet.of(alone, CPU))
    assert not torch.allclose(without, expected, rtol=2e-4, atol=2e-4), (
        "without images it is another loss"
    )


@architectures
def test_an_isolated_molecule_is_what_it_is_as_dense(architecture: str) -> None:
    potential, structures = potential_of(architecture), toy_structures(5)
    listed = LabelledBoxes.listed(structures, CPU, CUTOFF_A)
    dense = LabelledSet.of(structures, CPU)
    torch.testing.assert_close(
        losses(potential, listed), losses(potential, dense), rtol=1e-4, atol=1e-4
    )
    found, expected = gradient(potential, listed), gradient(potential_of(architecture), dense)
    assert float((found - expected).norm() / expected.norm()) < 1e-4
    assert accuracy(potential, listed).force_mae_eV_per_A == pytest.approx(
        accuracy(potential, dense).force_mae_eV_per_A, rel=1e-5
    )


@architectures
def test_structures_of_all_sizes_add_up(architecture: str) -> None:
    """A large box, a small one, and a molecule that is in none, in one set and each alone."""
    potential = potential_of(architecture)
    mixed = [toy_boxes(1, cells=3), toy_boxes(1, seed=4), toy_structures(2)]
    together = losses(potential, boxes_of(concatenate(mixed)))
    apart = sum(losses(potential, labelled_set(one, CPU, CUTOFF_A)) for one in mixed)
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-4)


@architectures
def test_shares_and_pieces_add_up(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    labelled = boxes_of(toy_boxes(5))
    whole = gradient(potential_of(architecture), labelled)
    shares = sum(
        gradient(potential_of(architecture), labelled.take(np.arange(rank, 5, 2)))
        for rank in range(2)
    )
    monkeypatch.setattr(labelled_boxes, "_PLACES_AT_ONCE", 2 * labelled.used[0].numel())
    assert [len(piece) for piece in labelled.pieces()] == [2, 2, 1]
    pieces = gradient(potential_of(architecture), labelled)
    for found in (shares, pieces):
        assert float((found - whole).norm() / whole.norm()) < 1e-5


def test_tables_give_what_lists_give() -> None:
    potential, labelled = potential_of("painn", "zbl"), boxes_of(toy_boxes(2))
    found, expected = (losses(potential, form) for form in (labelled.tabled, labelled))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    tabled, listed = (gradient(potential_of("painn"), form) for form in (labelled.tabled, labelled))
    assert float((tabled - listed).norm() / listed.norm()) < 1e-5


def test_a_compiled_gradient_is_the_same() -> None:
    labelled = boxes_of(concatenate([toy_boxes(2), toy_structures(1)]))
    expected = gradient(potential_of("painn"), labelled)
    model = FlatModel(potential_of("painn"))
    compiled_gradient(model.potential, WEIGHTS, 3)(model, labelled, Prices(0.3, 0.7))
    assert float((model.gradient - expected).norm() / expected.norm()) < 1e-4
