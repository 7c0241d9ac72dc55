"""What sampling compiles gives what RDKit, OpenMM and numpy give, whatever it is fed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rdkit.Chem import rdForceFieldHelpers as fields

from apps.sampling.acceptance import shortest_distances
from apps.sampling.chunk import make_chunk
from apps.sampling.field import LangevinStep, PhasePoint
from apps.sampling.langevin import langevin_frames
from apps.sampling.mmff94 import FORCE_GROUPS, MMFF94
from apps.sampling.mmff94_terms import MMFF94Terms, read_terms
from apps.sampling.mmff94s import MMFF94s
from apps.sampling.molecule import molecule_from_smiles, to_rdkit
from apps.sampling.native import batches
from apps.sampling.settings import (
    ClashSettings,
    LangevinSettings,
    SamplingSettings,
    TierSettings,
)
from apps.sampling.strategies.clash import pull_together
from apps.sampling.thermal import thermal_frames
from data_store.molecules import Molecule
from data_store.streams import stream
from data_store.units import KCAL_PER_MOL_eV, KJ_PER_MOL_eV
from tests.laws.test_mmff94 import SMILES, TERMS, by_openmm, distorted, system_of
from tests.laws.test_teachers import BATH, heat

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


@pytest.fixture(params=sorted(SMILES), scope="module")
def molecule(request: pytest.FixtureRequest) -> Molecule:
    return molecule_from_smiles(SMILES[request.param], name=request.param)


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without a compiler."""
    batches._library.cache_clear()
    monkeypatch.setenv("CXX", "no-such-compiler")
    yield
    batches._library.cache_clear()


def several(molecule: Molecule, sigma_A: float, count: int = 19) -> np.ndarray:
    return np.stack([distorted(molecule, sigma_A, seed) for seed in range(count)])


def by_rdkit(molecule: Molecule, positions: np.ndarray, **switches: bool) -> Any:
    """Energies and forces of RDKit in kcal/mol and Å, with terms switched off."""
    rd = to_rdkit(molecule)
    properties = fields.MMFFGetMoleculeProperties(rd, mmffVariant="MMFF94")
    for name, on in switches.items():
        getattr(properties, f"SetMMFF{name}Term")(on)
    field = fields.MMFFGetMoleculeForceField(
        rd, properties, nonBondedThresh=1e6, ignoreInterfragInteractions=False
    )
    field.Initialize()
    energies, forces = [], []
    for x in positions:
        energies.append(field.CalcEnergy(x.reshape(-1).tolist()))
        forces.append(-np.reshape(field.CalcGrad(x.reshape(-1).tolist()), (-1, 3)))
    return np.array(energies), np.array(forces)


def law_of_rdkit(terms: MMFF94Terms, molecule: Molecule, sigma_A: float) -> None:
    x = several(molecule, sigma_A)
    energies, forces = batches.MMFF94Batches(terms).energies_and_forces(x)
    expected, expected_forces = by_rdkit(molecule, x)
    np.testing.assert_allclose(energies.sum(1), expected, rtol=1e-12, atol=1e-6)
    largest = max(1.0, float(np.abs(expected_forces).max()))
    np.testing.assert_allclose(forces, expected_forces, rtol=0, atol=1e-9 * largest)


@pytest.mark.parametrize("sigma_A", [0.0, 0.1, 0.4])
def test_energies_and_forces_are_rdkits(molecule: Molecule, sigma_A: float) -> None:
    law_of_rdkit(read_terms(molecule, "MMFF94"), molecule, sigma_A)


SPOILED = (
    "bonds",
    "angles",
    "linear_angles",
    "stretch_bends",
    "out_of_planes",
    "torsions",
    "pairs",
)


@pytest.mark.parametrize("kind", SPOILED)
def test_a_term_that_is_left_out_is_caught(kind: str) -> None:
    molecule = molecule_from_smiles("N#Cc1ccccc1")
    wrong = replace(read_terms(molecule, "MMFF94"), **{kind: []})
    with pytest.raises(AssertionError):
        law_of_rdkit(wrong, molecule, 0.1)


@pytest.mark.parametrize("term", sorted(TERMS))
@pytest.mark.parametrize("smiles", [ASPIRIN, "N#Cc1ccccc1"])
def test_each_term_is_rdkits_and_openmms(term: str, smiles: str) -> None:
    molecule = molecule_from_smiles(smiles, name="term by term")
    x = several(molecule, 0.1, 3)
    switches = {getter: name == term for name, (getter,) in TERMS.items()}
    found, _ = batches.MMFF94Batches(read_terms(molecule, "MMFF94")).energies_and_forces(x)
    # RDKit counts bends at linear centres among its angle terms.
    names = [term, "linear"] if term == "angle" else [term]
    ours = sum(found[:, batches.TERMS.index(name)] for name in names)
    np.testing.assert_allclose(ours, by_rdkit(molecule, x, **switches)[0], rtol=1e-12, atol=1e-6)
    groups = sum(1 << FORCE_GROUPS.index(name) for name in names)
    system = system_of(MMFF94(molecule))
    theirs = [by_openmm(system, row, groups)[0] / KCAL_PER_MOL_eV for row in x]
    np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-6)


def test_terms_are_named_as_openmms_groups() -> None:
    assert batches.TERMS == FORCE_GROUPS
    assert KJ_PER_MOL_eV * 4.184 == pytest.approx(KCAL_PER_MOL_eV, rel=1e-9)


def test_a_structure_does_not_know_the_others() -> None:
    molecule = molecule_from_smiles("CC#N")
    evaluated = batches.MMFF94Batches(read_terms(molecule, "MMFF94")).energies_and_forces
    x = several(molecule, 0.2, 21)
    energies, forces = evaluated(x)
    for row in (0, 7, 8, 20):
        alone = evaluated(x[row : row + 1])
        np.testing.assert_array_equal(alone[0][0], energies[row])
        np.testing.assert_array_equal(alone[1][0], forces[row])
    spoilt = x.copy()
    spoilt[5, 1, 2] = np.nan
    with_none = evaluated(spoilt)
    assert np.isnan(with_none[0][5]).any()
    assert np.isnan(with_none[1][5]).any()
    others = np.arange(21) != 5
    np.testing.assert_array_equal(with_none[0][others], energies[others])
    np.testing.assert_array_equal(with_none[1][others], forces[others])
    assert evaluated(x[:0])[0].shape == (0, 8)


def test_atoms_on_top_of_each_other_have_finite_energies(molecule: Molecule) -> None:
    """All pairs of atoms in turn, and all of them at once."""
    evaluated = batches.MMFF94Batches(read_terms(molecule, "MMFF94")).energies_and_forces
    count = len(molecule.numbers)
    x = np.stack([distorted(molecule, 0.1, 0)] * (count * (count - 1) // 2 + 1))
    for row, (i, j) in enumerate(zip(*np.triu_indices(count, 1), strict=True)):
        x[row, j] = x[row, i]
    x[-1] = 0.0
    energies, forces = evaluated(x)
    assert np.isfinite(energies).all()
    assert np.isfinite(forces).all()


@pytest.mark.parametrize("kind", [MMFF94, MMFF94s])
def test_a_pair_is_rdkits(kind: Callable[[Molecule], MMFF94], uncompiled: None) -> None:
    molecule = molecule_from_smiles("CO", name="methanol")
    by_hand = kind(molecule)
    batches._library.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CXX")
        compiled = kind(molecule)
    x = np.concatenate([several(molecule, 0.1), several(molecule, 0.1)[::-1] + 2.5], axis=1)
    pairs = by_hand.pair(), compiled.pair()
    assert type(pairs[0]) is not type(pairs[1])
    (energies, forces), (expected, expected_forces) = (
        pair.energies_and_forces(x) for pair in pairs if pair is not None
    )
    np.testing.assert_allclose(energies, expected, rtol=1e-10, atol=1e-8)
    np.testing.assert_allclose(forces, expected_forces, atol=1e-8 * np.abs(forces).max())


def test_without_a_compiler_rdkit_openmm_and_numpy_do_it(
    molecule: Molecule, request: pytest.FixtureRequest
) -> None:
    x, settings = several(molecule, 0.2), ClashSettings()
    long = molecule.bond_distance_matrix().max() >= 2
    found = _all_of_it(molecule, x, settings, long)
    request.getfixturevalue("uncompiled")
    assert not batches.is_compiled()
    assert "no-such-compiler" in batches.evaluation()
    with pytest.raises(RuntimeError, match="no-such-compiler"):
        batches.MMFF94Batches(read_terms(molecule, "MMFF94"))
    for ours, theirs in zip(found, _all_of_it(molecule, x, settings, long), strict=True):
        largest = max(1.0, float(np.abs(theirs[np.isfinite(theirs)]).max(initial=0.0)))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-8 * largest)


def _all_of_it(
    molecule: Molecule, x: np.ndarray, settings: ClashSettings, clashes: bool
) -> list[np.ndarray]:
    found = [*MMFF94(molecule).energies_and_forces(x)]
    found += shortest_distances(np.array(molecule.numbers), x)
    if clashes:
        found.append(pull_together(molecule, x, settings, stream(0, "clash")))
    return found


def test_openmm_integrates_where_nothing_is_compiled(uncompiled: None) -> None:
    teacher = MMFF94(molecule_from_smiles("O", name="water"))
    assert teacher.openmm_system(2) is not None
    made = thermal_frames(teacher, 200.0, 32, 12, BATH, 0)
    mean = teacher.energies_and_forces(made.reshape(-1, 3, 3))[0].mean()
    assert mean / (1.5 * 8.617333262e-5 * 200.0) == pytest.approx(1.0, abs=0.17)


def test_no_openmm_integrates_where_it_is_compiled() -> None:
    assert MMFF94(molecule_from_smiles("O")).openmm_system(2) is None
    assert heat("mmff94", thermal_frames) == pytest.approx(1.0, abs=0.17)


class StepByStep:
    """A teacher that only tells forces."""

    def __init__(self, teacher: MMFF94) -> None:
        self.molecule, self.energies_and_forces = teacher.molecule, teacher.energies_and_forces


SHORT = LangevinSettings(equilibration_fs=25.0, stride_fs=2.5, timestep_fs=0.5)


def law_of_steps(teacher: Any) -> None:
    """Compiled steps are those of numpy with the same noise, for 60 steps of chaos."""
    frames = [langevin_frames(one, 1000.0, 19, 2, SHORT, 3) for one in (
        teacher, StepByStep(teacher)
    )]  # fmt: skip
    assert frames[0].shape == (2, 19, *teacher.molecule.reference_positions.shape)
    np.testing.assert_allclose(frames[0], frames[1], rtol=0, atol=1e-9)


def test_compiled_steps_are_numpys(molecule: Molecule) -> None:
    law_of_steps(MMFF94(molecule))


@pytest.mark.parametrize("wrong", ["decay", "half_kick", "width"])
def test_a_step_that_is_a_little_off_is_caught(wrong: str) -> None:
    class Off(MMFF94):
        def advance(self, point: PhasePoint, step: LangevinStep, noise: Any) -> PhasePoint | None:
            changed = replace(step, **{wrong: getattr(step, wrong) * 1.0001})
            return super().advance(point, changed, noise)

    with pytest.raises(AssertionError):
        law_of_steps(Off(molecule_from_smiles("CO")))


def test_a_chunk_is_the_same_bits_again() -> None:
    teacher = MMFF94(molecule_from_smiles("CO", name="methanol"))
    settings = SamplingSettings(chunk_structures=60, tiers=TierSettings(langevin=SHORT))
    one, again, other = (make_chunk(teacher, settings, seed, 1) for seed in (0, 0, 1))
    for name in ("positions", "energies", "forces", "tiers", "parents", "frames"):
        np.testing.assert_array_equal(
            getattr(one.structures, name), getattr(again.structures, name)
        )
    assert one.thermal == again.thermal != other.thermal
    assert sum(row["frames"] for row in one.thermal) >= 256
    assert not np.array_equal(one.structures.positions, other.structures.positions)
