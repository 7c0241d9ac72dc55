"""Ranks from their environment, the schedule, flat parameters, settings: small laws of each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from apps.training.distributed import Launch, launch_from
from apps.training.flat_model import FlatModel
from apps.training.labelled_set import LabelledSet
from apps.training.mpi import find_mpiexec
from apps.training.schedule import learning_rate_at
from apps.training.settings import FinetuningSettings
from data_store.errors import InputError
from data_store.structures import Structures, concatenate
from tests.laws.training_toys import toy_potential, toy_set


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Launch("alone")),
        ({"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, Launch("torchrun", 1, 4, 1)),
        ({"PMI_RANK": "3", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1"}, Launch("mpi", 3, 4, 1)),
        (
            {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"},
            Launch("mpi", 0, 2, 0),
        ),
        (
            {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1"},
            Launch("srun", 5, 8, 1),
        ),
        ({"PMI_RANK": "0", "PMI_SIZE": "1"}, Launch("alone")),
        # One mpiexec within an allocation: the innermost starter counts.
        (
            {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "PMI_RANK": "1", "PMI_SIZE": "2"},
            Launch("mpi", 1, 2, 1),
        ),
    ],
)
def test_the_starter_is_read_from_the_environment(
    environment: dict[str, str], expected: Launch
) -> None:
    assert launch_from(environment) == expected


@pytest.mark.parametrize(
    "environment",
    [{"RANK": "4", "WORLD_SIZE": "4"}, {"RANK": "x", "WORLD_SIZE": "4"}],
)
def test_contradictory_environments_are_refused(environment: dict[str, str]) -> None:
    with pytest.raises(InputError):
        launch_from(environment)


@given(st.integers(2, 300), st.integers(0, 100), st.floats(0.01, 1.0))
def test_the_schedule_rises_to_its_peak_and_falls_to_its_end(
    steps: int, warmup: int, final: float
) -> None:
    rates = [
        learning_rate_at(s, peak=2.0, steps=steps, warmup_steps=warmup, final_fraction=final)
        for s in range(steps)
    ]
    top = int(np.argmax(rates))
    assert max(rates) <= 2.0 + 1e-12
    assert min(rates) > 0.0
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert all(a >= b - 1e-12 for a, b in zip(rates[top:], rates[top + 1 :], strict=False))


def test_flat_parameters_are_the_models_own() -> None:
    potential = toy_potential(toy_set(5))
    before = [p.detach().clone() for p in potential.parameters()]
    model = FlatModel(potential)
    for old, new in zip(before, potential.parameters(), strict=True):
        assert torch.equal(old, new)
    model.weights.data.add_(1.0)
    for old, new in zip(before, potential.parameters(), strict=True):
        assert torch.equal(old + 1.0, new)
    with model.using(torch.zeros_like(model.weights)) as emptied:
        assert not any(p.any() for p in emptied.parameters())
    assert torch.equal(next(potential.parameters()), before[0] + 1.0)


def test_sets_of_different_molecules_are_padded() -> None:
    small, large = np.zeros((1, 2, 3)), np.zeros((2, 3, 3))
    small[:, 1, 0] = large[:, 1, 0] = 1.0
    large[:, 2, 1] = 1.0
    mixed = concatenate(
        [
            Structures.from_dense(np.array([1, 8]), small, energies=np.ones(1), forces=small),
            Structures.from_dense(np.array([8, 1, 1]), large, energies=np.ones(2), forces=large),
        ]
    )
    found = LabelledSet.of(mixed, torch.device("cpu"))
    assert found.numbers.tolist() == [[1, 8, 0], [8, 1, 1], [8, 1, 1]]
    assert found.atoms == 8
    assert torch.equal(found.forces, found.positions)


@pytest.mark.parametrize(
    "fields",
    [
        {"arms": ["teacher"]},
        {"pools": []},
        {"seeds": [0, 0]},
        {"learning_rates": [-1.0]},
        {"steps": 0},
        {"unknown": 1},
    ],
)
def test_settings_that_make_no_sense_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FinetuningSettings(**fields)


def test_without_mpiexec_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match=r"mlip-campaign\[mpi\]"):
        find_mpiexec()
