"""Weights, registry, calculator: round trips, refusals, and agreement with an independent path."""

from __future__ import annotations

import json
from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from ase.calculators.fd import calculate_numerical_forces
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.potential.batch import DenseBatch
from apps.potential.calculator import CampaignCalculator
from apps.potential.evaluate import energies_and_forces, molecular_force_function
from apps.potential.prior import PRIORS
from apps.potential.protocol import Potential
from apps.potential.registry import make_potential, potential_names
from apps.potential.weights import SCHEMA, load_potential, read_header, save_bytes
from data_store.errors import InputError, StoreError


def water_potential(seed: int = 0, prior: str = "none", architecture: str = "painn") -> Potential:
    made = make_potential(architecture, "small", [1, 8], 4.0, seed, prior)
    made.shift_eV[[1, 8]] = torch.tensor([-13.6, -2041.3], dtype=torch.float64)
    return made


NUMBERS = torch.tensor([8, 1, 1])
POSITIONS = torch.tensor([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0.1]], dtype=torch.float64)
BATCH = DenseBatch(NUMBERS[None], 0.7 * POSITIONS[None])


@pytest.mark.parametrize("prior", ["none", *PRIORS])
@pytest.mark.parametrize("architecture", potential_names())
def test_weights_round_trip_bitwise(tmp_path: Path, architecture: str, prior: str) -> None:
    potential = water_potential(prior=prior, architecture=architecture)
    potential.scale.fill_(1.7)
    path = tmp_path / "model.safetensors"
    path.write_bytes(save_bytes(potential, {"steps": 10}))
    back = load_potential(path)
    assert (back.species, back.prior) == ((1, 8), prior)
    for name, tensor in potential.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor)
        assert back.state_dict()[name].dtype == tensor.dtype
    assert save_bytes(back, {"steps": 10}) == path.read_bytes()
    doubled = load_potential(save_bytes(water_potential(prior=prior).double()))
    assert doubled.dtype == torch.float64
    one, two = (energies_and_forces(p, BATCH) for p in (potential, back))
    assert torch.equal(one[0], two[0])


def test_weights_are_decided_by_the_seed_alone() -> None:
    before = torch.random.get_rng_state()
    assert save_bytes(water_potential(1)) == save_bytes(water_potential(1))
    assert save_bytes(water_potential(1)) != save_bytes(water_potential(2))
    assert torch.equal(torch.random.get_rng_state(), before), "the global generator is untouched"


@given(st.binary(max_size=200))
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(StoreError):
        load_potential(data)


@settings(deadline=None)  # each example builds a potential
@given(st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_header_is_refused_or_read(position: int, value: int) -> None:
    data = bytearray(save_bytes(water_potential()))
    data[position] = value
    try:
        load_potential(bytes(data))
    except (StoreError, InputError):  # an architecture that is not installed is the user's to mend
        return


def with_header(data: bytes, changed: dict[str, object] | None) -> bytes:
    """The same tensors under another header."""
    length = int.from_bytes(data[:8], "little")
    meta = {"campaign_potential": json.dumps(changed)} if changed else {}
    text = json.dumps({**json.loads(data[8 : 8 + length]), "__metadata__": meta}).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def test_newer_and_foreign_files_are_refused() -> None:
    data = save_bytes(water_potential())
    header = read_header(data)
    for schema in (99, 0, -1):
        with pytest.raises(StoreError, match=f"schema {schema}, this version reads 1 to {SCHEMA}"):
            load_potential(with_header(data, {**header, "schema": schema}))
    with pytest.raises(StoreError, match="do not fit their header"):
        load_potential(with_header(data, {**header, "size": "large"}))
    with pytest.raises(StoreError, match="do not fit their header"):
        load_potential(with_header(data, {**header, "prior": "zbl"}))
    with pytest.raises(InputError, match="none, zbl"):
        load_potential(with_header(data, {**header, "prior": "zlb"}))
    with pytest.raises(StoreError, match="no weights that this project wrote"):
        load_potential(with_header(data, None))


def test_files_of_schema_1_open() -> None:
    """They named no prior; their tensors are those of a potential without one."""
    potential = water_potential()
    data = save_bytes(potential)
    old = {k: v for k, v in read_header(data).items() if k != "prior"} | {"schema": 1}
    back = load_potential(with_header(data, old))
    assert back.prior == "none"
    assert save_bytes(back) == data


def test_unknown_names_list_the_valid() -> None:
    with pytest.raises(InputError, match="painn"):
        make_potential("pain", "small", [1], 4.0, 0)
    with pytest.raises(InputError, match="large, medium, small"):
        make_potential("painn", "huge", [1], 4.0, 0)


def test_unknown_elements_are_refused() -> None:
    with pytest.raises(InputError, match=r"not \[6\]"):
        molecular_force_function(water_potential(), torch.tensor([6, 1]))


@pytest.mark.parametrize("prior", ["none", *PRIORS])
def test_the_inner_loop_of_dynamics_agrees_and_is_frozen(prior: str) -> None:
    potential = water_potential(prior=prior)
    force_function = molecular_force_function(potential, NUMBERS)
    energies, forces = force_function(BATCH.positions.expand(2, -1, -1))
    network, expected = energies_and_forces(potential, BATCH)
    if prior != "none":
        without = energies_and_forces(water_potential(), BATCH)[1]
        assert float((expected - without).abs().max()) > 1.0, "felt"
    assert torch.allclose(forces[1], expected[0])
    assert float(energies[0] - network[0]) == pytest.approx(-2041.3 - 2 * 13.6, abs=1e-4)
    with torch.no_grad():
        for parameter in potential.parameters():
            parameter.mul_(2.0)
    assert torch.equal(force_function(BATCH.positions.expand(2, -1, -1))[1], forces)


@pytest.mark.parametrize("prior", ["none", *PRIORS])
@pytest.mark.parametrize("periodic", [False, True])
def test_the_calculator_satisfies_ase(periodic: bool, prior: str) -> None:
    atoms = ase.Atoms("OH2", BATCH.positions[0].numpy(), cell=[6.0, 6.0, 6.0], pbc=periodic)
    atoms.calc = CampaignCalculator(water_potential(prior=prior).double())
    numerical = calculate_numerical_forces(atoms, eps=1e-4)
    np.testing.assert_allclose(atoms.get_forces(), numerical, rtol=1e-6, atol=1e-6)


def test_one_replica_gone_wild_leaves_the_others_alone() -> None:
    force_function = molecular_force_function(water_potential(), NUMBERS)
    both = torch.stack([POSITIONS, torch.full_like(POSITIONS, float("nan"))])
    energies, forces = force_function(both)
    alone = force_function(torch.stack([POSITIONS, POSITIONS]))
    assert torch.equal(forces[0], alone[1][0])
    assert torch.equal(energies[0], alone[0][0])
    assert forces[1].isnan().all()
