"""The reference method obeys the laws of an energy, and says where it has no answer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from apps.potential import xtb
from apps.potential.xtb import METHODS, ReferenceMethod, check_installed, check_solves
from data_store.errors import InputError
from data_store.molecules import Molecule

NUMBERS = (8, 1, 1)
X = np.array([[0.0, 0, 0], [0.98, 0, 0.02], [-0.24, 0.90, 0.1]])


@pytest.fixture(params=sorted(METHODS))
def method(request: pytest.FixtureRequest) -> ReferenceMethod:
    return ReferenceMethod(request.param, NUMBERS)


def test_forces_are_the_gradient(method: ReferenceMethod) -> None:
    _, forces = method.energies_and_forces(X[None])
    step = 1e-3
    shifts = step * np.eye(9).reshape(9, 3, 3)
    slope = (method.energies(X + shifts) - method.energies(X - shifts)) / (2 * step)
    np.testing.assert_allclose(forces[0].ravel(), -slope, atol=2e-4)


def test_energy_does_not_turn_and_forces_do(method: ReferenceMethod) -> None:
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    energies, forces = method.energies_and_forces(np.stack([X, X @ turn + 1.0]))
    assert energies[1] == pytest.approx(energies[0], abs=1e-5)
    np.testing.assert_allclose(forces[1], forces[0] @ turn, atol=1e-4)


def test_far_molecules_add_up(method: ReferenceMethod) -> None:
    pair = ReferenceMethod(method.method, NUMBERS * 2)
    together = pair.energies(np.concatenate([X, X + 60.0])[None])
    assert together[0] == pytest.approx(2.0 * method.energies(X[None])[0], abs=1e-3)


def test_spin_is_what_is_said() -> None:
    """Hydrogen is bound as a singlet and not as a triplet."""
    near, far = np.array([[0.0, 0, 0], [0, 0, 0.74]]), np.array([[0.0, 0, 0], [0, 0, 2.0]])
    singlet, triplet = (
        ReferenceMethod("gfn2-xtb", (1, 1), multiplicity=m).energies(np.stack([near, far]))
        for m in (1, 3)
    )
    assert singlet[0] < singlet[1] - 1.0
    assert triplet[0] > triplet[1] + 1.0


def test_without_an_answer_there_is_no_number_and_it_is_counted(method: ReferenceMethod) -> None:
    torn = np.stack([X, X, X])
    torn[1, 1] = torn[1, 0]  # two atoms in one place
    torn[2, 0, 0] = np.nan
    energies, forces = method.energies_and_forces(torn)
    assert np.isfinite(energies).tolist() == [True, False, False]
    assert np.isfinite(forces).all(axis=(1, 2)).tolist() == [True, False, False]
    assert method.unsolved == 2


def test_a_lacking_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xtb, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="tblite"):
        check_installed("gfn2-xtb")


def test_a_molecule_that_has_no_answer_is_refused_beforehand(method: ReferenceMethod) -> None:
    water = Molecule("water", NUMBERS, ((0, 1), (0, 2)), (1, 1), (0, 0, 0), 1, X)
    check_solves(method.method, water)
    torn = X.copy()
    torn[1] = torn[0]
    with pytest.raises(InputError, match=r"no answer to the geometry of .* multiplicity 1"):
        check_solves(method.method, dataclasses.replace(water, reference_positions=torn))
