"""Criteria of boxes: what must last does, which molecules fuse, which pairs have which bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from apps.dynamics.criteria import Watched, first_failure
from apps.dynamics.criteria_boxes import bond_out_of_bounds, fused, pair_too_close
from apps.dynamics.criteria_registry import criterion_rows
from apps.dynamics.integrators import PhasePoint
from apps.dynamics.lasting import Since
from apps.dynamics.settings import DynamicsSettings
from data_store.units import COVALENT_RADII_A

WATER = torch.tensor([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], dtype=torch.float64)
CELL = 10.0 * torch.eye(3, dtype=torch.float64)
NUMBERS = torch.tensor([8, 1, 1] * 3)
WATCHED = Watched(
    numbers=NUMBERS,
    masses_amu=torch.ones(9, dtype=torch.float64),
    bonds=torch.tensor([[3 * m, 3 * m + n] for m in range(3) for n in (1, 2)]),
    bond_lengths_A=torch.full((6,), 0.96, dtype=torch.float64),
    others=torch.zeros((0, 2), dtype=torch.int64),
    least_distances_A=torch.zeros(0, dtype=torch.float64),
    hot_eV=math.inf,
    temperature_K=300.0,
    cell=CELL,
    molecule_of=torch.tensor([0] * 3 + [1] * 3 + [2] * 3),
)
BONDING_A = 1.3 * float(COVALENT_RADII_A[8] + COVALENT_RADII_A[1])


def point(x: Tensor) -> PhasePoint:
    return PhasePoint(x, 0 * x, 0 * x, x.new_zeros(len(x)))


def three(between_A: float) -> Tensor:
    """Three molecules; the second's oxygen so far from a hydrogen of the first, in an image."""
    places = torch.tensor([[0.0, 0, 0], [0.96 + between_A - 10.0, 0, 0], [0.0, 0, 5.0]])
    x = torch.cat([WATER + place.double() for place in places])
    x[4] += torch.tensor([0.0, 0.96, 0.0]).double() - torch.tensor([0.96, 0, 0]).double()
    x[5] = x[3] + torch.tensor([0.24, 0.0, 0.93]).double()
    return x[None]


def settings(*criteria: str, **changes: Any) -> DynamicsSettings:
    return DynamicsSettings(criteria=("not_finite", *criteria), **changes)


@pytest.mark.parametrize(("between_A", "holds"), [(1.25, True), (1.27, False), (1.8, False)])
def test_molecules_within_bonding_distance_of_another_are_named(
    between_A: float, holds: bool
) -> None:
    found = fused(point(three(between_A)), WATCHED, settings("fused"))
    assert found.failed.tolist() == [holds]
    assert found.value[0] == pytest.approx(between_A / BONDING_A)
    assert sorted(found.atoms[0].tolist()) == [1, 3]
    assert found.units is not None
    assert found.units.holds[0].tolist() == [holds, holds] + [False] * 7
    assert found.units.atoms[0, :2].tolist() == [[1, 3], [3, 1]]


def test_atoms_of_one_molecule_are_not_fused() -> None:
    alone = three(1.8)
    alone[0, 1] = alone[0, 0] + torch.tensor([0.3, 0.0, 0.0]).double()
    assert not fused(point(alone), WATCHED, settings("fused")).failed.any()


def failed_at(
    frames: Sequence[Tensor], used: DynamicsSettings, stride: int = 10
) -> tuple[int, list[int]] | None:
    """Check at which a replica fails, and its atoms."""
    since: Since = {}
    for check, x in enumerate(frames):
        cause, _, atoms = first_failure(point(x), WATCHED, used, check * stride, since)
        if int(cause[0]) >= 0:
            return check, sorted(atoms[0].tolist())
    return None


def test_molecules_that_collide_are_not_those_that_fuse() -> None:
    """Checks every 5 fs: 50 fs are eleven of them."""
    used = settings("fused")
    near, far = three(1.1), three(1.8)
    assert failed_at([near] * 10 + [far] + [near] * 10, used) is None
    assert failed_at([far] * 3 + [near] * 11, used) == (13, [1, 3])
    assert failed_at([near], settings("fused", fused_fs=0.0)) == (0, [1, 3])


def test_atoms_in_contact_may_change_while_molecules_stay_fused() -> None:
    other = three(1.1)
    other[0, [1, 2]] = other[0, [2, 1]]
    assert failed_at([three(1.1), other] * 6, settings("fused")) == (10, [1, 3])


def long_bond(bond: int, length_A: float) -> Tensor:
    x = three(3.0)
    a, b = WATCHED.bonds[bond].tolist()
    vector = x[0, b] - x[0, a]
    x[0, b] = x[0, a] + vector * (length_A / vector.norm())
    return x


def test_one_bond_must_stay_out_and_others_do_not_help() -> None:
    used = settings("bond_out_of_bounds")
    assert failed_at([long_bond(4, 1.5)] * 11, used) == (10, [6, 7])
    assert failed_at([long_bond(4, 0.6)] * 11, used) == (10, [6, 7])
    assert failed_at([long_bond(4, 1.5), long_bond(4, 0.6)] * 6, used) == (10, [6, 7])
    assert failed_at([long_bond(4, 1.5), long_bond(1, 1.5)] * 20, used) is None
    assert failed_at([long_bond(4, 1.39)] * 20 + [long_bond(4, 0.71)] * 20, used) is None


def test_bonds_of_pairs_without_bounds_are_not_watched() -> None:
    used = settings("bond_out_of_bounds", bond_bounds_A={"H-C": (0.8, 1.3)})
    assert failed_at([long_bond(4, 1.5)] * 40, used) is None
    assert not bond_out_of_bounds(point(long_bond(4, 1.5)), WATCHED, used).failed.any()


def apart(distance_A: float) -> Tensor:
    """The first two oxygens so far apart, across the boundary."""
    x = three(3.0)
    x[0, 3:6] += torch.tensor([10.0 + distance_A, 0.0, 0.0]).double() - x[0, 3]
    return x


@given(st.integers(4, 16).map(lambda n: n / 4))
def test_pairs_are_too_close_below_their_bound_and_not_at_it(bound: float) -> None:
    used = settings("pair_too_close", pair_bounds_A={"O-O": bound})
    inside = pair_too_close(point(apart(bound - 1e-6)), WATCHED, used)
    assert inside.failed.all()
    assert sorted(inside.atoms[0].tolist()) == [0, 3]
    assert not pair_too_close(point(apart(bound + 1e-6)), WATCHED, used).failed.any()


def test_bonded_atoms_have_a_bound_too_and_other_elements_none() -> None:
    used = settings("pair_too_close", pair_bounds_A={"O-H": 0.7})
    assert failed_at([long_bond(0, 0.6)], used) == (0, [0, 1])
    assert failed_at([apart(0.5)], settings("pair_too_close", pair_bounds_A={"H-H": 0.1})) is None


def test_how_many_are_looked_at_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from apps.dynamics import images

    many = point(torch.cat([three(d) for d in (1.1, 1.2, 1.3, 2.0)]))
    used = settings("fused", "pair_too_close", pair_bounds_A={"O-O": 2.2})
    judged = [judge(many, WATCHED, used) for judge in (fused, pair_too_close)]
    monkeypatch.setattr(images, "_CHUNK_PAIRS", {"cpu": 1})
    for judge, before in zip((fused, pair_too_close), judged, strict=True):
        after = judge(many, WATCHED, used)
        assert torch.equal(before.value, after.value)
        assert torch.equal(before.atoms, after.atoms)
        assert torch.equal(before.failed, after.failed)
        assert 0 < int(before.failed.sum()) < 4


def test_pairs_are_one_whichever_way_round_they_are_written() -> None:
    one, other = (settings("pair_too_close", pair_bounds_A=t) for t in ({"O-H": 0.7}, {"H-O": 0.7}))
    assert one == other
    assert one.model_dump()["pair_bounds_A"] == {"H-O": 0.7}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"pair_bounds_A": {"O-X": 1.0}}, "no pair of elements"),
        ({"pair_bounds_A": {"OH": 1.0}}, "no pair of elements"),
        ({"pair_bounds_A": {"O-H": 1.0, "H-O": 2.0}}, "twice"),
        ({"bond_bounds_A": {"O-H": (1.0, 0.9)}}, "the shorter comes first"),
        ({"pair_bounds_A": {"O-H": -1.0}}, "greater than 0"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        settings("pair_too_close", **changes)


def test_keys_of_criteria_that_are_not_declared_are_in_no_identity() -> None:
    keys = {"fused_within", "fused_fs", "bond_bounds_A", "bond_bounds_fs", "pair_bounds_A"}
    assert not keys & DynamicsSettings().model_dump().keys()
    changed = DynamicsSettings(fused_fs=10.0, pair_bounds_A={"C-C": 1.0})
    assert changed.model_dump(mode="json") == DynamicsSettings().model_dump(mode="json")
    used = settings("fused").model_dump(mode="json")
    assert keys & used.keys() == {"fused_within", "fused_fs"}
    assert DynamicsSettings.model_validate(used) == settings("fused")


def test_thresholds_are_told_in_words() -> None:
    rows = criterion_rows(settings("fused", "bond_out_of_bounds", "pair_too_close"))
    told = {row.name: row.threshold for row in rows}
    assert told["fused"] == "< 1.3 × sum of covalent radii for 50 fs"
    assert told["bond_out_of_bounds"] == "outside of H-O 0.7–1.4 Å for 50 fs"
    assert told["pair_too_close"] == "< O-O 2 Å"
