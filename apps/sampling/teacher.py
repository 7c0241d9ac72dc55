"""The registry of teachers, built in or brought by a package, and the choice among them.

Automatic: what is made for this very molecule (water: q-SPC/Fw), else the first of MMFF94, GFN-FF
and UFF that types every atom of it. Which one is used is recorded with the reason; a force field
that is named is taken or refused, never replaced.
What needs parameters of its own for each molecule (a file of the user's, or GAFF2 by AmberTools) is
in `PARAMETRISED`; their text is stored with the molecule. A package registers
``name = "module:RECORD"`` in the group ``campaign.teachers``, where ``RECORD`` is a `ForceField`
(docs/extending.md); it is used where it is named, never by "auto".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from apps.plug_ins import PlugIns
from apps.sampling import brought, gaff2, gfnff, mmff94, morse, uff, water
from apps.sampling.field import Teacher
from apps.sampling.mmff94s import MMFF94s
from data_store.errors import InputError, unknown_name
from data_store.molecules import Molecule

__all__ = [
    "AUTOMATIC",
    "PARAMETRISED",
    "TEACHERS",
    "Choice",
    "ForceField",
    "Parametrised",
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
    reference : str
        Where it was published: a DOI.
    licence : str
        Of the code that evaluates it, and of its parameters where they have one.
    types : str
        What it has parameters for, in words.
    """

    title: str
    bind: Callable[[Molecule], Teacher]
    untyped_atoms: Callable[[Molecule], list[int]]
    reference: str = "not stated"
    licence: str = "not stated"
    types: str = "not stated"


_WATER = "water alone (H2O), and pairs of it"

TEACHERS: dict[str, ForceField] = {
    "mmff94": ForceField(
        "MMFF94", mmff94.MMFF94, mmff94.untyped_atoms,
        "doi:10.1002/(SICI)1096-987X(199604)17:5/6<490::AID-JCC1>3.0.CO;2-P",
        "BSD-3-Clause (RDKit)",
        "ordinary organics of H, C, N, O, F, Si, P, S, Cl, Br, I; water, OH, H2O2; a few ions",
    ),
    "mmff94s": ForceField(
        "MMFF94s", MMFF94s, mmff94.untyped_atoms,
        "doi:10.1002/(SICI)1096-987X(199905)20:7<720::AID-JCC7>3.0.CO;2-X",
        "BSD-3-Clause (RDKit)",
        "as MMFF94; delocalised nitrogen is flatter",
    ),
    "gfnff": ForceField(
        "GFN-FF", gfnff.GFNFF, gfnff.untyped_atoms,
        "doi:10.1002/anie.202004239",
        "LGPL-3.0 (gfnff)",
        "elements up to lawrencium, ions and radicals; bonds as perceived, no spin",
    ),
    "uff": ForceField(
        "UFF", uff.UFF, uff.untyped_atoms,
        "doi:10.1021/ja00051a040",
        "BSD-3-Clause (RDKit)",
        "nearly every element, poorly; free atoms",
    ),
    "spc-fw": ForceField(
        "SPC/Fw", partial(water.FlexibleWater, water.SPC_FW), water.untyped_atoms,
        "doi:10.1063/1.2136877",
        "MIT (this project); parameters as published",
        _WATER,
    ),
    "q-spc-fw": ForceField(
        "q-SPC/Fw", partial(water.FlexibleWater, water.Q_SPC_FW), water.untyped_atoms,
        "doi:10.1063/1.2386157",
        "MIT (this project); parameters as published",
        _WATER,
    ),
    "morse": ForceField(
        "Morse", morse.Morse, morse.untyped_atoms,
        "doi:10.1103/PhysRev.34.57; constants: doi:10.1007/978-1-4757-0961-2 and others, "
        "in apps/sampling/morse_constants.py",
        "MIT (this project); constants as published",
        "H2, N2, O2, F2, Cl2, CO, NO, HF, HCl, OH, H2O, HO2, H2O2, and free atoms of these; bonds "
        "break, and never form anew",
    ),
}  # fmt: skip
"""Built-in force fields by name."""


@dataclass(frozen=True)
class Parametrised:
    """A force field whose parameters of a molecule are a text that is found first.

    Parameters
    ----------
    title : str
    parameters : callable
        From a molecule, and the file that the campaign brings if any, to the text.
    bind : callable
        From a molecule and the text to its teacher; an `InputError` where it does not fit.
    reference, licence, types : str
        As of `ForceField`.
    """

    title: str
    parameters: Callable[[Molecule, Path | None], str]
    bind: Callable[[Molecule, str], Teacher]
    reference: str
    licence: str
    types: str


PARAMETRISED: dict[str, Parametrised] = {
    "openmm-xml": Parametrised(
        "OpenMM XML", lambda molecule, file: brought.read_text(file, "openmm-xml"),
        brought.from_xml,
        "doi:10.1371/journal.pcbi.1005659 (OpenMM); of the force field, as your file says",
        "MIT (OpenMM); of the file, its own",
        "the molecule of sampling.force_field_file: a serialised System, or templates",
    ),
    "amber-prmtop": Parametrised(
        "Amber prmtop", lambda molecule, file: brought.read_text(file, "amber-prmtop"),
        brought.from_prmtop,
        "doi:10.1371/journal.pcbi.1005659 (OpenMM); of the force field, as your file says",
        "MIT (OpenMM); of the file, its own",
        "the molecule of sampling.force_field_file, its atoms in any order",
    ),
    "gaff2": Parametrised(
        "GAFF2", lambda molecule, file: gaff2.make_prmtop(molecule), gaff2.bind,
        "doi:10.1002/jcc.20035; charges (AM1-BCC): doi:10.1002/jcc.10128",
        "GPL and LGPL (AmberTools, yours to install); MIT (OpenMM)",
        "closed shells of H, C, N, O, F, P, S, Cl, Br, I, where AmberTools is installed",
    ),
}  # fmt: skip
"""Force fields that need parameters of their own for each molecule, by name; never "auto"."""

_PLUG_INS = PlugIns(
    "campaign.teachers", "force field", "sampling.force_field", (*TEACHERS, *PARAMETRISED),
    "an apps.sampling.teacher.ForceField", lambda loaded, name: isinstance(loaded, ForceField),
)  # fmt: skip

MADE_FOR_ONE = ("q-spc-fw",)
"""What "auto" tries first: force fields of single species, whose refusals are nothing to tell."""

AUTOMATIC = (*MADE_FOR_ONE, "mmff94", "gfnff", "uff")
"""What "auto" tries, in this order."""


def force_field_names() -> tuple[str, ...]:
    """Names of all that need no parameters beforehand: built-in ones in order, then plug-ins'."""
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
    """Which teacher, and why; and its parameters of the molecule, where it needs any."""

    name: str
    reason: str
    parameters: str | None = None


def choose_teacher(name: str, molecule: Molecule, file: Path | None = None) -> Choice:
    """Resolve a force field's name, "auto" included, and check that it knows the molecule.

    Parameters
    ----------
    name : str
    molecule : Molecule
    file : Path, optional
        The force field that the user brings.

    Raises
    ------
    InputError
        If there is no such force field, or it cannot type the molecule.
    """
    valid = ("auto", *force_field_names(), *PARAMETRISED)
    if name not in valid:
        raise unknown_name("force field", name, valid)
    if name in PARAMETRISED:
        text = PARAMETRISED[name].parameters(molecule, file)
        PARAMETRISED[name].bind(molecule, text)
        return Choice(name, "asked for", text)
    refusals: list[str] = []
    for tried in AUTOMATIC if name == "auto" else (name,):
        kind = find_force_field(tried)
        untyped = kind.untyped_atoms(molecule)
        if not untyped:
            return Choice(tried, _reason(name, tried, refusals))
        if name == "auto" and tried in MADE_FOR_ONE:
            continue
        atoms = ", ".join(f"{molecule.symbols[i]} (atom {i})" for i in untyped)
        refusals.append(f"{kind.title} cannot type {molecule.formula}: {atoms}")
    raise InputError(f"the force field {'; '.join(refusals)}", _advice(molecule))


def _reason(name: str, chosen: str, refusals: list[str]) -> str:
    if name != "auto":
        return "asked for"
    title = find_force_field(chosen).title
    if chosen in MADE_FOR_ONE:
        return f"{title} is made for this molecule"
    return "; ".join([*refusals, f"{title} has parameters for every atom"])


def _advice(molecule: Molecule) -> str:
    knowing = [name for name, kind in TEACHERS.items() if not kind.untyped_atoms(molecule)]
    if knowing:
        return f"force fields that know this molecule: {', '.join(knowing)}"
    names = ", ".join(force_field_names())
    return f"registered force fields: {names}; choose a molecule that one of them knows"


def make_teacher(name: str, molecule: Molecule, parameters: str | None = None) -> Teacher:
    """Teacher by its resolved name, with the parameters that its choice came with.

    Raises
    ------
    InputError
        If there is no such force field, or parameters and molecule do not fit.
    """
    if name in PARAMETRISED:
        return PARAMETRISED[name].bind(molecule, parameters or "")
    return find_force_field(name).bind(molecule)
