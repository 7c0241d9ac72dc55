"""GFN2-xTB by tblite: a semiempirical method that knows chemistry, for want of the expert itself.

The physical control of dynamics and of probes: what fails under it too is no artefact of a network.
It lets bonds break and form, costs some hundredths of a second per molecule of twenty atoms, and is
no ab initio label. Every geometry is solved from nothing, so that energies and forces are functions
of positions alone.

Source: Bannwarth, Ehlert and Grimme 2019, doi:10.1021/acs.jctc.8b01176. tblite (LGPL-3) is an
optional package.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_store.errors import InputError
from data_store.molecules import Molecule
from data_store.units import BOHR_A, HARTREE_eV

__all__ = ["METHODS", "ReferenceMethod", "check_installed", "check_solves"]

METHODS = {"gfn2-xtb": "GFN2-xTB"}
"""Reference methods by name, with what tblite calls them."""

Array = NDArray[np.float64]


def check_installed(method: str) -> None:
    """Refuse a method whose package is not there.

    Raises
    ------
    InputError
        Saying what to install.
    """
    if find_spec("tblite") is None:
        raise InputError(
            f"{method} is computed by the package tblite, which is not installed",
            "pip install 'mlip-campaign[xtb]', or set control.method to \"none\"",
        )


def check_solves(method: str, molecule: Molecule) -> None:
    """Refuse a method that has no answer to the molecule's own geometry.

    Raises
    ------
    InputError
        If its package is not installed, or it cannot treat these elements, charge or multiplicity.
    """
    found = ReferenceMethod(method, molecule.numbers, molecule.charge, molecule.multiplicity)
    if not np.isfinite(found.energies(molecule.reference_positions[None])).all():
        raise InputError(
            f"{method} has no answer to the geometry of {molecule.formula} with charge "
            f"{molecule.charge} and multiplicity {molecule.multiplicity}",
            'set control.method to "none", or mend the charge and multiplicity',
        )


class ReferenceMethod:
    """Energies and forces of copies of one molecule.

    Parameters
    ----------
    method : str
        Name in `METHODS`.
    numbers : sequence of int, length N
    charge, multiplicity : int

    Attributes
    ----------
    unsolved : int
        Geometries without an answer so far.

    Raises
    ------
    InputError
        If tblite is not installed.
    """

    def __init__(
        self, method: str, numbers: Sequence[int], charge: int = 0, multiplicity: int = 1
    ) -> None:
        check_installed(method)
        self.method, self.numbers = method, np.asarray(numbers, dtype=np.int64)
        self.charge, self.multiplicity = charge, multiplicity
        self.unsolved = 0

    def energies_and_forces(self, positions_A: Array) -> tuple[Array, Array]:
        """Energies (S,) in eV and forces (S, N, 3) in eV/Å; NaN where the equations have no answer.

        Parameters
        ----------
        positions_A : ndarray, shape (S, N, 3)
        """
        energies, forces = np.full(len(positions_A), np.nan), np.full(positions_A.shape, np.nan)
        for row, x in enumerate(positions_A):
            found = self._solved(x) if np.isfinite(x).all() else None
            if found is None:
                self.unsolved += 1
                continue
            energies[row] = found.get("energy") * HARTREE_eV
            forces[row] = found.get("gradient") * (-HARTREE_eV / BOHR_A)
        return energies, forces

    def energies(self, positions_A: Array) -> Array:
        """Energies (S,) in eV; NaN where the equations have no answer."""
        return self.energies_and_forces(positions_A)[0]

    def _solved(self, x: Array) -> Any | None:
        from tblite.exceptions import TBLiteRuntimeError
        from tblite.interface import Calculator

        spins = self.multiplicity - 1
        try:
            calculator = Calculator(
                METHODS[self.method], self.numbers, x / BOHR_A, self.charge, spins
            )
            calculator.set("verbosity", 0)
            return calculator.singlepoint()
        except TBLiteRuntimeError:  # atoms on top of each other, or no self-consistency
            return None
