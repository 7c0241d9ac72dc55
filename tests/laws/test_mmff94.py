"""The OpenMM system is MMFF94, or MMFF94s: RDKit's own energies and forces, bent out of shape."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import openmm
import pytest
from openmm import unit
from rdkit.Chem import rdForceFieldHelpers as fields

from apps.sampling.mmff94 import FORCE_GROUPS, MMFF94, openmm_system
from apps.sampling.mmff94_terms import read_terms
from apps.sampling.mmff94s import MMFF94s
from apps.sampling.molecule import molecule_from_smiles, to_rdkit
from data_store.molecules import Molecule
from data_store.streams import stream
from data_store.units import KCAL_PER_MOL_eV, KJ_PER_MOL_eV

SMILES = {
    "methanol": "CO",
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "acetonitrile": "CC#N",
    "propyne": "CC#C",
    "benzonitrile": "N#Cc1ccccc1",
    "allene": "C=C=C",
    "methyl azide": "CN=[N+]=[N-]",
    "methyl isocyanate": "CN=C=O",
    "acetate": "CC(=O)[O-]",
    "methylammonium": "C[NH3+]",
    "water": "O",
    "hydrogen peroxide": "OO",
    "dimethyl sulfoxide": "CS(C)=O",
    "cyclopropane": "C1CC1",
}


@pytest.fixture(params=sorted(SMILES), scope="module")
def molecule(request: pytest.FixtureRequest) -> Molecule:
    return molecule_from_smiles(SMILES[request.param], name=request.param)


def distorted(molecule: Molecule, sigma_A: float, seed: int) -> np.ndarray:
    noise = stream(seed, molecule.name).normal(size=molecule.reference_positions.shape)
    return molecule.reference_positions + sigma_A * noise


def by_openmm(
    system: openmm.System, positions: np.ndarray, groups: int = -1
) -> tuple[float, np.ndarray]:
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
    )
    context.setPositions(positions * 0.1)
    state = context.getState(getEnergy=True, getForces=True, groups=groups)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
    return energy * KJ_PER_MOL_eV, np.asarray(forces) * KJ_PER_MOL_eV * 0.1


def system_of(teacher: MMFF94, copies: int = 1) -> openmm.System:
    terms = read_terms(teacher.molecule, teacher.variant)
    return openmm_system(terms, teacher.molecule.numbers, copies)


@pytest.mark.parametrize("sigma_A", [0.0, 0.1, 0.4])
def test_energies_and_forces_are_rdkits(molecule: Molecule, sigma_A: float) -> None:
    teacher = MMFF94(molecule)
    x = distorted(molecule, sigma_A, 1)
    rest, _ = by_openmm(system_of(teacher), teacher.relaxed_positions)
    energy, forces = by_openmm(system_of(teacher), x)
    expected, expected_forces = teacher.energies_and_forces(x[None])
    assert energy - rest == pytest.approx(expected[0], rel=1e-7, abs=2e-7)
    scale = max(1.0, float(np.abs(expected_forces).max()))
    np.testing.assert_allclose(forces, expected_forces[0], atol=1e-6 * scale, rtol=0)


@pytest.mark.parametrize("smiles", ["CC(=O)NC", "Nc1ccccc1"])
def test_mmff94s_is_rdkits_and_mmff94_is_not(smiles: str) -> None:
    molecule = molecule_from_smiles(smiles, name="delocalised nitrogen")
    teacher, x = MMFF94s(molecule), distorted(molecule, 0.1, 6)
    rest, _ = by_openmm(system_of(teacher), teacher.relaxed_positions)
    energy, forces = by_openmm(system_of(teacher), x)
    expected, expected_forces = teacher.energies_and_forces(x[None])
    assert energy - rest == pytest.approx(expected[0], rel=1e-7, abs=2e-7)
    np.testing.assert_allclose(forces, expected_forces[0], atol=1e-6 * np.abs(forces).max(), rtol=0)
    other = openmm_system(read_terms(molecule, "MMFF94"), molecule.numbers, 1)
    assert abs(by_openmm(other, x)[0] - energy) > 1e-3


TERMS = {
    "bond": ["Bond"],
    "angle": ["Angle"],
    "stretch_bend": ["StretchBend"],
    "out_of_plane": ["Oop"],
    "torsion": ["Torsion"],
    "vdw": ["VdW"],
    "ele": ["Ele"],
}


@pytest.mark.parametrize("term", sorted(TERMS))
@pytest.mark.parametrize("smiles", ["CC(=O)Oc1ccccc1C(=O)O", "N#Cc1ccccc1"])
def test_each_term_is_rdkits(term: str, smiles: str) -> None:
    molecule = molecule_from_smiles(smiles, name="term by term")
    rd, x = to_rdkit(molecule), distorted(molecule, 0.1, 2)
    properties = fields.MMFFGetMoleculeProperties(rd, mmffVariant="MMFF94")
    for name, (getter,) in TERMS.items():
        getattr(properties, f"SetMMFF{getter}Term")(name == term)
    field = fields.MMFFGetMoleculeForceField(rd, properties, nonBondedThresh=1e6)
    field.Initialize()
    expected = field.CalcEnergy(x.reshape(-1).tolist()) * KCAL_PER_MOL_eV
    system = openmm_system(read_terms(molecule, "MMFF94"), molecule.numbers, 1)
    # RDKit counts bends at linear centres among its angle terms.
    names = [term, "linear"] if term == "angle" else [term]
    groups = sum(1 << FORCE_GROUPS.index(name) for name in names)
    assert by_openmm(system, x, groups)[0] == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_a_linear_centre_bent_as_an_ordinary_one_is_caught() -> None:
    molecule = molecule_from_smiles("CC#N")
    terms, x = read_terms(molecule, "MMFF94"), distorted(molecule, 0.2, 3)
    assert terms.linear_angles
    ordinary = [(atoms, (*values, 180.0)) for atoms, values in terms.linear_angles]
    wrong = replace(terms, linear_angles=[], angles=[*terms.angles, *ordinary])
    good = by_openmm(openmm_system(terms, molecule.numbers, 1), x)[0]
    assert abs(by_openmm(openmm_system(wrong, molecule.numbers, 1), x)[0] - good) > 1e-3


def test_copies_do_not_see_each_other() -> None:
    molecule = molecule_from_smiles("CO")
    teacher = MMFF94(molecule)
    xs = [distorted(molecule, 0.1, seed) for seed in range(3)]
    together, forces = by_openmm(system_of(teacher, 3), np.concatenate(xs))
    apart = [by_openmm(system_of(teacher), x) for x in xs]
    assert together == pytest.approx(sum(energy for energy, _ in apart), rel=1e-12)
    np.testing.assert_allclose(forces, np.concatenate([f for _, f in apart]), atol=1e-10)


def test_teacher_forces_are_the_gradient_and_the_minimum_is_zero(molecule: Molecule) -> None:
    teacher = MMFF94(molecule)
    energies, forces = teacher.energies_and_forces(teacher.relaxed_positions[None])
    assert energies[0] == 0.0
    assert np.abs(forces).max() < 1e-3
    x, step = distorted(molecule, 0.05, 4), 1e-4
    direction = stream(5, "direction").normal(size=x.shape)
    up, down = teacher.energies_and_forces(np.stack([x + step * direction, x - step * direction]))[
        0
    ]
    slope = -(teacher.energies_and_forces(x[None])[1][0] * direction).sum()
    assert (up - down) / (2 * step) == pytest.approx(slope, rel=1e-5)
