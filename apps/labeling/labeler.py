"""`Labeler`: an ab initio method as a function of one structure, and the registry of them.

Not converging is an outcome, not an exception: a `Label` says how it was reached, or why it was
not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from apps.labeling.names import PLUG_INS, labeler_names
from apps.labeling.settings import MethodSettings
from data_store.molecules import Molecule

__all__ = ["LABELERS", "Label", "Labeler", "Outcome", "labeler_names", "make_labeler"]

Outcome = Literal["converged", "not_converged", "spin_contaminated", "unstable", "not_finite"]


@dataclass(frozen=True)
class Label:
    """What a method gave for one structure.

    Parameters
    ----------
    outcome : Outcome
        Only "converged" labels are ever used.
    energy_eV : float
    forces : ndarray, shape (N, 3)
        In eV/Å.
    step : str
        Which attempt of the fallback chain gave it.
    spin_squared : float
        ⟨S²⟩; NaN where the method has none.
    """

    outcome: Outcome
    energy_eV: float
    forces: NDArray[np.float64]
    step: str
    spin_squared: float


class Labeler(Protocol):
    """An ab initio method."""

    def label(
        self,
        numbers: NDArray[Any],
        positions: NDArray[np.float64],
        charge: int,
        multiplicity: int,
    ) -> Label:
        """Label one structure; positions (N, 3) in Å."""

    def check(self, molecule: Molecule) -> None:
        """Refuse, before anything is computed, a molecule that the method cannot do."""


def _pyscf(settings: MethodSettings) -> Labeler:
    from apps.labeling.pyscf_labeler import PySCFLabeler

    return PySCFLabeler(settings)


def _gfn1(settings: MethodSettings) -> Labeler:
    from apps.labeling.tblite_labeler import TBLiteLabeler

    return TBLiteLabeler(settings, "GFN1-xTB")


def _gfn2(settings: MethodSettings) -> Labeler:
    from apps.labeling.tblite_labeler import TBLiteLabeler

    return TBLiteLabeler(settings, "GFN2-xTB")


LABELERS: dict[str, Callable[[MethodSettings], Labeler]] = {
    "pyscf": _pyscf,
    "gfn2-xtb": _gfn2,
    "gfn1-xtb": _gfn1,
}
"""Built-in labelers by name (`BUILT_IN`)."""


def make_labeler(settings: MethodSettings) -> Labeler:
    """Labeler that settings ask for.

    Raises
    ------
    InputError
        If there is none of that name, two packages register it, it cannot be loaded, or it does not
        know the method or basis, or its package is not installed.
    """
    name = settings.labeler
    make: Callable[[MethodSettings], Labeler] = (
        LABELERS[name] if name in LABELERS else PLUG_INS.load(name)
    )
    return make(settings)
