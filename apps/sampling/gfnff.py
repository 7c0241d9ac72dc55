"""GFN-FF as a teacher: a general force field for elements up to lawrencium, charged or not.

GFN-FF: Spicher and Grimme 2020, doi:10.1002/anie.202004239, by the library of the PyPI package
gfnff, which speaks Bohr and Hartree. The topology is frozen: it is that of the molecule's bonds,
built at the reference geometry, and energies of any other geometry follow from it. They do not
depend on what was evaluated before. There is no OpenMM system of it.

The library parametrises amides by the order of their atoms (some meV for acetamide): one molecule
has one order here, so that its energies agree with each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import openmm
from gfnff import GFNFFCalculator
from numpy.typing import NDArray

from apps.sampling.copies import joined, two_copies
from apps.sampling.relaxation import relax
from data_store.molecules import Molecule
from data_store.units import BOHR_A, HARTREE_eV

__all__ = ["GFNFF", "together", "untyped_atoms"]

_LAST_ELEMENT = 103

_FAR_A = 1e6
"""Where even ions interact by some 1e-5 eV."""


def untyped_atoms(molecule: Molecule) -> list[int]:
    """Atoms of elements beyond GFN-FF, or all where it finds no topology; empty where it can."""
    foreign = [i for i, number in enumerate(molecule.numbers) if number > _LAST_ELEMENT]
    if foreign:
        return foreign
    try:
        _Field(molecule)
    except RuntimeError:  # what the library raises where its set-up fails
        return list(range(len(molecule.numbers)))
    return []


class _Field:
    """GFN-FF of the fragments of a molecule, above a zero in eV.

    Fragments are given as how many atoms each has, and its charge; by default there is one.
    """

    def __init__(self, molecule: Molecule, fragments: Sequence[tuple[int, int]] = ()) -> None:
        self.molecule = molecule
        self._zero_eV = 0.0
        self._numbers = np.array(molecule.numbers, dtype=np.int32)
        whole = [(len(molecule.numbers), molecule.charge)]
        sizes, charges = np.array(fragments or whole).T
        shares = np.repeat(charges / sizes, sizes)
        self._calculator = GFNFFCalculator(
            self._numbers,
            molecule.reference_positions / BOHR_A,
            charge=molecule.charge,
            fragments=np.repeat(1 + np.arange(len(sizes)), sizes),
            ref_charges=shares,  # of each fragment: their sum
            bond_matrix=_bond_matrix(molecule),
        )

    def energies_and_forces(
        self, positions: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Energies (S,) above the zero in eV and forces (S, N, 3) in eV/Å.

        NaN where the library gives up (atoms on each other).
        """
        energies, gradients = np.empty(len(positions)), np.empty(positions.shape)
        for row, structure in enumerate(positions):
            energies[row], gradients[row] = self._single(structure)
        return energies * HARTREE_eV - self._zero_eV, -gradients * (HARTREE_eV / BOHR_A)

    def _single(self, positions: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        try:
            energy, gradient, _ = self._calculator.singlepoint(self._numbers, positions / BOHR_A)
        except RuntimeError:  # what the library raises for any geometry that it cannot do
            return np.nan, np.full(positions.shape, np.nan)
        return energy, gradient


def _bond_matrix(molecule: Molecule) -> NDArray[np.int32]:
    matrix = np.zeros((len(molecule.numbers),) * 2, dtype=np.int32)
    for (i, j), order in zip(molecule.bonds, molecule.bond_orders, strict=True):
        matrix[i, j] = matrix[j, i] = order
    return matrix


def together(first: Molecule, second: Molecule) -> _Field:
    """GFN-FF of two molecules, the second one's atoms after the first one's; of no zero."""
    fragments = [(len(molecule.numbers), molecule.charge) for molecule in (first, second)]
    return _Field(joined(first, second), fragments)


class GFNFF(_Field):
    """GFN-FF bound to a molecule.

    Parameters
    ----------
    molecule : Molecule
        One that it can type (`untyped_atoms`).

    Raises
    ------
    MethodError
        If the molecule cannot be relaxed.
    """

    name = "gfnff"

    def __init__(self, molecule: Molecule) -> None:
        super().__init__(molecule)
        self.relaxed_positions = relax(self, molecule.reference_positions)
        self._zero_eV = float(self.energies_and_forces(self.relaxed_positions[None])[0][0])

    def openmm_system(self, copies: int) -> openmm.System | None:
        """None: no exact OpenMM system is known."""
        return None

    def pair(self) -> _Pair:
        """GFN-FF of two copies together; zero where both are relaxed and far apart."""
        return _Pair(self)


class _Pair:
    """Two copies of a molecule: each as if alone, and their interaction.

    The library gives two equal fragments with π electrons slightly different parameters (27 meV for
    acetamide). Their own energies therefore come from one copy alone, and the interaction is what
    both together have beyond both far apart.
    """

    def __init__(self, one: _Field) -> None:
        self.molecule = two_copies(one.molecule)
        self._one = one
        self._both = together(one.molecule, one.molecule)

    def energies_and_forces(
        self, positions: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Energies (S,) above twice the minimum of one in eV and forces (S, 2N, 3) in eV/Å."""
        each = positions.reshape(2 * len(positions), -1, 3)
        apart = each.copy()
        apart[1::2, :, 0] += _FAR_A
        energies, forces = self._both.energies_and_forces(positions)
        far_energies, far_forces = self._both.energies_and_forces(apart.reshape(positions.shape))
        own_energies, own_forces = self._one.energies_and_forces(each)
        return (
            energies - far_energies + own_energies.reshape(-1, 2).sum(axis=1),
            forces - far_forces + own_forces.reshape(positions.shape),
        )
