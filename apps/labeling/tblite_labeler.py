"""Labels by GFN2-xTB or GFN1-xTB through tblite: the cheap expert, for trials and large tests.

GFN2-xTB: Bannwarth, Ehlert and Grimme 2019, doi:10.1021/acs.jctc.8b01176; GFN1-xTB: Grimme,
Bannwarth and Shushkov 2017, doi:10.1021/acs.jctc.7b00118. Semi-empirical: milliseconds where
density functionals take seconds, and not their quality. The methods bring their own basis and
dispersion. Unpaired electrons only occupy orbitals, which both spins share: there is no ⟨S²⟩, so
that an open shell's is NaN. Not periodic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.labeling.labeler import Label
from apps.labeling.settings import MethodSettings
from data_store.errors import InputError
from data_store.molecules import Molecule
from data_store.units import BOHR_A, HARTREE_eV

__all__ = ["TBLiteLabeler"]

_LAST_ELEMENT = 86

_OF_PYSCF = ("functional", "basis", "density_fit", "dispersion")
"""Settings that name another method: one that is given is refused, not passed over."""


class TBLiteLabeler:
    """Extended tight binding energies and forces.

    Parameters
    ----------
    settings : MethodSettings
        Must leave functional, basis, density fitting and dispersion at their defaults; those of
        grid, convergence and contamination are PySCF's and do nothing here.
    method : str
        As tblite names it: "GFN2-xTB" or "GFN1-xTB".

    Raises
    ------
    InputError
        If tblite is not installed, or settings ask for another method.
    """

    def __init__(self, settings: MethodSettings, method: str) -> None:
        try:
            from tblite.interface import Calculator
        except ImportError as error:
            raise InputError(
                f"labels.labeler = {settings.labeler!r} needs tblite, which cannot be loaded here "
                f"({error})",
                "install the extra: pip install 'mlip-campaign[xtb]', wherever workers run",
            ) from error
        defaults = MethodSettings()
        given = [key for key in _OF_PYSCF if getattr(settings, key) != getattr(defaults, key)]
        if given:
            raise InputError(
                f"labels.{given[0]} = {getattr(settings, given[0])!r}: {method} brings its own",
                f'leave out {", ".join(given)}, or take labels.labeler = "pyscf"',
            )
        self._calculator, self._method = Calculator, method

    def label(
        self,
        numbers: NDArray[Any],
        positions: NDArray[np.float64],
        charge: int,
        multiplicity: int,
    ) -> Label:
        """Label one structure; none depends on what was labelled before.

        Raises
        ------
        InputError
            If the method lacks an element, or charge and multiplicity do not fit the electrons.
        """
        self._refuse(numbers, charge, multiplicity)
        spin_squared = 0.0 if multiplicity == 1 else np.nan
        try:
            found = self._single_point(numbers, positions, charge, multiplicity)
        except RuntimeError as error:  # tblite's one kind of error: told apart by what it says
            nothing = np.full(positions.shape, np.nan)
            if "not converged" in str(error):
                return Label("not_converged", np.nan, nothing, "plain", np.nan)
            if "Too close" in str(error):
                return Label("not_finite", np.nan, nothing, "plain", np.nan)
            raise
        energy = float(found.get("energy")) * HARTREE_eV
        forces = -np.asarray(found.get("gradient"), dtype=np.float64) * HARTREE_eV / BOHR_A
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            return Label("not_finite", energy, forces, "plain", spin_squared)
        return Label("converged", energy, forces, "plain", spin_squared)

    def check(self, molecule: Molecule) -> None:
        """Refuse a molecule whose elements, charge or multiplicity do not fit.

        Raises
        ------
        InputError
            Naming what does not.
        """
        self._refuse(np.array(molecule.numbers), molecule.charge, molecule.multiplicity)

    def _single_point(
        self, numbers: NDArray[Any], positions: NDArray[np.float64], charge: int, multiplicity: int
    ) -> Any:
        calculator = self._calculator(
            self._method, np.asarray(numbers, dtype=np.int64), positions / BOHR_A,
            charge=float(charge), uhf=multiplicity - 1,
        )  # fmt: skip
        calculator.set("verbosity", 0)
        return calculator.singlepoint()

    def _refuse(self, numbers: NDArray[Any], charge: int, multiplicity: int) -> None:
        beyond = sorted({int(z) for z in numbers if z > _LAST_ELEMENT})
        if beyond:
            raise InputError(
                f"{self._method} ends at radon (Z = {_LAST_ELEMENT}), and there is Z = {beyond[0]}",
                'take labels.labeler = "pyscf"',
            )
        # tblite takes an odd number of electrons without unpaired ones, and says nothing.
        electrons, unpaired = int(numbers.astype(np.int64).sum()) - charge, multiplicity - 1
        if electrons < unpaired or (electrons - unpaired) % 2:
            raise InputError(
                f"{electrons} electrons (charge {charge}) do not make multiplicity {multiplicity}",
                "check system.charge and system.multiplicity",
            )
