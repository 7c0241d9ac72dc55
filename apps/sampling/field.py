"""`Field` and `Teacher`: what a force field bound to a molecule can do.

A teacher gives energies above its own relaxed minimum (a force field's zero means nothing) and
forces, for a batch of positions. What it may lack, an OpenMM system or the interaction of two
copies, it says itself by returning None; nobody asks for its class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from data_store.molecules import Molecule

__all__ = ["Advancing", "Field", "LangevinStep", "PhasePoint", "Teacher"]


@dataclass(frozen=True)
class PhasePoint:
    """Where all copies are: positions (Å), velocities (Å/fs) and forces (eV/Å), (R, N, 3) each."""

    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]
    forces: NDArray[np.float64]


@dataclass(frozen=True)
class LangevinStep:
    """What a Langevin step multiplies with.

    Parameters
    ----------
    timestep_fs : float
    decay : float
        What friction leaves of a velocity in a step.
    half_kick : ndarray, shape (N, 1)
        Change of a velocity by a force in half a step, in Å/fs per eV/Å.
    width : ndarray, shape (N, 1)
        Spread of the noise of a velocity in a step, in Å/fs.
    """

    timestep_fs: float
    decay: float
    half_kick: NDArray[np.float64]
    width: NDArray[np.float64]


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


@runtime_checkable
class Advancing(Protocol):
    """A force field that may take many steps of dynamics in one call."""

    def advance(
        self, point: PhasePoint, step: LangevinStep, noise: NDArray[np.float64]
    ) -> PhasePoint | None:
        """Where all copies are after as many steps as `noise` (steps, R, N, 3) has.

        As by `apps.sampling.langevin.baoab`, one after another; None where it cannot.
        """
