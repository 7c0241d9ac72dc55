r"""SPC/Fw and q-SPC/Fw as teachers: flexible three-site water, and two of them with their forces.

.. math::
    E = \sum_{OH} \tfrac{k_b}{2} (r - r_0)^2 + \tfrac{k_a}{2} (\theta - \theta_0)^2

and, between two, charges and a Lennard-Jones term of the oxygens (`apps.sampling.point_charges`).
SPC/Fw: Wu, Tepper and Voth 2006, doi:10.1063/1.2136877. q-SPC/Fw, its form for nuclei that are
quantum particles: Paesani et al. 2006, doi:10.1063/1.2386157. Within a molecule there is no
electrostatics, so that one alone has bonds and angle only. Both are made for the liquid: they know
H2O and nothing else, and bonds that never break.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openmm
from numpy.typing import NDArray

from apps.sampling.point_charges import ChargePair, PointCharges
from apps.sampling.relaxation import relax
from apps.sampling.valence import angles, lengths
from data_store.molecules import Molecule
from data_store.units import ATOMIC_MASSES_amu, KCAL_PER_MOL_eV, KJ_PER_MOL_eV

__all__ = ["Q_SPC_FW", "SPC_FW", "FlexibleWater", "WaterModel", "untyped_atoms"]

Array = NDArray[np.float64]

_COLLAPSED_eV = -0.6
"""Interaction below which a pair has no answer: twice the depth of the models' own dimer, which is
some 0.3 eV, is reached by charges that fall into each other alone."""


@dataclass(frozen=True)
class WaterModel:
    """Constants of a flexible three-site model.

    Parameters
    ----------
    name : str
    bond_A : float
        r₀.
    bond_kcal_per_mol_A2 : float
        k_b.
    angle_degrees : float
        θ₀.
    angle_kcal_per_mol : float
        k_a, per radian².
    oxygen_charge_e : float
        Each hydrogen has minus half of it.
    sigma_A, epsilon_kcal_per_mol : float
        Lennard-Jones, between oxygens alone.
    """

    name: str
    bond_A: float
    bond_kcal_per_mol_A2: float
    angle_degrees: float
    angle_kcal_per_mol: float
    oxygen_charge_e: float
    sigma_A: float = 3.165492
    epsilon_kcal_per_mol: float = 0.1554253


SPC_FW = WaterModel("spc-fw", 1.012, 1059.162, 113.24, 75.90, -0.82)
"""Table I of Wu, Tepper and Voth 2006."""

Q_SPC_FW = WaterModel("q-spc-fw", 1.0, 1059.162, 112.0, 75.90, -0.84)
"""Table I of Paesani et al. 2006."""


def untyped_atoms(molecule: Molecule) -> list[int]:
    """All atoms but of H2O, in its ground state; empty for that."""
    is_water = (
        sorted(molecule.numbers) == [1, 1, 8]
        and len(molecule.bonds) == 2
        and all(molecule.numbers[i] + molecule.numbers[j] == 9 for i, j in molecule.bonds)
        and not any(molecule.formal_charges)
        and molecule.multiplicity == 1
    )
    return [] if is_water else list(range(len(molecule.numbers)))


class FlexibleWater:
    """A water model bound to a molecule.

    Parameters
    ----------
    model : WaterModel
    molecule : Molecule
        Water, its atoms in any order.
    """

    def __init__(self, model: WaterModel, molecule: Molecule) -> None:
        self.name, self.model, self.molecule = model.name, model, molecule
        self.oxygen = molecule.numbers.index(8)
        self.hydrogens = [i for i, number in enumerate(molecule.numbers) if number == 1]
        self._zero_eV = 0.0
        self.relaxed_positions = relax(self, molecule.reference_positions)
        self._zero_eV = float(self.energies_and_forces(self.relaxed_positions[None])[0][0])

    def energies_and_forces(self, positions: Array) -> tuple[Array, Array]:
        """Energies (S,) above the minimum in eV and forces (S, 3, 3) in eV/Å."""
        model, oxygen, (first, second) = self.model, self.oxygen, self.hydrogens
        theta, by_first, by_second = angles(positions, first, oxygen, second)
        bent = theta - np.radians(model.angle_degrees)
        stiffness = model.angle_kcal_per_mol * KCAL_PER_MOL_eV
        energies = 0.5 * stiffness * bent**2
        forces = np.zeros_like(positions)
        for hydrogen, slope in ((first, by_first), (second, by_second)):
            length, line = lengths(positions, oxygen, hydrogen)
            stretch, bond = length - model.bond_A, model.bond_kcal_per_mol_A2 * KCAL_PER_MOL_eV
            energies += 0.5 * bond * stretch**2
            forces[:, hydrogen] = (
                -(stiffness * bent)[:, None] * slope - (bond * stretch)[:, None] * line
            )
        forces[:, oxygen] = -forces[:, first] - forces[:, second]
        return energies - self._zero_eV, forces

    def openmm_system(self, copies: int) -> openmm.System:
        """Exact system of copies that do not see each other."""
        system, bonds, bends = (
            openmm.System(),
            openmm.HarmonicBondForce(),
            openmm.HarmonicAngleForce(),
        )
        model, (first, second) = self.model, self.hydrogens
        kJ = KCAL_PER_MOL_eV / KJ_PER_MOL_eV
        for shift in range(0, 3 * copies, 3):
            for number in self.molecule.numbers:
                system.addParticle(float(ATOMIC_MASSES_amu[number]))
            for hydrogen in (first, second):
                bonds.addBond(
                    self.oxygen + shift, hydrogen + shift,
                    0.1 * model.bond_A, 100.0 * kJ * model.bond_kcal_per_mol_A2,
                )  # fmt: skip
            bends.addAngle(
                first + shift, self.oxygen + shift, second + shift,
                np.radians(model.angle_degrees), kJ * model.angle_kcal_per_mol,
            )  # fmt: skip
        system.addForce(bonds)
        system.addForce(bends)
        return system

    def pair(self) -> ChargePair:
        """Two copies with charges and the oxygens' Lennard-Jones term between them."""
        model, is_oxygen = self.model, np.array(self.molecule.numbers) == 8
        return ChargePair(
            self,
            PointCharges(
                charges_e=np.where(is_oxygen, 1.0, -0.5) * model.oxygen_charge_e,
                sigmas_A=np.full(3, model.sigma_A),
                epsilons_eV=is_oxygen * model.epsilon_kcal_per_mol * KCAL_PER_MOL_eV,
                collapsed_eV=_COLLAPSED_eV,
            ),
        )
