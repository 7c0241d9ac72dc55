r"""Morse bonds as a teacher: diatomics, small molecules of H and O, and free atoms, that can part.

.. math::
    E = \sum_{ij} D \left(1 - e^{-a (r_{ij} - r_e)}\right)^2
      + \sum_{ijk} \tfrac{k}{2} (\theta_{ijk} - \theta_0)^2\, s(r_{ij})\, s(r_{jk}),
    \qquad s(r) = 1 / \cosh a (r - r_e)

An angle fades with its bonds, so that a fragment that has left feels nothing, and a free atom has
neither energy nor forces. What is two or three bonds apart has a wall, so that it cannot fall into
each other where its bonds are gone: the repulsive part of a Lennard-Jones term (Weeks, Chandler and
Andersen 1971, doi:10.1063/1.1674820) with UFF's depth, from nine tenths of the distance at rest (of
the cis form, three bonds apart) inwards. At rest it is not felt. Both the fading and where the wall
begins are ours. Two molecules see each other by the whole Lennard-Jones term of UFF. No torsion
(hydrogen peroxide turns freely), no charges, no spin, and no new bonds: what has parted may return
to where it was, and fragments of two molecules do not react. Sources of all constants:
`apps.sampling.morse_constants`. Morse: doi:10.1103/PhysRev.34.57.
"""

from __future__ import annotations

import numpy as np
import openmm
from numpy.typing import NDArray

from apps.sampling.copies import two_copies
from apps.sampling.morse_constants import (
    ANGLES,
    CURVES,
    VAN_DER_WAALS,
    ABOVE_ATOMS_eV,
    Angle,
    Curve,
)
from apps.sampling.relaxation import relax
from apps.sampling.valence import angles, lengths
from data_store.molecules import Molecule
from data_store.units import ATOMIC_MASSES_amu, KCAL_PER_MOL_eV, KJ_PER_MOL_eV

__all__ = ["Morse", "untyped_atoms"]

Array = NDArray[np.float64]

_kJ = 1.0 / KJ_PER_MOL_eV

_WALL_BEGINS = 0.9
"""Over the distance at rest."""

_MORSE = "depth*(1-exp(-width*(10*r-r0)))^2"
_WALL = "select(step(d-10*r),depth*((d/(10*r))^6-1)^2,0)"
_ANGLE = (
    "0.5*k*(angle(p1,p2,p3)-t0)^2/cosh(width1*(10*distance(p1,p2)-r1))"
    "/cosh(width2*(10*distance(p3,p2)-r2))"
)


def untyped_atoms(molecule: Molecule) -> list[int]:
    """All atoms but of the species in the tables, neutral; empty for those and free atoms."""
    # Carbon monoxide is written with two charges.
    neutral = molecule.charge == 0 and (
        not any(molecule.formal_charges) or molecule.formula == "CO"
    )
    is_atom = len(molecule.numbers) == 1 and molecule.symbols[0] in VAN_DER_WAALS
    bonds = sorted(_ends(molecule, bond) for bond in molecule.bonds)
    known = neutral and (is_atom or bonds == _BONDS.get(molecule.formula))
    return [] if known else list(range(len(molecule.numbers)))


_BONDS = {
    **{formula: list(curves) for formula, curves in CURVES.items()},
    "H2O": [("H", "O"), ("H", "O")],
    "H2O2": [("H", "O"), ("H", "O"), ("O", "O")],
}
"""Bonds that a species of a formula must have, sorted."""


def _ends(molecule: Molecule, bond: tuple[int, int]) -> tuple[str, str]:
    first, second = sorted(molecule.symbols[atom] for atom in bond)
    return first, second


class Morse:
    """Morse bonds and harmonic angles bound to a molecule.

    Parameters
    ----------
    molecule : Molecule
        One that it can type (`untyped_atoms`).

    Raises
    ------
    MethodError
        If the molecule cannot be relaxed.
    """

    name = "morse"
    above_atoms_eV: float
    """Energy of the minimum above free atoms: the zero that species of a mixture share."""

    def __init__(self, molecule: Molecule) -> None:
        self.molecule = molecule
        curves = CURVES.get(molecule.formula, {})
        self._bonds: dict[tuple[int, int], Curve] = {
            bond: curves[_ends(molecule, bond)] for bond in molecule.bonds
        }
        self._angles = _angles_of(molecule) if molecule.formula in ANGLES else []
        self._walls = _walls_of(molecule) if molecule.formula in ANGLES else {}
        self.above_atoms_eV = ABOVE_ATOMS_eV.get(molecule.formula, 0.0)
        self._zero_eV = 0.0
        self.relaxed_positions = relax(self, molecule.reference_positions)
        self._zero_eV = float(self.energies_and_forces(self.relaxed_positions[None])[0][0])

    def energies_and_forces(self, positions: Array) -> tuple[Array, Array]:
        """Energies (S,) above the minimum in eV and forces (S, N, 3) in eV/Å."""
        energies, gradients = np.zeros(len(positions)), np.zeros_like(positions)
        for (i, j), curve in self._bonds.items():
            length, line = lengths(positions, i, j)
            decay = np.exp(-curve.width_per_A * (length - curve.length_A))
            energies += curve.depth_eV * (1.0 - decay) ** 2
            pull = 2.0 * curve.depth_eV * curve.width_per_A * (1.0 - decay) * decay
            gradients[:, j] += pull[:, None] * line
            gradients[:, i] -= pull[:, None] * line
        for atoms in self._angles:
            energies += self._bend(positions, atoms, gradients)
        for (i, j), (begins_A, depth) in self._walls.items():
            length, line = lengths(positions, i, j)
            with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
                sixth = np.maximum((begins_A / length) ** 6, 1.0)  # 1: not there
                energies += depth * (sixth - 1.0) ** 2
                push = (12.0 * depth * sixth * (sixth - 1.0) / length)[:, None] * line
            gradients[:, j] -= push
            gradients[:, i] += push
        return energies - self._zero_eV, -gradients

    def _bend(self, positions: Array, atoms: tuple[int, int, int], gradients: Array) -> Array:
        """Energies of one angle; its gradient is added."""
        i, centre, k = atoms
        kind = ANGLES[self.molecule.formula]
        theta, by_i, by_k = angles(positions, i, centre, k)
        bent = theta - np.radians(kind.degrees)
        energy = 0.5 * kind.stiffness_eV * bent**2
        slope = kind.stiffness_eV * bent
        fading = []
        for end in (i, k):
            curve = self._curve(centre, end)
            length, line = lengths(positions, centre, end)
            with np.errstate(over="ignore"):
                arm = curve.width_per_A * (length - curve.length_A)
                fading.append((1.0 / np.cosh(arm), -curve.width_per_A * np.tanh(arm), line))
        both = fading[0][0] * fading[1][0]
        for end, by_end, (_, relative, line) in zip((i, k), (by_i, by_k), fading, strict=True):
            by = (both * slope)[:, None] * by_end + (both * energy * relative)[:, None] * line
            gradients[:, end] += by
            gradients[:, centre] -= by
        return np.asarray(both * energy)

    def _curve(self, i: int, j: int) -> Curve:
        return self._bonds[min(i, j), max(i, j)]

    def openmm_system(self, copies: int) -> openmm.System:
        """Exact system of copies that do not see each other."""
        system = openmm.System()
        bonds = openmm.CustomBondForce(_MORSE)
        bends = openmm.CustomCompoundBondForce(3, _ANGLE)
        walls = openmm.CustomBondForce(_WALL)
        for name in ("d", "depth"):
            walls.addPerBondParameter(name)
        for name in ("depth", "width", "r0"):
            bonds.addPerBondParameter(name)
        for name in ("k", "t0", "width1", "r1", "width2", "r2"):
            bends.addPerBondParameter(name)
        kind = ANGLES.get(self.molecule.formula, Angle(0.0, 0.0))
        for shift in range(0, copies * len(self.molecule.numbers), len(self.molecule.numbers)):
            for number in self.molecule.numbers:
                system.addParticle(float(ATOMIC_MASSES_amu[number]))
            for (i, j), curve in self._bonds.items():
                values = (_kJ * curve.depth_eV, curve.width_per_A, curve.length_A)
                bonds.addBond(i + shift, j + shift, values)
            for i, centre, k in self._angles:
                arms = [self._curve(centre, end) for end in (i, k)]
                shapes = [value for arm in arms for value in (arm.width_per_A, arm.length_A)]
                bends.addBond(
                    [i + shift, centre + shift, k + shift],
                    [_kJ * kind.stiffness_eV, np.radians(kind.degrees), *shapes],
                )
            for (i, j), (begins_A, depth) in self._walls.items():
                walls.addBond(i + shift, j + shift, (begins_A, _kJ * depth))
        for force in (bonds, bends, walls):
            system.addForce(force)
        return system

    def pair(self) -> MorsePair:
        """Two copies with UFF's Lennard-Jones term between them."""
        return MorsePair(self)


def _angles_of(molecule: Molecule) -> list[tuple[int, int, int]]:
    """Angles i–centre–k, i < k."""
    around: list[set[int]] = [set() for _ in molecule.numbers]
    for i, j in molecule.bonds:
        around[i].add(j)
        around[j].add(i)
    return [
        (i, centre, k)
        for centre, ends in enumerate(around)
        for i in sorted(ends)
        for k in sorted(ends)
        if i < k
    ]


def _walls_of(molecule: Molecule) -> dict[tuple[int, int], tuple[float, float]]:
    """Where the wall of two atoms begins, in Å, and its depth in eV: two or three bonds apart."""
    curves, angle = CURVES[molecule.formula], ANGLES[molecule.formula]
    cosine = float(np.cos(np.radians(angle.degrees)))
    around = {bond: curves[_ends(molecule, bond)].length_A for bond in molecule.bonds}
    around |= {(j, i): length for (i, j), length in around.items()}
    apart = molecule.bond_distance_matrix()
    walls = {}
    for i in range(len(apart)):
        for j in range(i + 1, len(apart)):
            if apart[i, j] == 2:
                first, second = _path(around, i, j, 2)
                rest = np.sqrt(first**2 + second**2 - 2.0 * first * second * cosine)
            elif apart[i, j] == 3:
                first, middle, last = _path(around, i, j, 3)
                rest = middle - (first + last) * cosine
            else:
                continue
            depths = [VAN_DER_WAALS[molecule.symbols[atom]][1] for atom in (i, j)]
            depth = KCAL_PER_MOL_eV * float(np.sqrt(depths[0] * depths[1]))
            walls[i, j] = (_WALL_BEGINS * float(rest), depth)
    return walls


def _path(bonds: dict[tuple[int, int], float], i: int, j: int, steps: int) -> list[float]:
    """Lengths of the bonds on a path of so many between two atoms; none where there is none."""
    if steps == 1:
        return [bonds[i, j]] if (i, j) in bonds else []
    for (start, middle), length in bonds.items():
        rest = _path(bonds, middle, j, steps - 1) if start == i else []
        if rest:
            return [length, *rest]
    return []


class MorsePair:
    """Two molecules: each as if alone, and UFF's Lennard-Jones term between their atoms.

    Parameters
    ----------
    one : Morse
    """

    def __init__(self, one: Morse) -> None:
        self.molecule = two_copies(one.molecule)
        self._one = one
        constants = np.array([VAN_DER_WAALS[symbol] for symbol in one.molecule.symbols])
        means = np.sqrt(constants[:, None] * constants[None, :])  # UFF mixes both geometrically
        self._minimum_A, self._depth_eV = means[..., 0], KCAL_PER_MOL_eV * means[..., 1]

    def energies_and_forces(self, positions: Array) -> tuple[Array, Array]:
        """Energies (S,) above twice the minimum of one in eV and forces (S, 2N, 3) in eV/Å."""
        count = len(self._one.molecule.numbers)
        alone, own = self._one.energies_and_forces(positions.reshape(-1, count, 3))
        lines = positions[:, None, count:] - positions[:, :count, None]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            squared = (lines * lines).sum(-1)
            sixth = (self._minimum_A**2 / squared) ** 3
            energies = (self._depth_eV * (sixth**2 - 2.0 * sixth)).sum((1, 2))
            slopes = 12.0 * self._depth_eV * (sixth**2 - sixth) / squared  # −dE/dr / r
            pushes = slopes[..., None] * lines
        forces = np.concatenate([-pushes.sum(2), pushes.sum(1)], axis=1)
        return alone.reshape(-1, 2).sum(axis=1) + energies, own.reshape(positions.shape) + forces
