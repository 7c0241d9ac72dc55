"""Laws of pairs of unlike molecules: gradient, motion, both far apart; like ones are as before."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from apps.sampling import unlike
from apps.sampling.field import Field, Teacher
from apps.sampling.molecule import molecule_from_smiles
from apps.sampling.settings import LangevinSettings, SamplingSettings, TierSettings
from apps.sampling.strategies.moves import rotate
from apps.sampling.teacher import choose_teacher, make_teacher
from apps.sampling.unlike import UnlikePair, interaction_of, make_unlike_chunk
from data_store.errors import InputError, MethodError
from data_store.molecules import Molecule
from data_store.streams import stream
from data_store.structures import TIER_CODES
from data_store.units import COVALENT_RADII_A

CASES = [("O", "CO", "mmff94"), ("O", "O[O]", "gfnff"), ("CC(=O)[O-]", "C[NH3+]", "mmff94"),
         ("O=C=O", "CO", "gfnff"), ("[H][H]", "O=O", "gfnff")]  # fmt: skip
each_case = pytest.mark.parametrize(("first", "second", "interaction"), CASES)


@cache
def molecule(smiles: str) -> Molecule:
    return molecule_from_smiles(smiles, name=smiles)


@cache
def teacher(smiles: str) -> Teacher:
    return make_teacher(choose_teacher("auto", molecule(smiles)).name, molecule(smiles))


@cache
def pair(first: str, second: str) -> UnlikePair:
    one, other = teacher(first), teacher(second)
    return UnlikePair(one, other, interaction_of(one.molecule, other.molecule)[1])


def beside(first: str, second: str, gap_A: float, sigma_A: float) -> np.ndarray:
    one, other = (teacher(smiles).relaxed_positions for smiles in (first, second))
    shift = np.array([one[:, 0].max() - other[:, 0].min() + gap_A, 0.2, 0.1])
    x = np.concatenate([one, other + shift])
    return x + sigma_A * stream(0, first, second).normal(size=x.shape)


def worst_force_error(field: Field, x: np.ndarray) -> float:
    step = 1e-4
    shifts = step * np.eye(x.size).reshape(-1, *x.shape)
    up, down = (field.energies_and_forces(x + sign * shifts)[0] for sign in (1, -1))
    forces = field.energies_and_forces(x[None])[1][0]
    error = np.abs((down - up) / (2 * step) - forces.ravel()).max()
    return float(error / max(1.0, np.abs(forces).max()))


@each_case
def test_forces_are_the_gradient(first: str, second: str, interaction: str) -> None:
    assert interaction_of(molecule(first), molecule(second))[0] == interaction
    assert worst_force_error(pair(first, second), beside(first, second, 2.0, 0.05)) < 1e-4


def test_a_forgotten_interaction_is_caught() -> None:
    whole = pair("O", "CO")

    class Halved:
        molecule = whole.molecule

        def energies_and_forces(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            energies, forces = whole.energies_and_forces(positions)
            pull = forces[:, :3].sum(1, keepdims=True) / 6.0
            return energies, np.concatenate([forces[:, :3] - pull, forces[:, 3:]], axis=1)

    assert worst_force_error(Halved(), beside("O", "CO", 1.6, 0.05)) > 1e-3


@each_case
def test_far_apart_each_is_as_its_teacher_has_it(first: str, second: str, interaction: str) -> None:
    x, count = beside(first, second, 1e5, 0.1), len(molecule(first).numbers)
    energies, forces = pair(first, second).energies_and_forces(x[None])
    one, pull_one = teacher(first).energies_and_forces(x[None, :count])
    other, pull_other = teacher(second).energies_and_forces(x[None, count:])
    # Two ions at 10 µm: 1e-4 eV.
    assert energies[0] == pytest.approx(one[0] + other[0], abs=1e-3)
    np.testing.assert_allclose(forces[0], np.concatenate([pull_one[0], pull_other[0]]), atol=1e-5)


@each_case
def test_energies_do_not_know_where_the_pair_is(first: str, second: str, interaction: str) -> None:
    x = beside(first, second, 2.0, 0.1)
    turned = rotate(x, np.ones(len(x), dtype=bool), np.zeros(3), np.array([1.0, -2.0, 0.5]), 1.2)
    energies, _ = pair(first, second).energies_and_forces(np.stack([x, turned + 5.0]))
    assert energies[1] == pytest.approx(energies[0], abs=1e-6)


@each_case
def test_action_is_reaction(first: str, second: str, interaction: str) -> None:
    x, count = beside(first, second, 1.8, 0.05), len(molecule(first).numbers)
    forces = pair(first, second).energies_and_forces(x[None])[1][0]
    assert np.linalg.norm(forces[:count].sum(0)) > 1e-3
    np.testing.assert_allclose(forces[:count].sum(0), -forces[count:].sum(0), atol=1e-5)


@pytest.mark.parametrize(("name", "smiles"), [("mmff94", "CO"), ("gfnff", "CO"), ("uff", "O=O")])
def test_two_alike_are_the_teachers_own_pair(name: str, smiles: str) -> None:
    bound = make_teacher(name, molecule(smiles))
    own = bound.pair()
    both = unlike._INTERACTIONS[name][1](bound.molecule, bound.molecule)
    assert own is not None
    assert both is not None
    one = bound.relaxed_positions
    x = np.concatenate([one, one + np.array([np.ptp(one[:, 0]) + 2.0, 0.3, 0.2])])[None]
    energies, forces = UnlikePair(bound, bound, both).energies_and_forces(x)
    expected, expected_forces = own.energies_and_forces(x)
    assert energies[0] == pytest.approx(expected[0], abs=1e-5)
    np.testing.assert_allclose(forces, expected_forces, atol=1e-5)


def settings(count: int = 60, **more: float) -> SamplingSettings:
    quick = LangevinSettings(temperatures_K=(300.0,), equilibration_fs=5.0, stride_fs=2.0)
    tiers = TierSettings.model_validate({"langevin": quick, "pair": {"weight": 0.2}})
    return SamplingSettings(chunk_structures=count, tiers=tiers, **more)


def test_a_chunk_is_filled_with_contacts_and_seeded() -> None:
    one, other = teacher("O"), teacher("CO")
    made, again, next_one = (
        make_unlike_chunk(one, other, settings(), 0, chunk)[0].structures for chunk in (0, 0, 1)
    )
    x = made.dense_positions().astype(np.float64)
    np.testing.assert_array_equal(x, again.dense_positions())
    assert np.abs(x - next_one.dense_positions()).max() > 0.1
    assert set(made.tiers) == {TIER_CODES["pair"]}
    assert x.shape == (60, 9, 3)
    radii = COVALENT_RADII_A[list(made.numbers_of(0))]
    apart = np.linalg.norm(x[:, :3, None] - x[:, None, 3:], axis=-1)
    contact = (apart / (radii[:3, None] + radii[None, 3:])).min((1, 2))
    low, high = settings().tiers.pair.contact
    assert low - 1e-3 < contact.min() < 1.6
    assert 2.0 < contact.max() < high + 1e-3
    energies, _ = pair("O", "CO").energies_and_forces(x)
    np.testing.assert_allclose(made.labelled_energies(), energies, atol=1e-3)


def test_any_side_of_both_is_met() -> None:
    """Each atom of one is nearest to the other somewhere, head-on and sideways."""
    x = make_unlike_chunk(teacher("O"), teacher("CO"), settings(300), 0, 0)[0].structures
    positions = x.dense_positions().astype(np.float64)
    apart = np.linalg.norm(positions[:, :3, None] - positions[:, None, 3:], axis=-1)
    nearest = apart.reshape(len(positions), -1).argmin(1)
    assert set((nearest // 6).tolist()) == {0, 1, 2}
    assert set((nearest % 6).tolist()) >= {1, 2, 3, 4, 5}


def test_a_window_that_nothing_passes_says_what_it_rejected() -> None:
    with pytest.raises(MethodError, match=r"pairs of H2O and CH4O.*high_energy"):
        make_unlike_chunk(teacher("O"), teacher("CO"), settings(max_energy_eV_per_atom=1e-6), 0, 0)


def test_two_that_nothing_knows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def knows_nothing(molecule: Molecule) -> list[int]:
        return [0]

    monkeypatch.setattr(unlike, "_INTERACTIONS", {"uff": (knows_nothing, unlike._by_uff)})
    with pytest.raises(InputError, match="no force field knows both H2O and CH4O") as caught:
        interaction_of(molecule("O"), molecule("CO"))
    assert "weight of the tier pair to 0" in caught.value.hint
