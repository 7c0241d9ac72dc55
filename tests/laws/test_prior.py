"""The prior: a wall between nuclei, smooth, short, and no business of the network's scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from apps.potential.batch import DenseBatch
from apps.potential.evaluate import energies_and_forces
from apps.potential.prior import with_prior
from apps.potential.protocol import Potential
from apps.potential.registry import make_potential
from apps.potential.zbl import ZBL
from apps.training.accuracy import predict
from apps.training.labelled_set import LabelledSet
from apps.training.refit import force_rms, refit
from data_store.errors import InputError
from data_store.units import NUMBERS
from tests.laws.training_toys import toy_set

PAIRS = [("H", "H"), ("C", "H"), ("O", "H"), ("C", "O"), ("C", "C"), ("S", "O"), ("Br", "C")]

# Å; experimental lengths (CRC Handbook of Chemistry and Physics, "Bond lengths").
BONDS = {
    "single": [("H", "H", 0.741), ("C", "H", 1.09), ("O", "H", 0.958), ("F", "H", 0.917),
               ("C", "C", 1.53), ("C", "O", 1.36), ("F", "F", 1.412), ("S", "H", 1.336)],
    "aromatic and double": [("C", "C", 1.39), ("C", "C", 1.33), ("C", "O", 1.20), ("O", "O", 1.208),
                            ("C", "S", 1.60), ("S", "O", 1.43), ("C", "O", 1.16)],
    "triple": [("C", "C", 1.20), ("C", "N", 1.156), ("C", "O", 1.128), ("N", "N", 1.098)],
}  # fmt: skip


def pair(one: str, other: str, distances_A: Tensor) -> tuple[Tensor, Tensor]:
    """Energies and forces along the distance of a pair, from dense batches of two atoms."""
    numbers = torch.tensor([[NUMBERS[one], NUMBERS[other]]]).expand(len(distances_A), -1)
    r = distances_A.clone().requires_grad_(True)
    positions = torch.zeros(len(r), 2, 3, dtype=torch.float64)
    positions[:, 1, 0] = r
    energies = ZBL()(DenseBatch(numbers, positions), torch.float64)
    (gradient,) = torch.autograd.grad(energies.sum(), r)
    return energies.detach(), -gradient


def outer_A(one: str, other: str) -> float:
    numbers = torch.tensor([NUMBERS[one], NUMBERS[other]])
    return float(ZBL().outer_A(numbers[0], numbers[1], torch.float64))


def grid(one: str, other: str, first: float = 0.05, last: float = 1.0) -> Tensor:
    return torch.linspace(first, last, 400, dtype=torch.float64) * outer_A(one, other)


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_it_repels_and_falls(one: str, other: str) -> None:
    energies, forces = pair(one, other, grid(one, other))
    assert (energies[:-1] > 0.0).all()
    assert (energies.diff() < 0.0).all()
    assert (forces[:-1] > 0.0).all()
    beyond, without = pair(one, other, grid(one, other, 1.0001, 3.0))
    assert not beyond.any()
    assert not without.any()


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_its_force_is_the_numerical_gradient(one: str, other: str) -> None:
    r, step = grid(one, other, 0.3, 1.1), 1e-5
    _, forces = pair(one, other, r)
    numerical = (pair(one, other, r - step)[0] - pair(one, other, r + step)[0]) / (2.0 * step)
    torch.testing.assert_close(forces, numerical, rtol=1e-6, atol=1e-6)


def jumps(one: str, other: str, at_A: float) -> tuple[float, float, float]:
    """Jumps of energy, force and force derivative at a distance."""
    near, step = 1e-7, 1e-5
    r = at_A + torch.tensor([-near - step, -near, near, near + step], dtype=torch.float64)
    energies, forces = pair(one, other, r)
    slopes = forces.diff() / step
    found = (energies[2] - energies[1], forces[2] - forces[1], slopes[2] - slopes[0])
    size = float(pair(one, other, torch.tensor([0.5 * at_A], dtype=torch.float64))[0])
    return tuple(float(value.abs()) / size for value in found)  # type: ignore[return-value]


@pytest.mark.parametrize(("one", "other"), PAIRS)
@pytest.mark.parametrize("ratio", [0.5, 1.0], ids=["inner", "outer"])
def test_the_switch_has_two_derivatives(one: str, other: str, ratio: float) -> None:
    energy, force, derivative = jumps(one, other, ratio * outer_A(one, other))
    assert energy < 1e-5
    assert force < 1e-4
    assert derivative < 0.05


@pytest.mark.parametrize("ratio", [0.5, 1.0], ids=["inner", "outer"])
def test_a_linear_switch_is_caught(monkeypatch: pytest.MonkeyPatch, ratio: float) -> None:
    monkeypatch.setattr("apps.potential.zbl.quintic_envelope", lambda x: (1.0 - x).clamp(min=0.0))
    _, force, derivative = jumps("C", "O", ratio * outer_A("C", "O"))
    assert force > 1e-4
    assert derivative > 0.05


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_inside_it_is_the_published_formula(one: str, other: str) -> None:
    """Written again in the field's usual units: a0 = 0.529 Å, e² = 14.4 eV Å; good to 0.2 %."""
    z, other_z, r = NUMBERS[one], NUMBERS[other], grid(one, other, 0.02, 0.5)
    x = r.numpy() / (0.8854 * 0.529 / (z**0.23 + other_z**0.23))
    phi = (
        0.1818 * np.exp(-3.2 * x) + 0.5099 * np.exp(-0.9423 * x)
        + 0.2802 * np.exp(-0.4028 * x) + 0.02817 * np.exp(-0.2016 * x)
    )  # fmt: skip
    energies, _ = pair(one, other, r)
    np.testing.assert_allclose(energies, 14.4 * z * other_z / r.numpy() * phi, rtol=2e-3)


def test_nuclei_that_touch_are_bare() -> None:
    r = torch.tensor([1e-6], dtype=torch.float64)
    energies, _ = pair("C", "O", r)
    assert float(energies * r) == pytest.approx(48 * 14.399645, rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "most_eV"), [("single", 0.0), ("aromatic and double", 0.0), ("triple", 0.04)]
)
def test_bonds_at_rest_feel_little(kind: str, most_eV: float) -> None:
    for one, other, length in BONDS[kind]:
        at_rest, squeezed = pair(one, other, torch.tensor([length, 0.6 * length]).double())[0]
        assert float(at_rest) <= most_eV, (one, other)
        assert float(squeezed) > 0.8, "and a wall not far inside"


def test_it_refuses_to_reach_beyond_the_neighbours() -> None:
    with pytest.raises(InputError, match=r"reaches 1\.92 Å .* the potential 1\.5 Å"):
        make_potential("painn", "small", [1, 35], 1.5, 0, "zbl")
    with pytest.raises(InputError, match="none, zbl"):
        make_potential("painn", "small", [1], 4.0, 0, "zbll")


def on_prior(labelled: LabelledSet) -> tuple[Potential, Potential]:
    """A potential on the prior, and its network alone."""
    network = make_potential("painn", "small", [1, 8], 4.0, seed=1).double()
    whole = with_prior(make_potential("painn", "small", [1, 8], 4.0, seed=1), "zbl").double()
    network.scale.fill_(force_rms(labelled))
    whole.scale.fill_(force_rms(labelled))
    return whole, network


def squeezed_set() -> LabelledSet:
    labelled = toy_set(30)
    return LabelledSet(
        labelled.numbers, 0.75 * labelled.positions.double(), labelled.forces.double(),
        labelled.energies,
    )  # fmt: skip


def test_the_sum_is_network_and_prior() -> None:
    labelled = squeezed_set()
    whole, network = on_prior(labelled)
    energies, forces = energies_and_forces(whole, labelled.batch)
    alone, forces_alone = energies_and_forces(network, labelled.batch)
    prior = ZBL()(labelled.batch, torch.float64)
    torch.testing.assert_close(energies, alone + prior)
    assert float((forces - forces_alone).abs().max()) > 1.0
    assert [p.shape for p in whole.parameters()] == [p.shape for p in network.parameters()]


def labels_of(factor: float, labelled: LabelledSet) -> LabelledSet:
    """Labels that are the network `factor` times, and the prior once."""
    whole, network = on_prior(labelled)
    energies, forces = predict(whole, labelled)
    more, more_forces = predict(network, labelled)
    return LabelledSet(
        labelled.numbers, labelled.positions, forces + (factor - 1.0) * more_forces,
        energies + (factor - 1.0) * more - 70.0,
    )  # fmt: skip


@pytest.mark.parametrize("factor", [3.0, 0.2])
def test_refitting_scales_the_network_alone(factor: float) -> None:
    labelled = squeezed_set()
    potential, _ = on_prior(labelled)
    target = labels_of(factor, labelled)
    found = refit(potential, target, None)
    assert found.scale_after / found.scale_before == pytest.approx(factor, rel=1e-9)
    assert sum(found.shift_eV[str(z)] for z in (8, 1, 1)) == pytest.approx(-70.0, abs=1e-8)
    torch.testing.assert_close(predict(potential, target)[1], target.forces)


def test_scaling_the_sum_is_caught() -> None:
    labelled = squeezed_set()
    target = labels_of(3.0, labelled)
    _, forces = predict(on_prior(labelled)[0], labelled)
    coefficient = float((forces * target.forces).sum() / (forces * forces).sum())
    assert abs(coefficient - 3.0) > 0.1
