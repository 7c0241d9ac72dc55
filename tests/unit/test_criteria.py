"""Each criterion sees what it should, names the atoms, and lets everything else pass."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from apps.dynamics.criteria import Finding, Watched, first_failure
from apps.dynamics.criteria_records import BUILT_IN
from apps.dynamics.integrators import PhasePoint
from apps.dynamics.settings import DynamicsSettings
from data_store.units import AMU_A2_PER_FS2_eV, BOLTZMANN_eV_PER_K

OWN = ("not_finite", "bond_stretch", "close_contact", "hot", "large_force")
PUBLISHED = ("mdsim", "stable", "stable_training", "mlipaudit")
OF_BOXES = ("fused", "bond_out_of_bounds", "pair_too_close")
REACTIVE = ("valence", "energy_runaway", "nve_drift", "dissociated")
ALL = DynamicsSettings(criteria=OWN)
X = torch.tensor([[[0.0, 0, 0], [1.0, 0, 0], [0.0, 1.0, 0]]], dtype=torch.float64)
WATCHED = Watched(
    numbers=torch.tensor([8, 1, 1]),
    masses_amu=torch.tensor([16.0, 1.0, 1.0], dtype=torch.float64),
    bonds=torch.tensor([[0, 1], [0, 2]]),
    bond_lengths_A=torch.tensor([1.0, 1.0], dtype=torch.float64),
    others=torch.tensor([[1, 2]]),
    least_distances_A=torch.tensor([0.4], dtype=torch.float64),
    hot_eV=1.0,
    temperature_K=300.0,
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
    for declared in (OWN, tuple(reversed(OWN))):
        assert verdict(both, DynamicsSettings(criteria=declared))[0] == "bond_stretch"


def test_replicas_are_judged_apart() -> None:
    x = torch.cat([X, moved(2, [0, 1.6, 0]), torch.full_like(X, math.nan), X])
    many = PhasePoint(x, torch.zeros_like(x), torch.zeros_like(x), torch.zeros(4).double())
    cause, _, _ = first_failure(many, WATCHED, ALL)
    assert [ALL.criteria[c] if c >= 0 else None for c in cause.tolist()] == [
        None, "bond_stretch", "not_finite", None
    ]  # fmt: skip


def test_a_system_without_bonds_or_others_is_watched_too() -> None:
    pairs, none = torch.zeros((0, 2), dtype=torch.int64), torch.zeros(0)
    bare = replace(WATCHED, bonds=pairs, bond_lengths_A=none, others=pairs, least_distances_A=none)
    every = DynamicsSettings(criteria=tuple(BUILT_IN), ensemble="nve")
    cause, _, _ = first_failure(point(), bare, every)
    assert cause.tolist() == [-1]
    cause, _, _ = first_failure(point(velocities=torch.full_like(X, 1.0)), bare, every)
    assert every.criteria[int(cause[0])] == "hot"


def test_built_in_criteria_are_those_and_asked_in_that_order() -> None:
    assert tuple(BUILT_IN) == (*OWN, *PUBLISHED, *OF_BOXES, *REACTIVE)
    backwards = DynamicsSettings(criteria=tuple(reversed(BUILT_IN)), ensemble="nve")
    assert backwards.criteria == tuple(BUILT_IN)


# Boundaries, to the last bit. A pair on the x axis at a distance d: √(d²) is d in binary floating
# point, and d − 1 is exact from ½ to 2.


def pair_at(distance_A: float, **changes: Any) -> PhasePoint:
    x = torch.tensor([[[0.0, 0, 0], [distance_A, 0, 0]]], dtype=torch.float64)
    fields = {"positions": x, "velocities": 0 * x, "forces": 0 * x, "energies": x.new_zeros(1)}
    return PhasePoint(**{**fields, **changes})


def pair(numbers: tuple[int, int] = (8, 1), bonded: bool = True, **changes: Any) -> Watched:
    one, none = torch.tensor([[0, 1]]), torch.zeros((0, 2), dtype=torch.int64)
    fields: dict[str, Any] = {
        "numbers": torch.tensor(numbers),
        "masses_amu": torch.ones(2, dtype=torch.float64),
        "bonds": one if bonded else none,
        "bond_lengths_A": torch.ones(int(bonded), dtype=torch.float64),
        "others": none if bonded else one,
        "least_distances_A": torch.ones(int(not bonded), dtype=torch.float64),
        "hot_eV": math.inf,
        "temperature_K": 300.0,
    }
    return Watched(**{**fields, **changes})


def judged(
    name: str, where: PhasePoint, watched: Watched, settings: DynamicsSettings = ALL
) -> Finding:
    return BUILT_IN[name].judge()(where, watched, settings)


def fails(name: str, where: PhasePoint, watched: Watched, **settings: Any) -> bool:
    return bool(judged(name, where, watched, DynamicsSettings(**settings)).failed[0])


quarters = st.integers(1, 31).map(lambda n: n / 64)


@given(quarters, st.sampled_from([-1, 1]))
def test_bond_stretch_fails_beyond_its_threshold_and_not_at_it(stretch: float, way: int) -> None:
    at = 1.0 + way * stretch
    beyond = math.nextafter(at, way * math.inf)
    assert not fails("bond_stretch", pair_at(at), pair(), stretch_A=stretch)
    assert fails("bond_stretch", pair_at(beyond), pair(), stretch_A=stretch)


@pytest.mark.parametrize(
    ("name", "stretch", "at_it"),
    [("mdsim", 0.5, False), ("stable", 0.5, True), ("stable_training", 0.25, True)],
)
@pytest.mark.parametrize("way", [-1, 1])
def test_published_bond_criteria_fail_where_their_code_does(
    name: str, stretch: float, at_it: bool, way: int
) -> None:
    at, step = 1.0 + way * stretch, way * 2.0**-52
    assert not fails(name, pair_at(at - step), pair())
    assert fails(name, pair_at(at), pair()) == at_it
    assert fails(name, pair_at(at + step), pair())


@given(st.integers(1, 400).map(lambda n: n / 128))
def test_close_contact_fails_below_its_threshold_and_not_at_it(least: float) -> None:
    apart = pair(bonded=False, least_distances_A=torch.tensor([least], dtype=torch.float64))
    assert not fails("close_contact", pair_at(least), apart)
    assert fails("close_contact", pair_at(math.nextafter(least, 0.0)), apart)


@given(st.floats(1e-3, 1e6))
def test_large_force_fails_beyond_its_threshold_and_not_at_it(limit: float) -> None:
    def pulled(force: float) -> PhasePoint:
        forces = torch.tensor([[[0.0, 0, 0], [0, -force, 0]]], dtype=torch.float64)
        return pair_at(1.0, forces=forces)

    assert not fails("large_force", pulled(limit), pair(), max_force_eV_per_A=limit)
    assert fails("large_force", pulled(math.nextafter(limit, math.inf)), pair(),
                 max_force_eV_per_A=limit)  # fmt: skip


@given(st.floats(1e-3, 1.0))
def test_hot_fails_beyond_its_threshold_and_not_at_it(speed: float) -> None:
    fast = pair_at(1.0, velocities=torch.full((1, 2, 3), speed, dtype=torch.float64))
    at = float(judged("hot", fast, pair()).value[0])
    assert at == pytest.approx(3.0 * AMU_A2_PER_FS2_eV * speed**2)
    assert not fails("hot", fast, pair(hot_eV=at))
    assert fails("hot", fast, pair(hot_eV=math.nextafter(at, 0.0)))


@pytest.mark.parametrize("field", ["positions", "velocities", "forces", "energies"])
def test_not_finite_passes_what_is_merely_large(field: str) -> None:
    for value, failed in ((1e300, False), (-1e300, False), (math.inf, True), (math.nan, True)):
        shape = getattr(pair_at(1.0), field).shape
        tensor = torch.zeros(shape, dtype=torch.float64)
        tensor.view(-1)[-1] = value
        assert fails("not_finite", pair_at(1.0, **{field: tensor}), pair()) == failed


def test_mlipaudit_loses_a_hydrogen_beyond_its_distance_and_not_at_it() -> None:
    assert not fails("mlipaudit", pair_at(2.5), pair())
    found = judged("mlipaudit", pair_at(math.nextafter(2.5, 3.0)), pair())
    assert (found.failed.tolist(), found.atoms.tolist()) == ([True], [[1, 0]])
    assert float(found.value[0]) == pytest.approx(1.0)
    assert not fails("mlipaudit", pair_at(9.0), pair(bonded=False)), "it was never bonded"
    for numbers in ((1, 1), (8, 6)):
        assert not fails("mlipaudit", pair_at(9.0), pair(numbers)), "no hydrogen and heavy atom"


def test_mlipaudit_does_not_lose_a_proton_that_moves_to_another_heavy_atom() -> None:
    """H–C bonded, 4 Å apart; the C is there for nothing: an O is near."""
    watched = replace(pair((1, 6)), numbers=torch.tensor([1, 6, 8]), masses_amu=torch.ones(3))
    x = torch.tensor([[[0.0, 0, 0], [4.0, 0, 0], [0, 2.4, 0]]], dtype=torch.float64)
    near = PhasePoint(x, 0 * x, 0 * x, x.new_zeros(1))
    assert not fails("mlipaudit", near, watched)
    x = x * 1.1
    gone = judged("mlipaudit", PhasePoint(x, 0 * x, 0 * x, x.new_zeros(1)), watched)
    assert (gone.failed.tolist(), gone.atoms.tolist()) == ([True], [[0, 2]])
    assert float(gone.value[0]) == pytest.approx(2.64 / 2.5)


@pytest.mark.parametrize(("excess_K", "failed"), [(9_999.99, False), (10_000.01, True)])
@pytest.mark.parametrize("target_K", [300.0, 5000.0])
def test_mlipaudit_explodes_ten_thousand_kelvin_above_the_run(
    target_K: float, excess_K: float, failed: bool
) -> None:
    """All six components alike: each holds m v² / 2 = k T / 2. A lost hydrogen is not asked for."""
    speed = math.sqrt(BOLTZMANN_eV_PER_K * (target_K + excess_K) / AMU_A2_PER_FS2_eV)
    velocities = torch.full((1, 2, 3), speed, dtype=torch.float64)
    watched = pair(temperature_K=target_K)
    assert fails("mlipaudit", pair_at(1.0, velocities=velocities), watched) == failed
    both = judged("mlipaudit", pair_at(9.0, velocities=velocities), watched)
    assert both.failed.all()
    assert both.atoms.tolist() == ([[-1, -1]] if failed else [[1, 0]])


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_criteria_take_no_setting(name: str) -> None:
    """Not in their records, and not in what they do."""
    assert "{" not in BUILT_IN[name].threshold
    other = DynamicsSettings(
        stretch_A=9.0, contact_fraction=9.0, contact_HH_A=9.0, max_force_eV_per_A=1e-9, hot_tail=0.5
    )
    for distance in (0.4, 0.7, 1.0, 1.4, 1.6, 3.0):
        found = [judged(name, pair_at(distance), pair(), s) for s in (ALL, other)]
        assert found[0].failed.tolist() == found[1].failed.tolist()


@pytest.mark.parametrize(
    "changes",
    [
        {"check_stride_fs": 0.7},
        {"length_ps": 0.00001},
        {"save_stride_ps": 0.0001},
        {"criteria": ()},
        {"criteria": ("hot",)},
        {"criteria": ("not_finite", "hot", "hot")},
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DynamicsSettings(**changes)
