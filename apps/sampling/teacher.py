"""`Teacher`: a classical force field bound to one molecule, and the registry of them.

A teacher gives energies above its own relaxed minimum (a force field's zero means nothing) and
forces, for a batch of positions, and builds an OpenMM system for dynamics. Which one is used is
recorded with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from apps.sampling.mmff94 import MMFF94, untyped_atoms
from data_store.errors import InputError, unknown_name
from data_store.molecules import Molecule

__all__ = ["TEACHERS", "Choice", "Teacher", "choose_teacher", "make_teacher"]


class Teacher(Protocol):
    """A force field bound to a molecule."""

    name: str
    molecule: Molecule
    relaxed_positions: NDArray[np.float64]

    def energies_and_forces(
        self, positions: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Energies (S,) above the minimum in eV and forces (S, N, 3) in eV/Å."""

    def openmm_system(self, copies: int) -> Any:
        """`openmm.System` of copies that do not see each other."""


TEACHERS: dict[str, Callable[[Molecule], Teacher]] = {"mmff94": MMFF94}
"""Force fields by name."""


@dataclass(frozen=True)
class Choice:
    """Which teacher, and why."""

    name: str
    reason: str


def choose_teacher(name: str, molecule: Molecule) -> Choice:
    """Resolve a force field's name, "auto" included, and check that it knows the molecule.

    Raises
    ------
    InputError
        If there is no such force field, or it cannot type the molecule.
    """
    if name not in {"auto", *TEACHERS}:
        raise unknown_name("force field", name, ["auto", *TEACHERS])
    untyped = untyped_atoms(molecule)
    if untyped:
        atoms = ", ".join(f"{molecule.symbols[i]} (atom {i})" for i in untyped)
        raise InputError(
            f"the force field MMFF94 cannot type {molecule.formula}: {atoms}",
            f"registered force fields: {', '.join(TEACHERS)}; choose a molecule that one of them "
            "knows",
        )
    reason = "asked for" if name != "auto" else "MMFF94 has parameters for every atom"
    return Choice("mmff94", reason)


def make_teacher(name: str, molecule: Molecule) -> Teacher:
    """Teacher by its resolved name.

    Raises
    ------
    InputError
        If there is no such force field.
    """
    if name not in TEACHERS:
        raise unknown_name("force field", name, list(TEACHERS))
    return TEACHERS[name](molecule)
