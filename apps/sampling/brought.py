"""Force fields that the user brings: OpenMM's XML, of a system or of templates; Amber's prmtop.

The file's content is the force field: its digest is in the identity of the molecule, and the text
is stored with the molecule, so that workers need no file. OpenMM's XML may hold Python code or name
other files; such is refused, since a campaign file runs no code.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import openmm
from openmm import app
from rdkit import Chem

from apps.sampling.openmm_field import OpenMMTeacher
from data_store.errors import InputError
from data_store.molecules import Molecule
from data_store.units import ATOMIC_MASSES_amu

__all__ = ["from_prmtop", "from_xml", "read_text"]

_MASS_OFF_amu = 0.6
"""How far a particle's mass may be from that of its element: isotopes of hydrogen are told apart
from each other, not from helium."""


def read_text(path: Path | None, name: str) -> str:
    """Content of the file that the campaign brings for a teacher.

    Raises
    ------
    InputError
        If none is given, or it cannot be read.
    """
    if path is None:
        raise InputError(
            f"the force field {name!r} is a file of yours, and none is given",
            "name it with sampling.force_field_file (or force_field_file of the species)",
        )
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read the force field {path}: {error}", "check sampling.force_field_file"
        ) from error


def from_xml(molecule: Molecule, text: str) -> OpenMMTeacher:
    """Teacher from OpenMM's XML: a serialised ``System``, or a ``ForceField`` of templates.

    A system's particles must be in the molecule's order of atoms; templates are matched by
    elements and bonds.

    Raises
    ------
    InputError
        If it is neither, holds code, or is not of this molecule.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise InputError(
            f"the force field file is not XML: {error}", "check sampling.force_field_file"
        ) from error
    foreign = [t for t in ("Script", "InitializationScript", "Include") if root.find(t) is not None]
    if foreign:
        raise InputError(
            f"the force field file holds <{foreign[0]}>: code, or the name of another file",
            "leave it out: a force field that a campaign names is data, in one file",
        )
    makers = {"System": _serialised, "ForceField": _by_templates}
    if root.tag not in makers:
        raise InputError(
            f"the force field file is of <{root.tag}>, expected <System> or <ForceField>",
            "write a system with openmm.XmlSerializer.serialize, or give a ForceField file",
        )
    system = makers[root.tag](molecule, text)
    order = range(len(molecule.numbers))
    return OpenMMTeacher("openmm-xml", molecule, system, order, "the force field file")


def _serialised(molecule: Molecule, text: str) -> openmm.System:
    try:
        system = openmm.XmlSerializer.deserialize(text)
    except Exception as error:  # OpenMM raises what C++ gives it
        raise InputError(
            f"OpenMM cannot read the system: {_line(error)}",
            "write it with XmlSerializer.serialize",
        ) from error
    count = system.getNumParticles()
    masses = np.array([system.getParticleMass(i)._value for i in range(count)])
    expected = ATOMIC_MASSES_amu[list(molecule.numbers)]
    if count != len(expected):
        raise InputError(
            f"the system has {count} particles, {molecule.formula} has {len(expected)} atoms",
            "give the system of this molecule alone",
        )
    wrong = np.flatnonzero(np.abs(masses - expected) > _MASS_OFF_amu)
    if len(wrong):
        first = int(wrong[0])
        raise InputError(
            f"particle {first} of the system weighs {masses[first]:g} amu, atom {first} of "
            f"{molecule.formula} is {molecule.symbols[first]} ({expected[first]:.3f} amu)",
            "put its particles in the order of the molecule's atoms (`campaign export` writes it; "
            "system.xyz fixes it), without repartitioned masses",
        )
    return system


def _by_templates(molecule: Molecule, text: str) -> openmm.System:
    try:
        force_field = app.ForceField(io.StringIO(text))
        return force_field.createSystem(
            _topology(molecule), nonbondedMethod=app.NoCutoff, constraints=None, rigidWater=False,
            removeCMMotion=False,
        )  # fmt: skip
    except Exception as error:  # OpenMM raises ValueError, KeyError and bare Exception alike
        raise InputError(
            f"the force field file has no parameters for {molecule.formula}: {_line(error)}",
            "give one whose residue template has these elements and bonds",
        ) from error


def _topology(molecule: Molecule) -> app.Topology:
    topology = app.Topology()
    residue = topology.addResidue("MOL", topology.addChain())
    atoms = [
        topology.addAtom(f"{symbol}{place}", app.Element.getByAtomicNumber(number), residue)
        for place, (symbol, number) in enumerate(
            zip(molecule.symbols, molecule.numbers, strict=True)
        )
    ]
    for i, j in molecule.bonds:
        topology.addBond(atoms[i], atoms[j])
    return topology


@dataclass(frozen=True)
class _Graph:
    numbers: Sequence[int]
    bonds: Sequence[tuple[int, int]]


def from_prmtop(molecule: Molecule, text: str, name: str = "amber-prmtop") -> OpenMMTeacher:
    """Teacher from Amber's parameters and topology, their atoms in any order.

    Raises
    ------
    InputError
        If it is no prmtop, or not of this molecule.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "molecule.prmtop"
            path.write_text(text, encoding="utf-8")
            read = app.AmberPrmtopFile(str(path))
        system = read.createSystem(
            nonbondedMethod=app.NoCutoff, constraints=None, rigidWater=False, removeCMMotion=False
        )
    except Exception as error:  # OpenMM raises what its parser runs into
        raise InputError(
            f"the force field file is no prmtop that OpenMM can read: {_line(error)}",
            "check sampling.force_field_file",
        ) from error
    atoms = list(read.topology.atoms())
    found = _Graph(
        [atom.element.atomic_number if atom.element else 0 for atom in atoms],
        [(bond[0].index, bond[1].index) for bond in read.topology.bonds()],
    )
    return OpenMMTeacher(name, molecule, system, _matched(molecule, found), "the prmtop")


def _matched(molecule: Molecule, found: _Graph) -> tuple[int, ...]:
    """Which of the file's atoms each of the molecule's is; the same order where that fits."""
    own = sorted(molecule.bonds)
    same_order = tuple(range(len(molecule.numbers)))
    bonds = sorted((min(bond), max(bond)) for bond in found.bonds)
    if list(found.numbers) == list(molecule.numbers) and bonds == own:
        return same_order
    match: tuple[int, ...] = ()
    if sorted(found.numbers) == sorted(molecule.numbers) and len(bonds) == len(own):
        match = _graph(found.numbers, bonds).GetSubstructMatch(_graph(molecule.numbers, own))
    if len(match) != len(molecule.numbers):
        raise InputError(
            f"the prmtop is of another molecule: {len(found.numbers)} atoms and {len(bonds)} "
            f"bonds, {molecule.formula} has {len(molecule.numbers)} and {len(own)}",
            "give the prmtop of this molecule alone, without solvent",
        )
    return match


def _graph(numbers: Sequence[int], bonds: Sequence[tuple[int, int]]) -> Any:
    built = Chem.RWMol()
    for number in numbers:
        atom = Chem.Atom(int(number))
        atom.SetNoImplicit(True)
        built.AddAtom(atom)
    for i, j in bonds:
        built.AddBond(int(i), int(j), Chem.BondType.SINGLE)
    return built.GetMol()


def _line(error: Exception) -> str:
    """First line of what a library says."""
    return (str(error).strip() or repr(error)).splitlines()[0]
