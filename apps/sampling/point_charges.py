r"""Two molecules that see each other by point charges and Lennard-Jones terms.

.. math::
    E = \sum_{i \in A, j \in B} \frac{q_i q_j}{4 \pi \epsilon_0 r_{ij}}
      + 4 \epsilon_{ij} \left[ (\sigma_{ij}/r_{ij})^{12} - (\sigma_{ij}/r_{ij})^6 \right]

with :math:`\sigma_{ij}` the arithmetic and :math:`\epsilon_{ij}` the geometric mean (Lorentz and
Berthelot). Such force fields are made for the liquid. Up close, charges without a core of their own
fall into each other: a hydrogen that has left its oxygen may sit on another one at an energy far
below any real one. Such pairs have no energy here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apps.sampling.copies import two_copies
from apps.sampling.field import Field
from data_store.units import BOHR_A, HARTREE_eV

__all__ = ["ChargePair", "PointCharges"]

Array = NDArray[np.float64]

_COULOMB_eV_A = HARTREE_eV * BOHR_A
"""e²/(4πε₀)."""


@dataclass(frozen=True)
class PointCharges:
    """What an atom is to others; each (N,).

    Parameters
    ----------
    charges_e, sigmas_A, epsilons_eV : ndarray
    collapsed_eV : float
        Interaction of two molecules below which charges have fallen into each other.
    """

    charges_e: Array
    sigmas_A: Array
    epsilons_eV: Array
    collapsed_eV: float


class ChargePair:
    """Two copies of a molecule: each as if alone, and the interaction of their atoms.

    Parameters
    ----------
    one : Field
        Energies of one copy above its minimum.
    atoms : PointCharges
    """

    def __init__(self, one: Field, atoms: PointCharges) -> None:
        self.molecule = two_copies(one.molecule)
        self._one, self._collapsed_eV = one, atoms.collapsed_eV
        self._charges = _COULOMB_eV_A * np.outer(atoms.charges_e, atoms.charges_e)  # eV Å
        self._sigmas = 0.5 * (atoms.sigmas_A[:, None] + atoms.sigmas_A[None])
        self._epsilons = np.sqrt(np.outer(atoms.epsilons_eV, atoms.epsilons_eV))

    def energies_and_forces(self, positions: Array) -> tuple[Array, Array]:
        """Energies (S,) above twice the minimum of one in eV and forces (S, 2N, 3) in eV/Å.

        Not a number where charges have fallen into each other.
        """
        count = len(self._charges)
        alone, own = self._one.energies_and_forces(positions.reshape(-1, count, 3))
        energies, forces = alone.reshape(-1, 2).sum(axis=1), own.reshape(positions.shape)
        between, pull = self._interaction(positions[:, :count], positions[:, count:])
        collapsed = between < self._collapsed_eV
        energies = np.where(collapsed, np.nan, energies + between)
        return energies, np.where(collapsed[:, None, None], np.nan, forces + pull)

    def _interaction(self, first: Array, second: Array) -> tuple[Array, Array]:
        lines = second[:, None] - first[:, :, None]  # (S, N, N, 3)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            squared = (lines * lines).sum(-1)
            coulomb = self._charges / np.sqrt(squared)
            sixth = (self._sigmas**2 / squared) ** 3
            energies = (coulomb + 4.0 * self._epsilons * (sixth**2 - sixth)).sum((1, 2))
            slopes = coulomb + 4.0 * self._epsilons * (12.0 * sixth**2 - 6.0 * sixth)  # −r dE/dr
            pushes = (slopes / squared)[..., None] * lines
        return energies, np.concatenate([-pushes.sum(2), pushes.sum(1)], axis=1)
