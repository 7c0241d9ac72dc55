"""The registry of teachers, and the choice among them.

Automatic: the first of MMFF94, GFN-FF and UFF that types every atom of the molecule. Which one is
used is recorded with the reason; a force field that is named is taken or refused, never replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from apps.sampling import gfnff, mmff94, uff
from apps.sampling.field import Teacher
from apps.sampling.mmff94s import MMFF94s
from data_store.errors import InputError, unknown_name
from data_store.molecules import Molecule

__all__ = ["AUTOMATIC", "TEACHERS", "Choice", "ForceField", "choose_teacher", "make_teacher"]


@dataclass(frozen=True)
class ForceField:
    """An entry of the registry.

    Parameters
    ----------
    title : str
        What it is called in print.
    bind : callable
        From a molecule to its teacher.
    untyped_atoms : callable
        From a molecule to the atoms that it does not know.
    """

    title: str
    bind: Callable[[Molecule], Teacher]
    untyped_atoms: Callable[[Molecule], list[int]]


TEACHERS: dict[str, ForceField] = {
    "mmff94": ForceField("MMFF94", mmff94.MMFF94, mmff94.untyped_atoms),
    "mmff94s": ForceField("MMFF94s", MMFF94s, mmff94.untyped_atoms),
    "gfnff": ForceField("GFN-FF", gfnff.GFNFF, gfnff.untyped_atoms),
    "uff": ForceField("UFF", uff.UFF, uff.untyped_atoms),
}
"""Force fields by name."""

AUTOMATIC = ("mmff94", "gfnff", "uff")
"""What "auto" tries, in this order."""


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
    refusals: list[str] = []
    for tried in AUTOMATIC if name == "auto" else (name,):
        untyped = TEACHERS[tried].untyped_atoms(molecule)
        if not untyped:
            return Choice(tried, _reason(name, tried, refusals))
        atoms = ", ".join(f"{molecule.symbols[i]} (atom {i})" for i in untyped)
        refusals.append(f"{TEACHERS[tried].title} cannot type {molecule.formula}: {atoms}")
    raise InputError(f"the force field {'; '.join(refusals)}", _advice(molecule))


def _reason(name: str, tried: str, refusals: list[str]) -> str:
    if name != "auto":
        return "asked for"
    return "; ".join([*refusals, f"{TEACHERS[tried].title} has parameters for every atom"])


def _advice(molecule: Molecule) -> str:
    knowing = [name for name, kind in TEACHERS.items() if not kind.untyped_atoms(molecule)]
    if knowing:
        return f"force fields that know this molecule: {', '.join(knowing)}"
    return (
        f"registered force fields: {', '.join(TEACHERS)}; choose a molecule that one of them knows"
    )


def make_teacher(name: str, molecule: Molecule) -> Teacher:
    """Teacher by its resolved name.

    Raises
    ------
    InputError
        If there is no such force field.
    """
    if name not in TEACHERS:
        raise unknown_name("force field", name, list(TEACHERS))
    return TEACHERS[name].bind(molecule)
