"""Labels by tblite: GFN2-xTB and GFN1-xTB, an expert for the price of a student.

Some hundredths of a second for a molecule of twenty atoms, any element up to radon. No ab initio
method: what is learnt from it is its surface, errors included. It is the method of the physical
control (`apps.potential.xtb`), so that a model taught by it can be judged by its own expert. A
multiplicity sets how many electrons are unpaired; orbitals are the same for both spins, so that
there is no ⟨S²⟩ to record.

Sources: Bannwarth, Ehlert and Grimme 2019, doi:10.1021/acs.jctc.8b01176 (GFN2-xTB); Grimme,
Bannwarth and Shushkov 2017, doi:10.1021/acs.jctc.7b00118 (GFN1-xTB).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.labeling.labeler import Label
from apps.labeling.settings import MethodSettings
from apps.potential.xtb import METHODS, ReferenceMethod, check_installed
from data_store.errors import InputError, unknown_name
from data_store.molecules import Molecule

__all__ = ["TbliteLabeler"]

_NAMES = {title: name for name, title in METHODS.items()}


class TbliteLabeler:
    """Energies and forces of an extended tight-binding method.

    Parameters
    ----------
    settings : MethodSettings
        Of which `method` counts: GFN2-xTB where it is not given.

    Raises
    ------
    InputError
        If there is no such method, or tblite is not installed.
    """

    def __init__(self, settings: MethodSettings) -> None:
        self._title = settings.method or "GFN2-xTB"
        if self._title not in _NAMES:
            raise unknown_name("labels.method", self._title, list(_NAMES))
        check_installed(self._title, 'or give labels.source = "pyscf" or "file"')

    def label(
        self,
        numbers: NDArray[Any],
        positions: NDArray[np.float64],
        charge: int,
        multiplicity: int,
    ) -> Label:
        """Label one structure; without self-consistency the outcome is "not_converged".

        Raises
        ------
        InputError
            If charge and multiplicity do not fit the electrons.
        """
        return self._solve(numbers, positions, charge, multiplicity)[0]

    def check(self, molecule: Molecule) -> None:
        """Refuse a molecule whose own geometry the method has no answer to.

        Raises
        ------
        InputError
            With what tblite says: elements, charge or multiplicity do not fit.
        """
        found, refusal = self._solve(
            np.array(molecule.numbers), molecule.reference_positions, molecule.charge,
            molecule.multiplicity,
        )  # fmt: skip
        if found.outcome != "converged":
            raise InputError(
                f"{self._title} cannot label {molecule.formula} with charge {molecule.charge} and "
                f"multiplicity {molecule.multiplicity}: {refusal or found.outcome}",
                "check system.charge and system.multiplicity, or choose another labels.source",
            )

    def _solve(
        self,
        numbers: NDArray[Any],
        positions: NDArray[np.float64],
        charge: int,
        multiplicity: int,
    ) -> tuple[Label, str]:
        # tblite takes an odd number of electrons without unpaired ones, and says nothing.
        electrons = int(numbers.astype(np.int64).sum()) - charge
        if electrons < multiplicity - 1 or (electrons - multiplicity) % 2 == 0:
            raise InputError(
                f"{electrons} electrons (charge {charge}) do not make multiplicity {multiplicity}",
                "check system.charge and system.multiplicity",
            )
        method = ReferenceMethod(_NAMES[self._title], numbers.tolist(), charge, multiplicity)
        energies, forces = method.energies_and_forces(positions[None])
        energy = float(energies[0])
        finite = bool(np.isfinite(energy) and np.isfinite(forces).all())
        outcome: Any = "converged" if finite else "not_finite"
        if method.unsolved:
            outcome = "not_converged"
        return Label(outcome, energy, forces[0], "plain", np.nan), method.refusal
