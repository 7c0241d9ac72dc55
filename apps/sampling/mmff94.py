"""MMFF94 as a teacher: compiled, or RDKit for energies and OpenMM for dynamics without a compiler.

The OpenMM system is exact: every term of MMFF94, the linear-centre angle included, one force group
per term. Tests compare both with RDKit's own energies and forces, term by term. The compiled
evaluation (`apps.sampling.native`) is so much faster than either that dynamics runs on it, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import openmm
from numpy.typing import NDArray
from rdkit.Chem import rdForceFieldHelpers as fields

from apps.sampling.field import Field, LangevinStep, PhasePoint
from apps.sampling.mmff94_compiled import CompiledMMFF94
from apps.sampling.mmff94_terms import MMFF94Terms, Term, read_terms
from apps.sampling.molecule import to_rdkit
from apps.sampling.native.batches import is_compiled
from apps.sampling.rdkit_field import RDKitTeacher
from data_store.molecules import Molecule
from data_store.units import ATOMIC_MASSES_amu

__all__ = ["FORCE_GROUPS", "MMFF94", "openmm_system", "untyped_atoms"]

FORCE_GROUPS = ("bond", "angle", "linear", "stretch_bend", "out_of_plane", "torsion", "vdw", "ele")
"""Terms by number of their force group."""

_K = 143.9325  # kcal/mol per mdyn Å
_kJ = 4.184
_COULOMB = 332.0716  # kcal Å/mol/e²

_BOND = f"{_kJ}*{_K}/2*kb*d^2*(1-2*d+7/3*d^2); d=10*r-r0"
_ANGLE = f"{_kJ}*{_K}/2*(pi/180)^2*ka*d^2*(1-0.006981317*d); d=theta*180/pi-t0; pi={np.pi!r}"
# By distances: a derivative by the angle is 0/0 where the angle is straight, as it is at rest.
_LINEAR = (
    f"{_kJ}*{_K}*ka*(1+(a^2+b^2-c^2)/(2*a*b));"
    "a=distance(p1,p2); b=distance(p3,p2); c=distance(p1,p3)"
)
_STRETCH_BEND = (
    f"{_kJ}*{_K}*pi/180*(k1*(10*distance(p1,p2)-r1)+k2*(10*distance(p3,p2)-r2))"
    f"*(angle(p1,p2,p3)*180/pi-t0); pi={np.pi!r}"
)
_OUT_OF_PLANE = (
    f"{_kJ}*{_K}/2*k*chi^2; chi=asin(max(-1,min(1,(nx*cx+ny*cy+nz*cz)/n/c)));"
    "n=sqrt(nx^2+ny^2+nz^2); c=sqrt(cx^2+cy^2+cz^2);"
    "nx=ay*bz-az*by; ny=az*bx-ax*bz; nz=ax*by-ay*bx;"
    "ax=x1-x2; ay=y1-y2; az=z1-z2; bx=x3-x2; by=y3-y2; bz=z3-z2; cx=x4-x2; cy=y4-y2; cz=z4-z2"
)
_TORSION = f"{_kJ}/2*(v1*(1+cos(theta))+v2*(1-cos(2*theta))+v3*(1+cos(3*theta)))"
_VDW = f"{_kJ}*epsilon*(1.07*s/(10*r+0.07*s))^7*(1.12*s^7/((10*r)^7+0.12*s^7)-2)"
_ELE = f"{_kJ}*{_COULOMB}*qq/(10*r+0.05)"


def untyped_atoms(molecule: Molecule) -> list[int]:
    """Atoms that MMFF94 has no type or terms for; empty where it knows the molecule."""
    rd = to_rdkit(molecule)
    if fields.MMFFHasAllMoleculeParams(rd):
        return []
    properties = fields.MMFFGetMoleculeProperties(rd, mmffVariant="MMFF94")
    atoms = range(len(molecule.numbers))
    if properties is None:
        known = {1, 6, 7, 8, 9, 14, 15, 16, 17, 35, 53}
        foreign = [i for i in atoms if molecule.numbers[i] not in known]
        return foreign or list(atoms)
    return [i for i in atoms if properties.GetMMFFAtomType(i) == 0] or list(atoms)


class MMFF94(RDKitTeacher):
    """MMFF94 bound to a molecule.

    Parameters
    ----------
    molecule : Molecule
        One that it can type (`untyped_atoms`).
    """

    name = "mmff94"
    variant = "MMFF94"

    def __init__(self, molecule: Molecule) -> None:
        super().__init__(molecule)
        self._compiled = CompiledMMFF94(molecule, self.variant) if is_compiled() else None
        if self._compiled is not None:
            self._compiled.set_zero_at(self.relaxed_positions)

    def energies_and_forces(
        self, positions: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Energies (S,) above the minimum in eV and forces (S, N, 3) in eV/Å."""
        if self._compiled is None:
            return super().energies_and_forces(positions)
        return self._compiled.energies_and_forces(positions)

    def advance(
        self, point: PhasePoint, step: LangevinStep, noise: NDArray[np.float64]
    ) -> PhasePoint | None:
        """Steps of dynamics where it is compiled."""
        return None if self._compiled is None else self._compiled.advance(point, step, noise)

    def _properties(self, rd: Any) -> Any:
        return fields.MMFFGetMoleculeProperties(rd, mmffVariant=self.variant)

    def _build(self, rd: Any) -> Any:
        properties = self._properties(rd)
        return fields.MMFFGetMoleculeForceField(
            rd, properties, nonBondedThresh=1e6, ignoreInterfragInteractions=False
        )

    def _relaxed(self) -> NDArray[np.float64]:
        # RDKit's own minimiser goes lower than ours; with UFF it raises on O2.
        self._field.Minimize(maxIts=20_000, forceTol=1e-6, energyTol=1e-12)
        return np.array(self._field.Positions(), dtype=np.float64).reshape(-1, 3)

    def pair(self) -> Field | None:
        """MMFF94 of two copies; None where its charges are not those of the molecule.

        RDKit gives CO2, N2O and OH a charge too many. Alone none of them notices, having no pairs
        three bonds apart; two of them would repel as ions.
        """
        properties = self._properties(self._rd)
        charges = [properties.GetMMFFPartialCharge(i) for i in range(len(self.molecule.numbers))]
        if abs(sum(charges) - self.molecule.charge) >= 1e-3:
            return None
        return super().pair() if self._compiled is None else self._compiled.pair()

    def openmm_system(self, copies: int) -> openmm.System | None:
        """System of copies that do not see each other; None where what is compiled is faster."""
        if self._compiled is not None:
            return None
        terms = read_terms(self.molecule, self.variant)
        return openmm_system(terms, self.molecule.numbers, copies)


def openmm_system(terms: MMFF94Terms, numbers: Sequence[int], copies: int) -> openmm.System:
    """Exact MMFF94 for `copies` of a molecule; force groups as in `FORCE_GROUPS`."""
    system = openmm.System()
    for _ in range(copies):
        for number in numbers:
            system.addParticle(float(ATOMIC_MASSES_amu[number]))
    shifts = [copy * len(numbers) for copy in range(copies)]
    vdw = [(atoms, values[:2]) for atoms, values in terms.pairs]
    ele = [(atoms, values[2:]) for atoms, values in terms.pairs]
    forces = (
        (openmm.CustomBondForce(_BOND), ("kb", "r0"), terms.bonds),
        (openmm.CustomAngleForce(_ANGLE), ("ka", "t0"), terms.angles),
        (openmm.CustomCompoundBondForce(3, _LINEAR), ("ka",), terms.linear_angles),
        (
            openmm.CustomCompoundBondForce(3, _STRETCH_BEND),
            ("k1", "k2", "r1", "r2", "t0"),
            terms.stretch_bends,
        ),
        (openmm.CustomCompoundBondForce(4, _OUT_OF_PLANE), ("k",), terms.out_of_planes),
        (openmm.CustomTorsionForce(_TORSION), ("v1", "v2", "v3"), terms.torsions),
        (openmm.CustomBondForce(_VDW), ("s", "epsilon"), vdw),
        (openmm.CustomBondForce(_ELE), ("qq",), ele),
    )
    for group, (force, names, found) in enumerate(forces):
        _fill(force, names, found, shifts)
        force.setForceGroup(group)
        system.addForce(force)
    return system


def _fill(force: Any, names: Sequence[str], terms: Sequence[Term], shifts: Sequence[int]) -> None:
    kinds = {
        openmm.CustomBondForce: ("addPerBondParameter", "addBond"),
        openmm.CustomAngleForce: ("addPerAngleParameter", "addAngle"),
        openmm.CustomTorsionForce: ("addPerTorsionParameter", "addTorsion"),
        openmm.CustomCompoundBondForce: ("addPerBondParameter", "addBond"),
    }
    declare, add = (getattr(force, name) for name in kinds[type(force)])
    for name in names:
        declare(name)
    compound = isinstance(force, openmm.CustomCompoundBondForce)
    for shift in shifts:
        for atoms, values in terms:
            moved = [atom + shift for atom in atoms]
            add(moved, values) if compound else add(*moved, values)
