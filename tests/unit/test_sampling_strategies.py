"""Strategies of distortion do what they say: distances, angles, energies by mode; all seeded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import kstest

from apps.sampling import chunk
from apps.sampling.chunk import make_chunk
from apps.sampling.gfnff import GFNFF
from apps.sampling.mmff94 import MMFF94
from apps.sampling.molecule import molecule_from_smiles
from apps.sampling.settings import (
    AngleSettings,
    FragmentSettings,
    LangevinSettings,
    NormalModeSettings,
    PairSettings,
    SamplingSettings,
    TierSettings,
)
from apps.sampling.strategies.angle import bend_angles, bond_angles
from apps.sampling.strategies.fragment import acyclic_bonds, pull_apart
from apps.sampling.strategies.moves import side_of_bond
from apps.sampling.strategies.normal_mode import displace_along_modes, vibrations
from apps.sampling.strategies.pair import bring_into_contact
from apps.sampling.tiers import TIERS
from data_store.errors import InputError, MethodError
from data_store.molecules import Molecule
from data_store.streams import stream
from data_store.structures import TIER_CODES
from data_store.units import (
    COVALENT_RADII_A,
    AMU_A2_PER_FS2_eV,
    ATOMIC_MASSES_amu,
    BOLTZMANN_eV_PER_K,
)

NEW = ("normal_mode", "angle", "fragment", "pair")


@pytest.fixture(scope="module")
def methanol() -> Molecule:
    return molecule_from_smiles("CO", name="methanol")


def frames(molecule: Molecule, count: int, sigma_A: float = 0.05) -> np.ndarray:
    rest = molecule.reference_positions
    return rest + sigma_A * stream(0, "frames").normal(size=(count, *rest.shape))


@dataclass
class Springs:
    """A teacher that is harmonic: springs between all atoms, expanded about rest."""

    molecule: Molecule
    relaxed_positions: np.ndarray = field(init=False)
    hessian: np.ndarray = field(init=False)
    name: str = "springs"

    def __post_init__(self) -> None:
        x = self.relaxed_positions = self.molecule.reference_positions
        self.hessian = np.zeros((x.size, x.size))
        for i, j in combinations(range(len(x)), 2):
            pull = np.zeros_like(x)
            pull[i] = (x[i] - x[j]) / np.linalg.norm(x[i] - x[j])
            pull[j] = -pull[i]
            self.hessian += (5.0 + i + j) * np.outer(pull, pull)

    def energies_and_forces(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shift = (positions - self.relaxed_positions).reshape(len(positions), -1)
        forces = -shift @ self.hessian
        return -0.5 * (shift * forces).sum(1), forces.reshape(positions.shape)

    def openmm_system(self, copies: int) -> None:
        return None

    def pair(self) -> None:
        return None


@pytest.mark.parametrize(
    ("smiles", "modes"), [("O", 3), ("CO", 12), ("[OH]", 1), ("C#N", 4), ("O=C=O", 4)]
)
def test_molecules_have_as_many_vibrations_as_they_should(smiles: str, modes: int) -> None:
    teacher = GFNFF(molecule_from_smiles(smiles))
    stiffness, found = vibrations(teacher, teacher.relaxed_positions)
    assert found.shape == (modes, len(teacher.molecule.numbers), 3)
    assert stiffness.min() > 0.0
    masses = ATOMIC_MASSES_amu[list(teacher.molecule.numbers)][:, None]
    products = np.einsum("mnx,knx->mk", masses * found, found)
    np.testing.assert_allclose(products, np.eye(modes), atol=1e-9)
    momentum = (masses * found).sum(1)
    turning = np.cross(teacher.relaxed_positions, masses * found).sum(1)
    assert max(np.abs(momentum).max(), np.abs(turning).max()) < 1e-6


def test_a_diatomic_vibrates_by_its_reduced_mass() -> None:
    teacher = Springs(molecule_from_smiles("[OH]"))
    stiffness, _ = vibrations(teacher, teacher.relaxed_positions)
    oxygen, hydrogen = ATOMIC_MASSES_amu[[8, 1]]
    assert stiffness[0] == pytest.approx(6.0 * (1 / oxygen + 1 / hydrogen), rel=1e-9)


def energies_by_mode(teacher: Springs, x: np.ndarray) -> np.ndarray:
    """Harmonic energy of each mode of each structure, in eV."""
    stiffness, modes = vibrations(teacher, teacher.relaxed_positions)
    masses = ATOMIC_MASSES_amu[list(teacher.molecule.numbers)][:, None]
    amplitudes = np.einsum("mnx,snx->sm", masses * modes, x - teacher.relaxed_positions)
    return np.asarray(0.5 * stiffness * amplitudes**2)


def displaced(molecule: Molecule, settings: NormalModeSettings, count: int) -> tuple[Any, Any]:
    """Energies of structures, and of each of their modes."""
    teacher = Springs(molecule)
    base = np.repeat(teacher.relaxed_positions[None], count, axis=0)
    x = displace_along_modes(teacher, base, settings, stream(0, "modes"))
    return teacher.energies_and_forces(x)[0], energies_by_mode(teacher, x)


def test_every_mode_has_the_energy_of_its_temperature(methanol: Molecule) -> None:
    settings = NormalModeSettings(temperatures_K=(1000.0, 1000.0), softest_per_cm=1.0)
    energies, by_mode = displaced(methanol, settings, 4000)
    each = 0.5 * BOLTZMANN_eV_PER_K * 1000.0
    np.testing.assert_allclose(energies, 12 * each, rtol=1e-6)
    np.testing.assert_allclose(by_mode.sum(1), energies, rtol=1e-6)
    # The share of one of 12 modes has a spread of 1.3 of its mean: 2 % of 4000.
    np.testing.assert_allclose(by_mode.mean(0), each, rtol=0.1)


def test_cartesian_noise_has_no_such_energies(methanol: Molecule) -> None:
    by_mode = energies_by_mode(Springs(methanol), frames(methanol, 4000)).mean(0)
    assert np.abs(by_mode / by_mode.mean() - 1.0).max() > 0.3


def test_temperatures_are_drawn_from_their_range(methanol: Molecule) -> None:
    settings = NormalModeSettings(temperatures_K=(300.0, 5000.0), softest_per_cm=1.0)
    energies, _ = displaced(methanol, settings, 2000)
    temperatures = energies / (6 * BOLTZMANN_eV_PER_K)
    assert kstest(temperatures, "uniform", args=(300.0, 4700.0)).pvalue > 1e-4
    assert kstest(np.sqrt(temperatures), "uniform", args=(17.3, 53.4)).pvalue < 1e-4


def test_soft_modes_are_held(methanol: Molecule) -> None:
    teacher = Springs(methanol)
    stiffness, _ = vibrations(teacher, teacher.relaxed_positions)
    wavenumbers = np.sqrt(stiffness / AMU_A2_PER_FS2_eV) / (2 * np.pi * 2.99792458e-5)
    limit = float(np.median(wavenumbers))
    settings = NormalModeSettings(temperatures_K=(1000.0, 1000.0), softest_per_cm=limit)
    _, by_mode = displaced(methanol, settings, 4000)
    each = 0.5 * BOLTZMANN_eV_PER_K * 1000.0
    expected = each * np.minimum(1.0, (wavenumbers / limit) ** 2)
    np.testing.assert_allclose(by_mode.mean(0), expected, rtol=0.1)
    assert expected.min() < 0.8 * each


def angle_degrees(x: np.ndarray, angle: tuple[int, int, int]) -> float:
    i, j, k = angle
    a, b = x[i] - x[j], x[k] - x[j]
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)))


def lengths(molecule: Molecule, x: np.ndarray) -> np.ndarray:
    return np.array([np.linalg.norm(x[j] - x[i]) for i, j in molecule.bonds])


@pytest.mark.parametrize(
    ("smiles", "rings"), [("CO", False), ("CC(C)O", False), ("C1CCCC1", True), ("CC1CC1", True)]
)
def test_one_angle_is_bent_by_as_much_as_asked(smiles: str, rings: bool) -> None:
    molecule = molecule_from_smiles(smiles)
    base = frames(molecule, 80)
    moved = bend_angles(molecule, base, AngleSettings(bend_degrees=(20.0, 20.0)), stream(0, "a"))
    angles = bond_angles(molecule)
    bent = np.array(
        [
            [angle_degrees(y, angle) - angle_degrees(x, angle) for angle in angles]
            for x, y in zip(base, moved, strict=True)
        ]
    )
    hit = np.abs(bent - 20.0) < 1e-6
    assert hit.any(axis=1).all()
    assert hit.any(axis=0).mean() > 0.6, "angles have their turns"
    stretched = [
        np.abs(lengths(molecule, y) - lengths(molecule, x)).max() > 1e-9
        for x, y in zip(base, moved, strict=True)
    ]
    assert any(stretched) == rings, "outside rings no bond gives way"


def test_bends_have_the_range_asked_for(methanol: Molecule) -> None:
    base = np.repeat(methanol.reference_positions[None], 400, axis=0)
    moved = bend_angles(methanol, base, AngleSettings(bend_degrees=(-40.0, 60.0)), stream(1, "a"))
    angles = bond_angles(methanol)
    rest = np.array([angle_degrees(base[0], angle) for angle in angles])
    change = np.array([[angle_degrees(x, angle) for angle in angles] for x in moved]) - rest
    assert -40.1 < change.min() < -38.0
    assert 58.0 < change.max() < 60.1


def test_a_straight_angle_bends_in_any_plane() -> None:
    molecule = GFNFF(molecule_from_smiles("O=C=O")).molecule
    line = replace(molecule, reference_positions=np.array([[-1.2, 0, 0], [0.0, 0, 0], [1.2, 0, 0]]))
    (angle,) = bond_angles(line)
    base = np.repeat(line.reference_positions[None], 200, axis=0)
    moved = bend_angles(line, base, AngleSettings(bend_degrees=(30.0, 30.0)), stream(0, "a"))
    assert [angle_degrees(x, angle) for x in moved] == pytest.approx([150.0] * 200)
    around = np.arctan2(*(moved[:, angle[2]] - moved[:, angle[1]])[:, 1:].T)
    assert kstest(around, "uniform", args=(-np.pi, 2 * np.pi)).pvalue > 1e-4


def test_fragments_come_apart_along_one_bond() -> None:
    molecule = molecule_from_smiles("CC(C)O")
    base = frames(molecule, 100)
    moved = pull_apart(molecule, base, FragmentSettings(beyond_A=(2.5, 2.5)), stream(0, "f"))
    rest = lengths(molecule, molecule.reference_positions)
    cut = set()
    for x, y in zip(base, moved, strict=True):
        now = lengths(molecule, y)
        (bond,) = np.flatnonzero(np.abs(now - lengths(molecule, x)) > 1e-9)
        cut.add(int(bond))
        assert now[bond] == pytest.approx(rest[bond] + 2.5)
        side = side_of_bond(molecule, *molecule.bonds[bond])
        assert side is not None
        for piece in (side, ~side):
            np.testing.assert_allclose(distances(y[piece]), distances(x[piece]), atol=1e-9)
    assert cut == set(range(len(molecule.bonds)))


def test_fragments_turn_about_the_bond() -> None:
    peroxide = molecule_from_smiles("OO")
    base = np.repeat(peroxide.reference_positions[None], 600, axis=0)
    moved = pull_apart(peroxide, base, FragmentSettings(beyond_A=(0.3, 4.0)), stream(0, "f"))
    now = np.array([lengths(peroxide, x) for x in moved]) - lengths(peroxide, base[0])
    middle = peroxide.bonds.index((0, 1))
    cut = np.flatnonzero(now[:, middle] > 0.01)
    beyond = np.log(now[cut, middle])
    assert kstest(beyond, "uniform", args=(np.log(0.3), np.log(4.0 / 0.3))).pvalue > 1e-4
    turns = [dihedral(x) for x in moved[cut]]
    assert kstest(turns, "uniform", args=(-np.pi, 2 * np.pi)).pvalue > 1e-4
    assert kstest(np.abs(turns), "uniform", args=(-np.pi, 2 * np.pi)).pvalue < 1e-4


def dihedral(x: np.ndarray) -> float:
    """H–O–O–H of hydrogen peroxide."""
    axis = (x[1] - x[0]) / np.linalg.norm(x[1] - x[0])
    one, two = np.cross(axis, x[2] - x[0]), np.cross(axis, x[3] - x[1])
    return float(np.arctan2(np.cross(one, two) @ axis, one @ two))


def distances(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(x[:, None] - x[None, :], axis=-1))


def test_rings_are_not_cut() -> None:
    molecule = molecule_from_smiles("CC1CC1")
    ring = {bond for bond in molecule.bonds if set(bond) <= {1, 2, 3}}
    assert len(ring) == 3
    assert set(acyclic_bonds(molecule)) == set(molecule.bonds) - ring


def test_pairs_touch_where_they_should(methanol: Molecule) -> None:
    base, count = frames(methanol, 300), len(methanol.numbers)
    moved = bring_into_contact(methanol, base, PairSettings(contact=(1.7, 1.7)), stream(0, "p"))
    radii = COVALENT_RADII_A[list(methanol.numbers)]
    first, second = moved[:, :count], moved[:, count:]
    np.testing.assert_array_equal(first, base)
    gaps = np.linalg.norm(second[:, None, :] - first[:, :, None], axis=-1)
    ratios = (gaps / (radii[:, None] + radii)).min((1, 2))
    np.testing.assert_allclose(ratios, 1.7, rtol=1e-9)
    # The second copy is one of the frames, whole and no mirror image.
    known = {tuple(np.round(distances(x), 6).ravel()): volume(x) for x in base}
    for x in second:
        found = known[tuple(np.round(distances(x), 6).ravel())]
        assert volume(x) == pytest.approx(found, abs=1e-9)


def volume(x: np.ndarray) -> float:
    return float(np.linalg.det(x[1:4] - x[0]))


def test_pairs_have_every_orientation(methanol: Molecule) -> None:
    base = np.repeat(methanol.reference_positions[None], 3000, axis=0)
    moved = bring_into_contact(methanol, base, PairSettings(), stream(0, "p"))
    count = len(methanol.numbers)
    axis = moved[:, count + 1] - moved[:, count]
    cosines = axis / np.linalg.norm(axis, axis=1, keepdims=True)
    for cosine in cosines.T:
        assert kstest(cosine, "uniform", args=(-1.0, 2.0)).pvalue > 1e-4
    assert kstest(np.abs(cosines[:, 0]), "uniform", args=(-1.0, 2.0)).pvalue < 1e-4


QUICK = LangevinSettings(
    weight=0.2, temperatures_K=(300.0, 600.0), equilibration_fs=20.0, stride_fs=5.0
)


def only(*names: str, weight: float = 0.2) -> SamplingSettings:
    """Settings in which these tiers alone have a weight."""
    given = {"langevin": QUICK.model_dump()} | {name: {"weight": 0.0} for name in TIERS}
    given["langevin"] = QUICK.model_dump() | {"weight": 0.0}
    for name in names:
        given[name]["weight"] = weight
    return SamplingSettings(chunk_structures=60, tiers=TierSettings.model_validate(given))


@pytest.mark.parametrize("teacher", [MMFF94, GFNFF])
def test_chunks_hold_every_tier(methanol: Molecule, teacher: Any) -> None:
    bound = teacher(methanol)
    one, again, other = (make_chunk(bound, only(*TIERS), 0, number) for number in (0, 0, 1))
    assert set(one.tiers) == set(TIERS) == set(one.rejected)
    assert sum(one.tiers.values()) == len(one.structures) == 60
    np.testing.assert_array_equal(one.structures.positions, again.structures.positions)
    assert not set(one.structures.parents) & set(other.structures.parents)
    for name in TIERS:
        rows = [np.flatnonzero(c.structures.tiers == TIER_CODES[name]) for c in (one, other)]
        assert len(rows[0]) == one.tiers[name]
        a, b = (c.structures.take(r) for c, r in zip((one, other), rows, strict=True))
        assert not np.array_equal(a.positions[:12], b.positions[:12])
        assert set(a.atom_counts) == {12 if name == "pair" else 6}


def test_pairs_carry_charge_and_energy_of_two() -> None:
    ammonium = MMFF94(molecule_from_smiles("[NH4+]"))
    made = make_chunk(ammonium, only("pair"), 0, 0).structures
    assert set(made.charges) == {2}
    pair = ammonium.pair()
    assert pair is not None
    energies, _ = pair.energies_and_forces(made.dense_positions().astype(np.float64))
    np.testing.assert_allclose(made.labelled_energies(), energies, atol=1e-4)
    assert made.labelled_energies().min() > 1.0, "two cations in contact repel"


@pytest.mark.parametrize(
    ("smiles", "impossible"),
    [("[OH]", {"clash", "angle", "pair"}), ("O=C=O", {"pair"}), ("O", set())],
)
def test_impossible_tiers_are_left_out_and_said(smiles: str, impossible: set[str]) -> None:
    asked = only(*TIERS)
    made = make_chunk(MMFF94(molecule_from_smiles(smiles)), asked, 0, 0)
    assert set(made.left_out) == impossible
    assert set(made.tiers) == set(TIERS) - impossible
    assert len(made.structures) == 60


def fragments_only(*beyond_A: float) -> SamplingSettings:
    fragment = FragmentSettings(weight=1.0, beyond_A=beyond_A)
    tiers = only("fragment").tiers.model_copy(update={"fragment": fragment})
    return SamplingSettings(chunk_structures=200, tiers=tiers)


def test_a_tier_that_gets_on_is_not_given_up(
    methanol: Molecule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of these one in twelve is accepted: too few for a fixed number of rounds."""
    slow = fragments_only(0.85, 4.0)
    assert make_chunk(MMFF94(methanol), slow, 0, 0).tiers == {"fragment": 200}
    with pytest.raises(MethodError, match="after 12 rounds 0 of 200"):
        make_chunk(MMFF94(methanol), fragments_only(3.5, 4.0), 0, 0)
    monkeypatch.setattr(chunk, "_GETS_ON", 1.0)
    with pytest.raises(MethodError, match=r"after 12 rounds 1\d\d of 200"):
        make_chunk(MMFF94(methanol), slow, 0, 0)


def test_a_lone_atom_has_what_it_can() -> None:
    made = make_chunk(GFNFF(molecule_from_smiles("[Ar]")), only("langevin", "pair", "angle"), 0, 0)
    assert made.left_out == ("angle",)


def test_a_molecule_that_can_have_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="none of the tiers that have a weight: angle, pair"):
        make_chunk(MMFF94(molecule_from_smiles("[OH]")), only("angle", "pair"), 0, 0)


def test_new_tiers_have_no_weight_unless_asked(methanol: Molecule) -> None:
    settings = SamplingSettings(chunk_structures=20, tiers=TierSettings(langevin=QUICK))
    made = make_chunk(MMFF94(methanol), settings, 0, 0)
    assert not set(NEW) & set(made.tiers)
    assert made.left_out == ()


@pytest.mark.parametrize(
    "tiers",
    [
        {"angle": {"bend_degrees": (30.0, -30.0)}},
        {"fragment": {"beyond_A": (0.0, 1.0)}},
        {"pair": {"contact": (-1.0, 1.0)}},
        {"normal_mode": {"temperatures_K": (500.0, 300.0)}},
        {"normal_mode": {"softest_per_cm": 0.0}},
    ],
)
def test_impossible_ranges_are_refused(tiers: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TierSettings.model_validate(tiers)
