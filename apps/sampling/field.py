"""`Field` and `Teacher`: what a force field bound to a molecule can do.

A teacher gives energies above its own relaxed minimum (a force field's zero means nothing) and
forces, for a batch of positions. What it may lack, an OpenMM system or the interaction of two
copies, it says itself by returning None; nobody asks for its class.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data_store.molecules import Molecule

__all__ = ["Field", "Teacher"]


class Field(Protocol):
    """A force field bound to a molecule, or to two copies of it."""

    molecule: Molecule

    def energies_and_forces(
        self, positions: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Energies (S,) above the minimum in eV and forces (S, N, 3) in eV/Å.

        Not finite where the force field gives none.
        """


class Teacher(Field, Protocol):
    """A force field bound to a molecule, with all that making structures needs."""

    name: str
    relaxed_positions: NDArray[np.float64]

    def openmm_system(self, copies: int) -> Any | None:
        """`openmm.System` of copies that do not see each other, or None.

        None where there is no exact one, or `energies_and_forces` is faster: dynamics runs on that.
        """

    def pair(self) -> Field | None:
        """Two copies that see each other; energies above twice the minimum of one.

        None where the force field has no sensible interaction of this molecule with itself.
        """
