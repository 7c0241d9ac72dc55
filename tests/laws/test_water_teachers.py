"""SPC/Fw and q-SPC/Fw against OpenMM with the same constants, and what they have no answer for."""

from __future__ import annotations

from functools import cache

import numpy as np
import openmm
import pytest
from openmm import unit

from apps.sampling.molecule import molecule_from_smiles
from apps.sampling.teacher import TEACHERS, choose_teacher, make_teacher
from apps.sampling.water import Q_SPC_FW, SPC_FW, FlexibleWater, WaterModel
from data_store.errors import InputError
from data_store.streams import stream
from data_store.units import KJ_PER_MOL_eV

MODELS = {model.name: model for model in (SPC_FW, Q_SPC_FW)}
each_model = pytest.mark.parametrize("name", MODELS)

PUBLISHED = {
    # bond (nm, kJ/mol/nm²), angle (degrees, kJ/mol), charge of O (e), σ (nm), ε (kJ/mol)
    "spc-fw": (0.1012, 443153.3808, 113.24, 317.5656, -0.82, 0.3165492, 0.6502995),
    "q-spc-fw": (0.1, 443153.3808, 112.0, 317.5656, -0.84, 0.3165492, 0.6502995),
}
"""As flexible-water files for OpenMM have them, written here apart from the teacher's constants."""


@cache
def teacher(name: str) -> FlexibleWater:
    return FlexibleWater(MODELS[name], molecule_from_smiles("O"))


def by_openmm(name: str, molecules: int, x: np.ndarray) -> tuple[float, np.ndarray]:
    """Energy in eV and forces in eV/Å of waters O, H, H in vacuum, from OpenMM's own terms."""
    bond, k_bond, angle, k_angle, charge, sigma, epsilon = PUBLISHED[name]
    system = openmm.System()
    bonds, bends = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    between = openmm.NonbondedForce()
    for first in range(0, 3 * molecules, 3):
        for mass, q, e in ((16.0, charge, epsilon), (1.0, -charge / 2, 0), (1.0, -charge / 2, 0)):
            system.addParticle(mass)
            between.addParticle(q, sigma, e)
        for one, other in ((0, 1), (0, 2), (1, 2)):
            between.addException(first + one, first + other, 0.0, 1.0, 0.0)
        bonds.addBond(first, first + 1, bond, k_bond)
        bonds.addBond(first, first + 2, bond, k_bond)
        bends.addAngle(first + 1, first, first + 2, np.radians(angle), k_angle)
    for force in (bonds, bends, between):
        system.addForce(force)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(0.1 * x)
    state = context.getState(getEnergy=True, getForces=True)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    forces = state.getForces(asNumpy=True).value_in_unit(
        unit.kilojoule_per_mole / unit.angstrom
    )  # fmt: skip
    return energy * KJ_PER_MOL_eV, np.asarray(forces) * KJ_PER_MOL_eV


@each_model
@pytest.mark.parametrize("copies", [1, 2])
def test_it_is_openmms(name: str, copies: int) -> None:
    bound = teacher(name)
    field = bound if copies == 1 else bound.pair()
    for turn in range(8):
        rng = stream(0, name, copies, turn)
        x = bound.relaxed_positions + 0.1 * rng.normal(size=(copies, 3, 3))
        if copies == 2:
            x[1] += 3.0 * rng.normal(size=3) / np.sqrt(3.0) + np.array([2.5, 0.0, 0.0])
        x = x.reshape(-1, 3)
        energies, forces = field.energies_and_forces(x[None])
        expected, expected_forces = by_openmm(name, copies, x)
        assert energies[0] == pytest.approx(expected, rel=1e-6, abs=1e-6)
        np.testing.assert_allclose(forces[0], expected_forces, atol=1e-5)


@each_model
def test_at_rest_it_has_the_models_shape(name: str) -> None:
    x, model = teacher(name).relaxed_positions, MODELS[name]
    arms = [x[h] - x[0] for h in (1, 2)]
    lengths = [float(np.linalg.norm(arm)) for arm in arms]
    assert lengths == pytest.approx([model.bond_A] * 2, abs=1e-6)
    cosine = float(arms[0] @ arms[1]) / (lengths[0] * lengths[1])
    assert np.degrees(np.arccos(cosine)) == pytest.approx(model.angle_degrees, abs=1e-4)


def deepest(model: WaterModel) -> float:
    """Lowest of many pairs in contact, in eV."""
    bound = FlexibleWater(model, molecule_from_smiles("O"))
    rng = stream(0, "dimers")
    first = np.repeat(bound.relaxed_positions[None], 20_000, axis=0)
    turns = rng.normal(size=(len(first), 3, 3))
    turned = np.einsum("nx,sxy->sny", bound.relaxed_positions, np.linalg.qr(turns).Q)
    away = rng.normal(size=(len(first), 1, 3))
    away *= rng.uniform(2.4, 3.4, size=(len(first), 1, 1)) / np.linalg.norm(away, axis=2)[..., None]
    x = np.concatenate([first, turned + away], axis=1)
    return float(np.nanmin(bound.pair().energies_and_forces(x)[0]))


@each_model
def test_two_of_them_have_a_hydrogen_bond_and_no_more(name: str) -> None:
    """Some 7 kcal/mol for models of the liquid."""
    assert -0.35 < deepest(MODELS[name]) < -0.2


@each_model
def test_charges_that_fall_into_each_other_have_no_energy(name: str) -> None:
    bound = teacher(name)
    x = np.tile(bound.relaxed_positions, (2, 1))
    x[3:, 0] += 6.0
    x[4] = x[0] + np.array([0.3, 0.0, 0.0])  # a hydrogen of the second, on the oxygen of the first
    energies, forces = bound.pair().energies_and_forces(np.stack([x, x + 1.0]))
    assert np.isnan(energies).all()
    assert np.isnan(forces).all()


@each_model
@pytest.mark.parametrize("smiles", ["CO", "[OH-]", "[OH3+]", "OO", "[OH]", "S"])
def test_it_knows_water_alone(name: str, smiles: str) -> None:
    molecule = molecule_from_smiles(smiles)
    assert TEACHERS[name].untyped_atoms(molecule) == list(range(len(molecule.numbers)))
    with pytest.raises(InputError, match=f"{TEACHERS[name].title} cannot type"):
        choose_teacher(name, molecule)
    assert choose_teacher("auto", molecule).name != "q-spc-fw"


def test_auto_takes_the_quantum_one_and_says_why() -> None:
    choice = choose_teacher("auto", molecule_from_smiles("[H]O[H]"))
    assert choice.name == "q-spc-fw"
    assert choice.reason == "q-SPC/Fw is made for this molecule"
    assert make_teacher(choice.name, molecule_from_smiles("O")).name == "q-spc-fw"
