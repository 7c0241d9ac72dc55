"""`OpenMMTeacher`: any OpenMM system of one molecule as a teacher.

Energies and forces of single structures by a context of the Reference platform, in double
precision. Dynamics runs in numpy on them: how to put copies that do not see each other into one
system depends on each of its forces, which may be any.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openmm
from numpy.typing import NDArray
from openmm import unit

from apps.sampling.point_charges import ChargePair, PointCharges
from apps.sampling.relaxation import relax
from data_store.errors import InputError
from data_store.molecules import Molecule
from data_store.units import KJ_PER_MOL_eV

__all__ = ["OpenMMTeacher"]

Array = NDArray[np.float64]

_COLLAPSED_eV = -3.0
"""Interaction of two neutral molecules below which charges have fallen into each other: those of
two zwitterions, the deepest of ordinary ones, reach 2 to 3 eV."""

_FORCES_OF_ONE = {
    "HarmonicBondForce", "HarmonicAngleForce", "PeriodicTorsionForce", "RBTorsionForce",
    "CMAPTorsionForce", "CustomBondForce", "CustomAngleForce", "CustomTorsionForce",
    "CustomCompoundBondForce", "CMMotionRemover",
}  # fmt: skip
"""What does not act between molecules."""


class OpenMMTeacher:
    """A system bound to a molecule.

    Parameters
    ----------
    name : str
        In the registry of teachers.
    molecule : Molecule
    system : openmm.System
        Of one molecule in vacuum, without constraints or cut-off.
    place_of : sequence of int
        Which particle each atom of the molecule is.
    source : str
        What messages call where it is from.

    Raises
    ------
    InputError
        If the system is periodic, cut off, or holds something rigid.
    MethodError
        If the molecule cannot be relaxed.
    """

    def __init__(
        self, name: str, molecule: Molecule, system: openmm.System, place_of: Any, source: str
    ) -> None:
        _refuse_unfit(system, source)
        self.name, self.molecule, self._system = name, molecule, system
        self._place_of = np.asarray(place_of, dtype=np.int64)
        platform = openmm.Platform.getPlatformByName("Reference")
        self._context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
        self._zero_eV = 0.0
        self.relaxed_positions = relax(self, molecule.reference_positions)
        self._zero_eV = float(self.energies_and_forces(self.relaxed_positions[None])[0][0])

    def energies_and_forces(self, positions: Array) -> tuple[Array, Array]:
        """Energies (S,) above the minimum in eV and forces (S, N, 3) in eV/Å."""
        energies, forces = np.empty(len(positions)), np.empty(positions.shape)
        placed = np.empty(positions.shape[1:])
        for row, structure in enumerate(positions):
            if not np.isfinite(structure).all():
                energies[row], forces[row] = np.nan, np.nan
                continue
            placed[self._place_of] = structure
            self._context.setPositions(0.1 * placed)
            state = self._context.getState(getEnergy=True, getForces=True)
            energies[row] = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
            pulls = np.asarray(state.getForces(asNumpy=True)._value)  # kJ/mol/nm
            forces[row] = 0.1 * pulls[self._place_of]
        return energies * KJ_PER_MOL_eV - self._zero_eV, forces * KJ_PER_MOL_eV

    def openmm_system(self, copies: int) -> openmm.System | None:
        """None: see above."""
        return None

    def pair(self) -> ChargePair | None:
        """Two copies with the charges and Lennard-Jones terms of the system's `NonbondedForce`.

        None where another force acts between molecules too, or there is none.
        """
        between = [f for f in self._system.getForces() if type(f).__name__ not in _FORCES_OF_ONE]
        if [type(force).__name__ for force in between] != ["NonbondedForce"]:
            return None
        (force,) = between
        if force.getNumParticleParameterOffsets() or force.getNumExceptionParameterOffsets():
            return None
        rows = [force.getParticleParameters(int(place)) for place in self._place_of]
        charges, sigmas, epsilons = np.array([[value._value for value in row] for row in rows]).T
        return ChargePair(
            self, PointCharges(charges, 10.0 * sigmas, KJ_PER_MOL_eV * epsilons, _COLLAPSED_eV)
        )


def _refuse_unfit(system: openmm.System, source: str) -> None:
    """Refuse what is no smooth function of the positions of one molecule alone."""
    found = []
    if system.getNumConstraints():
        found.append(f"{system.getNumConstraints()} constraints, whose bonds have no energy")
    if any(system.isVirtualSite(i) for i in range(system.getNumParticles())):
        found.append("virtual sites")
    if system.usesPeriodicBoundaryConditions():
        found.append("a periodic box")
    for force in system.getForces():
        cut = getattr(force, "getNonbondedMethod", lambda: 0)()
        if cut != 0 and not system.usesPeriodicBoundaryConditions():
            found.append(f"a cut-off ({force.getName()})")
    if found:
        raise InputError(
            f"{source} has {', '.join(found)}",
            "make the system of one molecule with nonbondedMethod=NoCutoff, constraints=None, "
            "rigidWater=False",
        )
