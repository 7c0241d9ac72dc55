"""What all of RDKit's force fields share: evaluation, relaxation, two copies together.

Units are converted here (RDKit speaks kcal/mol and Å). Which parameters a molecule gets, and
whether it has any, is for the force field's own module to say.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import openmm
from numpy.typing import NDArray

from apps.sampling.copies import two_copies
from apps.sampling.field import Field
from apps.sampling.molecule import to_rdkit
from apps.sampling.relaxation import relax
from data_store.molecules import Molecule
from data_store.units import KCAL_PER_MOL_eV

__all__ = ["RDKitField", "RDKitTeacher"]


class RDKitField:
    """Energies above a zero, and forces, of one of RDKit's force fields.

    Parameters
    ----------
    molecule : Molecule
    build : callable
        From an RDKit molecule to its force field, with the pairs of all fragments.
    zero : float
        What counts as no energy, in kcal/mol.
    """

    def __init__(self, molecule: Molecule, build: Callable[[Any], Any], zero: float = 0.0) -> None:
        self.molecule = molecule
        # The force field points into the molecule's conformer, which must live as long.
        self._rd = to_rdkit(molecule)
        self._field = build(self._rd)
        self._field.Initialize()
        self._zero = zero

    def energies_and_forces(
        self, positions: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Energies above the zero and forces.

        Parameters
        ----------
        positions : ndarray, shape (S, N, 3)
            In Å.

        Returns
        -------
        energies : ndarray, shape (S,)
            In eV.
        forces : ndarray, shape (S, N, 3)
            In eV/Å.
        """
        energies, gradients = np.empty(len(positions)), np.empty(positions.shape)
        for row, structure in enumerate(positions):
            flat = structure.reshape(-1).tolist()
            # CalcGrad uses the distances that the last CalcEnergy cached: never call it alone.
            energies[row] = self._field.CalcEnergy(flat)
            gradients[row] = np.reshape(self._field.CalcGrad(flat), (-1, 3))
        return (energies - self._zero) * KCAL_PER_MOL_eV, -gradients * KCAL_PER_MOL_eV


class RDKitTeacher(RDKitField, ABC):
    """One of RDKit's force fields bound to a molecule; its zero is the relaxed minimum.

    Parameters
    ----------
    molecule : Molecule
        One that the force field can type.

    Raises
    ------
    MethodError
        If the molecule cannot be relaxed.
    """

    name: str

    def __init__(self, molecule: Molecule) -> None:
        super().__init__(molecule, self._build)
        self.relaxed_positions = self._relaxed()
        self._zero = self._field.CalcEnergy(self.relaxed_positions.reshape(-1).tolist())

    @abstractmethod
    def _build(self, rd: Any) -> Any:
        """Force field of an RDKit molecule, with the pairs of all fragments."""

    def _relaxed(self) -> NDArray[np.float64]:
        return relax(self, self.molecule.reference_positions)

    def openmm_system(self, copies: int) -> openmm.System | None:
        """None: no exact OpenMM system is known."""
        return None

    def pair(self) -> Field | None:
        """The force field of two copies together; zero where both are relaxed and far apart."""
        return RDKitField(two_copies(self.molecule), self._build, 2.0 * self._zero)
