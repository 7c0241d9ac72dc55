"""The registry of teachers, built in or brought by a package, and the choice among them.

Automatic: the first of MMFF94, GFN-FF and UFF that types every atom of the molecule. Which one is
used is recorded with the reason; a force field that is named is taken or refused, never replaced.
A package registers ``name = "module:RECORD"`` in the group ``campaign.teachers``, where ``RECORD``
is a `ForceField` (docs/extending.md); it is used where it is named, never by "auto".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from apps.plug_ins import PlugIns
from apps.sampling import gfnff, mmff94, uff
from apps.sampling.field import Teacher
from apps.sampling.mmff94s import MMFF94s
from data_store.errors import InputError, unknown_name
from data_store.molecules import Molecule

__all__ = [
    "AUTOMATIC",
    "TEACHERS",
    "Choice",
    "ForceField",
    "choose_teacher",
    "find_force_field",
    "force_field_names",
    "make_teacher",
]


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
"""Built-in force fields by name."""

_PLUG_INS = PlugIns(
    "campaign.teachers", "force field", "sampling.force_field", TEACHERS,
    "an apps.sampling.teacher.ForceField", lambda loaded, name: isinstance(loaded, ForceField),
)  # fmt: skip

AUTOMATIC = ("mmff94", "gfnff", "uff")
"""What "auto" tries, in this order."""


def force_field_names() -> tuple[str, ...]:
    """Names of all force fields: built-in ones in their order, then plug-ins'."""
    return (*TEACHERS, *_PLUG_INS.names())


def find_force_field(name: str) -> ForceField:
    """Force field by its name; a plug-in's is imported now.

    Raises
    ------
    InputError
        If there is none of that name, two packages register it, or it cannot be loaded.
    """
    if name in TEACHERS:
        return TEACHERS[name]
    loaded: ForceField = _PLUG_INS.load(name)
    return loaded


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
    valid = ("auto", *force_field_names())
    if name not in valid:
        raise unknown_name("force field", name, valid)
    refusals: list[str] = []
    for tried in AUTOMATIC if name == "auto" else (name,):
        kind = find_force_field(tried)
        untyped = kind.untyped_atoms(molecule)
        if not untyped:
            return Choice(tried, _reason(name, kind, refusals))
        atoms = ", ".join(f"{molecule.symbols[i]} (atom {i})" for i in untyped)
        refusals.append(f"{kind.title} cannot type {molecule.formula}: {atoms}")
    raise InputError(f"the force field {'; '.join(refusals)}", _advice(molecule))


def _reason(name: str, kind: ForceField, refusals: list[str]) -> str:
    if name != "auto":
        return "asked for"
    return "; ".join([*refusals, f"{kind.title} has parameters for every atom"])


def _advice(molecule: Molecule) -> str:
    knowing = [name for name, kind in TEACHERS.items() if not kind.untyped_atoms(molecule)]
    if knowing:
        return f"force fields that know this molecule: {', '.join(knowing)}"
    names = ", ".join(force_field_names())
    return f"registered force fields: {names}; choose a molecule that one of them knows"


def make_teacher(name: str, molecule: Molecule) -> Teacher:
    """Teacher by its resolved name.

    Raises
    ------
    InputError
        If there is no such force field.
    """
    return find_force_field(name).bind(molecule)
