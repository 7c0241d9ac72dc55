"""Morse bonds: vibrations are the measured ones, molecules come apart, atoms are free."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import openmm
import pytest
from openmm import unit

from apps.sampling import morse
from apps.sampling.chunk import make_chunk
from apps.sampling.molecule import molecule_from_smiles
from apps.sampling.morse import Morse, untyped_atoms
from apps.sampling.morse_constants import CURVES, ABOVE_ATOMS_eV, FUNDAMENTALS_per_cm
from apps.sampling.settings import LangevinSettings, NoiseSettings, SamplingSettings, TierSettings
from apps.sampling.strategies.normal_mode import vibrations
from data_store.streams import stream
from data_store.units import AMU_A2_PER_FS2_eV, KJ_PER_MOL_eV

SPECIES = {
    "H2": "[H][H]", "N2": "N#N", "O2": "O=O", "F2": "FF", "Cl2": "ClCl", "CO": "[C-]#[O+]",
    "NO": "[N]=O", "FH": "F", "ClH": "Cl", "HO": "[OH]", "H2O": "O", "HO2": "O[O]", "H2O2": "OO",
}  # fmt: skip
each_species = pytest.mark.parametrize("formula", CURVES)
LIGHT_cm_PER_fs = 2.99792458e-5


@cache
def teacher(formula: str) -> Morse:
    return Morse(molecule_from_smiles(SPECIES[formula], name=formula))


def wavenumbers(formula: str) -> list[float]:
    """Harmonic, in 1/cm, softest first."""
    bound = teacher(formula)
    stiffness, _ = vibrations(bound, bound.relaxed_positions)
    rates = np.sqrt(np.maximum(stiffness, 0.0) / AMU_A2_PER_FS2_eV)
    return [float(rate) for rate in rates / (2.0 * np.pi * LIGHT_cm_PER_fs)]


MEASURED = {"H2": 4401.2, "N2": 2358.6, "O2": 1580.2, "F2": 916.6, "Cl2": 559.7, "CO": 2169.8,
            "NO": 1904.2, "FH": 4138.3, "ClH": 2990.9, "HO": 3737.8}  # fmt: skip


# Standard atomic masses rather than those of the isotope measured: 0.3 % for Cl.
@pytest.mark.parametrize("formula", MEASURED)
def test_a_diatomic_vibrates_as_measured(formula: str) -> None:
    assert wavenumbers(formula) == pytest.approx([MEASURED[formula]], rel=2e-4)


@pytest.mark.parametrize(("formula", "share"), [("HO2", 1e-3), ("H2O", 1e-2), ("H2O2", 3e-2)])
def test_small_molecules_have_the_fundamentals_that_are_said(formula: str, share: float) -> None:
    measured = FUNDAMENTALS_per_cm[formula]
    found = wavenumbers(formula)
    assert found[-len(measured) :] == pytest.approx(list(measured), rel=share)
    free = found[: -len(measured)]  # the torsion of H2O2
    assert free == pytest.approx([0.0] * (formula == "H2O2"), abs=30.0)


@each_species
def test_at_rest_bonds_have_the_lengths_of_the_table(formula: str) -> None:
    bound = teacher(formula)
    for i, j in bound.molecule.bonds:
        ends = sorted((bound.molecule.symbols[i], bound.molecule.symbols[j]))
        curve = CURVES[formula][ends[0], ends[1]]
        length = np.linalg.norm(bound.relaxed_positions[i] - bound.relaxed_positions[j])
        assert length == pytest.approx(curve.length_A, abs=1e-4)


def stretched(formula: str, lengths_A: np.ndarray) -> np.ndarray:
    """The first bond drawn out, all that hangs on its other end staying where it is."""
    bound = teacher(formula)
    moving, fixed = next(
        ends for bond in bound.molecule.bonds for ends in (bond, bond[::-1])
         if sum(ends[0] in other for other in bound.molecule.bonds) == 1
    )  # fmt: skip
    x = np.repeat(bound.relaxed_positions[None], len(lengths_A), axis=0)
    line = x[0, moving] - x[0, fixed]
    x[:, moving] = x[0, fixed] + lengths_A[:, None] * line / np.linalg.norm(line)
    return x


@each_species
def test_a_bond_breaks_at_its_depth_and_lets_go(formula: str) -> None:
    bound = teacher(formula)
    energies, forces = bound.energies_and_forces(stretched(formula, np.linspace(2.0, 30.0, 40)))
    assert all(later >= earlier - 1e-9 for earlier, later in pairwise(energies))
    depths = [curve.depth_eV for curve in CURVES[formula].values()]
    assert min(abs(energies[-1] - depth) for depth in depths) < 1e-6
    assert np.abs(forces[-1]).max() < 1e-4


@pytest.mark.parametrize("formula", ["H2O", "HO2", "H2O2"])
def test_a_fragment_that_has_left_may_turn_as_it_likes(formula: str) -> None:
    """An angle that did not fade would hold it in its place at any distance."""
    bound = teacher(formula)
    x = stretched(formula, np.array([30.0]))[0]
    fixed = x + 0.0
    moved = int(np.abs(x - bound.relaxed_positions).sum(1).argmax())
    fixed[moved] = x.mean(0) + np.array([0.0, 5.0, 29.0])
    energies, _ = bound.energies_and_forces(np.stack([x, fixed]))
    assert energies[1] == pytest.approx(energies[0], abs=1e-6)


@pytest.mark.parametrize("formula", ["H2O", "HO2", "H2O2", "O2"])
def test_it_is_its_openmm_system(formula: str) -> None:
    bound = teacher(formula)
    system = bound.openmm_system(1)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    for sigma_A in (0.05, 0.2, 0.5):
        noise = stream(0, formula, str(sigma_A)).normal(size=bound.relaxed_positions.shape)
        x = bound.relaxed_positions + sigma_A * noise
        context.setPositions(0.1 * x)
        state = context.getState(getEnergy=True, getForces=True)
        energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        forces = state.getForces(asNumpy=True).value_in_unit(
            unit.kilojoule_per_mole / unit.angstrom
        )  # fmt: skip
        energies, own = bound.energies_and_forces(x[None])
        assert energies[0] == pytest.approx(energy * KJ_PER_MOL_eV, rel=1e-6, abs=1e-8)
        np.testing.assert_allclose(own[0], forces * KJ_PER_MOL_eV, atol=1e-5 * np.abs(own).max())


@pytest.mark.parametrize(("smiles", "multiplicity"), [("[H]", 2), ("[O]", 3), ("[N]", 4)])
def test_a_free_atom_has_neither_energy_nor_forces(smiles: str, multiplicity: int) -> None:
    atom = molecule_from_smiles(smiles, multiplicity=multiplicity)
    assert untyped_atoms(atom) == []
    energies, forces = Morse(atom).energies_and_forces(stream(0, "x").normal(size=(5, 1, 3)))
    assert not energies.any()
    assert not forces.any()


@pytest.mark.parametrize("smiles", ["[OH-]", "[O-][O]", "[O-][O+]=O", "C", "OOO", "[H+]", "S"])
def test_others_are_refused(smiles: str) -> None:
    molecule = molecule_from_smiles(smiles)
    assert untyped_atoms(molecule) == list(range(len(molecule.numbers)))


def least_rise(bound: Morse) -> float:
    """Least energy (eV) that it takes to bring two atoms without a bond to a quarter of their way.

    Straight through the molecule, and from its other side, where bonds are already broken.
    """
    rises = []
    count, rest = len(bound.molecule.numbers), bound.relaxed_positions
    for i in range(count):
        for j in range(i + 1, count):
            if (i, j) in bound.molecule.bonds:
                continue
            for side in (1.0, -1.0):
                x = np.repeat(rest[None], 40, axis=0)
                steps = side * np.linspace(1.0, 0.25, 40)
                x[:, j] = rest[i] + steps[:, None] * (rest[j] - rest[i])
                energies, _ = bound.energies_and_forces(x)
                rises.append(energies[-1] - energies[0])
    return float(min(rises))


@pytest.mark.parametrize("formula", ["H2O", "HO2", "H2O2"])
def test_atoms_without_a_bond_cannot_fall_into_each_other(formula: str) -> None:
    assert least_rise(teacher(formula)) > 5.0


def test_without_walls_there_are_holes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(morse, "_WALL_BEGINS", 1e-3)
    bare = Morse(molecule_from_smiles("O[O]"))
    assert least_rise(bare) < 2.0


# What is left of a broken molecule has its bonds' old lengths: HO2's O–O is 0.13 Å from O2's.
@pytest.mark.parametrize(
    ("formula", "bond", "pieces", "off_eV"),
    [
        ("H2O", ("H", "O"), ("HO",), 0.01),
        ("HO2", ("H", "O"), ("O2",), 0.01),
        ("HO2", ("O", "O"), ("HO",), 0.05),
        ("H2O2", ("O", "O"), ("HO", "HO"), 0.01),
        ("H2O2", ("H", "O"), ("HO2",), 0.05),
        *((formula, next(iter(CURVES[formula])), (), 0.01) for formula in ("H2", "O2", "HO")),
    ],
)
def test_pieces_have_the_energy_of_the_species_that_they_are(
    formula: str, bond: tuple[str, str], pieces: tuple[str, ...], off_eV: float
) -> None:
    whole = ABOVE_ATOMS_eV[formula] + CURVES[formula][bond].depth_eV
    assert whole == pytest.approx(sum(ABOVE_ATOMS_eV[piece] for piece in pieces), abs=off_eV)
    assert teacher(formula).above_atoms_eV == ABOVE_ATOMS_eV[formula]


# Atomisation energies of the enthalpies that the constants come from, and zero points.
@pytest.mark.parametrize(
    ("formula", "measured_eV"), [("H2O", 10.09), ("HO2", 7.56), ("H2O2", 11.62)]
)
def test_atomisation_is_as_measured(formula: str, measured_eV: float) -> None:
    assert -ABOVE_ATOMS_eV[formula] == pytest.approx(measured_eV, abs=0.08)


def test_pieces_fly_apart_within_the_window() -> None:
    """What no harmonic teacher gives: fragments of HO2 far beyond any bond."""
    short = LangevinSettings(weight=0.2, temperatures_K=(300.0,), equilibration_fs=20.0)
    tiers = TierSettings.model_validate(
        {"langevin": short, "noise": NoiseSettings(weight=0.0), "scan": {"weight": 0.0},
         "clash": {"weight": 0.0}, "fragment": {"weight": 0.8}}
    )  # fmt: skip
    made = make_chunk(teacher("HO2"), SamplingSettings(chunk_structures=100, tiers=tiers), 0, 0)
    x = made.structures.dense_positions().astype(np.float64)
    bonds = np.array(teacher("HO2").molecule.bonds)
    longest = np.linalg.norm(x[:, bonds[:, 0]] - x[:, bonds[:, 1]], axis=2).max(1)
    assert (longest > 2.5).sum() > 20
    assert sum(made.rejected["fragment"].values()) < 20
