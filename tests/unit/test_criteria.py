"""Each criterion sees what it should, names the atoms, and lets everything else pass."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from apps.dynamics.criteria import CRITERIA, Watched, first_failure
from apps.dynamics.integrators import PhasePoint
from apps.dynamics.settings import DynamicsSettings

ALL = DynamicsSettings(criteria=tuple(CRITERIA))
X = torch.tensor([[[0.0, 0, 0], [1.0, 0, 0], [0.0, 1.0, 0]]], dtype=torch.float64)
WATCHED = Watched(
    masses_amu=torch.tensor([16.0, 1.0, 1.0], dtype=torch.float64),
    bonds=torch.tensor([[0, 1], [0, 2]]),
    bond_lengths_A=torch.tensor([1.0, 1.0], dtype=torch.float64),
    others=torch.tensor([[1, 2]]),
    least_distances_A=torch.tensor([0.4], dtype=torch.float64),
    hot_eV=1.0,
)


def point(**changes: Any) -> PhasePoint:
    fields: dict[str, Any] = {
        "positions": X.clone(), "velocities": torch.zeros_like(X), "forces": torch.zeros_like(X),
        "energies": torch.zeros(1, dtype=torch.float64),
    }  # fmt: skip
    return PhasePoint(**{**fields, **changes})


def verdict(
    where: PhasePoint, settings: DynamicsSettings = ALL
) -> tuple[str | None, tuple[int, ...]]:
    cause, _, atoms = first_failure(where, WATCHED, settings)
    place = int(cause[0])
    found = tuple(a for a in atoms[0].tolist() if a >= 0)
    return (settings.criteria[place] if place >= 0 else None), found


def moved(atom: int, to: list[float]) -> torch.Tensor:
    x = X.clone()
    x[0, atom] = torch.tensor(to, dtype=torch.float64)
    return x


def test_a_sound_replica_passes() -> None:
    assert verdict(point()) == (None, ())


@pytest.mark.parametrize(
    ("changes", "cause", "atoms"),
    [
        ({"positions": moved(2, [0, 1.51, 0])}, "bond_stretch", (0, 2)),
        ({"positions": moved(1, [0.49, 0, 0])}, "bond_stretch", (0, 1)),
        ({"positions": moved(2, [0.93, 0.37, 0])}, "close_contact", (1, 2)),
        ({"velocities": torch.full_like(X, 0.05)}, "hot", ()),
        ({"forces": torch.full_like(X, 60.0)}, "large_force", (0,)),
        ({"forces": torch.full_like(X, math.nan)}, "not_finite", ()),
        ({"positions": torch.full_like(X, math.inf)}, "not_finite", ()),
        ({"energies": torch.full((1,), math.nan, dtype=torch.float64)}, "not_finite", ()),
    ],
)
def test_each_cause_is_named(changes: dict[str, Any], cause: str, atoms: tuple[int, ...]) -> None:
    assert verdict(point(**changes)) == (cause, atoms)


@pytest.mark.parametrize("to", [[0, 1.49, 0], [0, 0.51, 0], [0.9, 0.45, 0]])
def test_just_inside_passes(to: list[float]) -> None:
    assert verdict(point(positions=moved(2, to)))[0] is None


def test_one_order_names_the_cause_however_criteria_are_declared() -> None:
    both = point(positions=moved(2, [0, 1.6, 0]), forces=torch.full_like(X, 1000.0))
    for declared in (tuple(CRITERIA), tuple(reversed(CRITERIA))):
        assert verdict(both, DynamicsSettings(criteria=declared))[0] == "bond_stretch"


def test_replicas_are_judged_apart() -> None:
    x = torch.cat([X, moved(2, [0, 1.6, 0]), torch.full_like(X, math.nan), X])
    many = PhasePoint(x, torch.zeros_like(x), torch.zeros_like(x), torch.zeros(4).double())
    cause, _, _ = first_failure(many, WATCHED, ALL)
    assert [ALL.criteria[c] if c >= 0 else None for c in cause.tolist()] == [
        None, "bond_stretch", "not_finite", None
    ]  # fmt: skip


def test_a_system_without_bonds_or_others_is_watched_too() -> None:
    empty = torch.zeros((0, 2), dtype=torch.int64)
    bare = Watched(WATCHED.masses_amu, empty, torch.zeros(0), empty, torch.zeros(0), WATCHED.hot_eV)
    cause, _, _ = first_failure(point(), bare, ALL)
    assert cause.tolist() == [-1]


@pytest.mark.parametrize(
    "changes",
    [
        {"check_stride_fs": 0.7},
        {"length_ps": 0.00001},
        {"save_stride_ps": 0.0001},
        {"criteria": ()},
        {"criteria": ("hot",)},
    ],
)
def test_strides_are_whole_steps(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DynamicsSettings(**changes)
