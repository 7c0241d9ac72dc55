"""Molecules from SMILES or geometries, by RDKit: the only place that perceives bonds.

A geometry that comes out is the force field's relaxed one. Conformers are not searched: dynamics
visits what it can reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdDetermineBonds, rdDistGeom
from rdkit.Chem import rdForceFieldHelpers as fields

from data_store.elements import SYMBOLS
from data_store.errors import InputError
from data_store.molecules import Molecule
from data_store.streams import stream_seed

__all__ = [
    "molecule_from_mol",
    "molecule_from_smiles",
    "molecule_from_xyz",
    "reorder_like",
    "to_rdkit",
]

_RELAX_STEPS = 20_000


def molecule_from_smiles(
    smiles: str,
    *,
    name: str = "molecule",
    seed: int = 0,
    charge: int | None = None,
    multiplicity: int | None = None,
) -> Molecule:
    """Molecule from SMILES: hydrogens added, embedded (ETKDG), relaxed where a force field can.

    Raises
    ------
    InputError
        If the SMILES is unreadable, holds several molecules, contradicts `charge`, or cannot be
        embedded.
    """
    with rdBase.BlockLogs():
        parsed = Chem.MolFromSmiles(smiles)
        if parsed is None or parsed.GetNumAtoms() == 0:
            raise InputError(
                f"system.smiles = {smiles!r}: RDKit cannot read this as a molecule",
                "check brackets, ring closures and valences; methanol is CO",
            )
        if len(Chem.GetMolFrags(parsed)) > 1:
            raise InputError(
                f"system.smiles = {smiles!r} holds {len(Chem.GetMolFrags(parsed))} molecules",
                "a campaign of kind 'molecule' has one",
            )
        found = Chem.GetFormalCharge(parsed)
        if charge is not None and charge != found:
            raise InputError(
                f"system.charge = {charge}, but {smiles!r} has charge {found}",
                "write the charge into the SMILES, as in CC(=O)[O-]",
            )
        molecule = Chem.AddHs(parsed)
        _embed(molecule, f"system.smiles = {smiles!r}", seed)
        _relax(molecule)
    return _from_rdkit(molecule, name, multiplicity)


def molecule_from_mol(
    path: Path,
    *,
    name: str = "molecule",
    seed: int = 0,
    charge: int | None = None,
    multiplicity: int | None = None,
) -> Molecule:
    """Molecule from a file in MDL's format: mol, or sdf with one molecule.

    Bonds and charges are the file's, and its geometry where it has one in three dimensions; else
    one is built as for SMILES. Hydrogens that lack are added.

    Raises
    ------
    InputError
        If the file is unreadable, holds several molecules, or contradicts `charge`.
    """
    try:
        records = path.read_text(encoding="utf-8").split("$$$$")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the molecule {path}: {error}", "check system.mol") from error
    if sum(bool(record.strip()) for record in records) > 1:
        raise InputError(f"{path} holds several molecules", "give a file with one")
    with rdBase.BlockLogs():
        parsed = Chem.MolFromMolBlock(records[0], removeHs=False)
        if parsed is None or parsed.GetNumAtoms() == 0:
            raise InputError(
                f"{path}: RDKit cannot read this as a molecule in MDL's format",
                "check the file, or give system.smiles",
            )
        if len(Chem.GetMolFrags(parsed)) > 1:
            raise InputError(f"{path} holds several molecules", "a campaign of this kind has one")
        found = Chem.GetFormalCharge(parsed)
        if charge is not None and charge != found:
            raise InputError(
                f"system.charge = {charge}, but {path} has charge {found}",
                "leave system.charge out, or mend the charges in the file",
            )
        has_geometry = parsed.GetNumConformers() > 0 and parsed.GetConformer().Is3D()
        molecule = Chem.AddHs(parsed, addCoords=has_geometry)
        if not has_geometry:
            _embed(molecule, str(path), seed)
            _relax(molecule)
    return _from_rdkit(molecule, name, multiplicity)


def _embed(molecule: Any, source: str, seed: int) -> None:
    parameters: Any = rdDistGeom.ETKDGv3()
    parameters.randomSeed = stream_seed(seed, "embed") % (2**31 - 1)
    if rdDistGeom.EmbedMolecule(molecule, parameters) == 0:
        return
    parameters.useRandomCoords = True
    if rdDistGeom.EmbedMolecule(molecule, parameters) != 0:
        raise InputError(
            f"{source}: no geometry could be built",
            "give one with system.xyz",
        )


def _relax(molecule: Any) -> None:
    if fields.MMFFHasAllMoleculeParams(molecule):
        fields.MMFFOptimizeMolecule(molecule, maxIters=_RELAX_STEPS)
    elif fields.UFFHasAllMoleculeParams(molecule):
        fields.UFFOptimizeMolecule(molecule, maxIters=_RELAX_STEPS)


def molecule_from_xyz(
    path: Path, *, name: str = "molecule", charge: int = 0, multiplicity: int | None = None
) -> Molecule:
    """Molecule from an xyz file; bonds and their orders are perceived.

    Raises
    ------
    InputError
        If the file is unreadable or no bonds fit the geometry and charge.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the geometry {path}: {error}", "check system.xyz") from error
    with rdBase.BlockLogs():
        try:
            molecule = Chem.MolFromXYZBlock(text)
            if molecule is None:
                raise ValueError("not an xyz file")
            molecule = _with_bonds(molecule, charge, multiplicity)
        except (ValueError, RuntimeError) as error:
            raise InputError(
                f"{path}: no bonds fit this geometry with charge {charge}: {error}",
                "check system.charge and the geometry, or give system.smiles or system.mol",
            ) from error
    if len(Chem.GetMolFrags(molecule)) > 1:
        raise InputError(f"{path} holds several molecules", "a campaign of this kind has one")
    return _from_rdkit(molecule, name, multiplicity)


def _with_bonds(molecule: Any, charge: int, multiplicity: int | None) -> Any:
    """Perceived bonds; where none make all electrons pairs, those that leave as few as may be."""
    electrons = sum(atom.GetAtomicNum() for atom in molecule.GetAtoms()) - charge
    unpaired = electrons % 2 if multiplicity is None else multiplicity - 1
    try:
        paired = Chem.Mol(molecule)
        rdDetermineBonds.DetermineBonds(paired, charge=charge)
    except (ValueError, RuntimeError):
        if not unpaired:
            raise
    else:
        return paired
    rdDetermineBonds.DetermineBonds(molecule, charge=charge, allowChargedFragments=False)
    found = sum(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms())
    if found != unpaired:
        raise ValueError(f"bonds with {found} unpaired electrons were found, expected {unpaired}")
    return molecule


def _from_rdkit(molecule: Any, name: str, multiplicity: int | None) -> Molecule:
    kekule = Chem.Mol(molecule)
    Chem.Kekulize(kekule, clearAromaticFlags=True)
    bonds = sorted(
        (min(b.GetBeginAtomIdx(), b.GetEndAtomIdx()), max(b.GetBeginAtomIdx(), b.GetEndAtomIdx()),
         int(b.GetBondTypeAsDouble()))
        for b in kekule.GetBonds()
    )  # fmt: skip
    numbers = tuple(a.GetAtomicNum() for a in kekule.GetAtoms())
    charges = tuple(a.GetFormalCharge() for a in kekule.GetAtoms())
    electrons = sum(numbers) - sum(charges)
    odd = electrons % 2
    if multiplicity is not None and (multiplicity - 1) % 2 != odd:
        raise InputError(
            f"system.multiplicity = {multiplicity}: {electrons} electrons have an "
            f"{'even' if odd else 'odd'} one",
            f"leave it out (then it is {odd + 1}), or check system.charge",
        )
    return Molecule(
        name=name,
        numbers=numbers,
        bonds=tuple((i, j) for i, j, _ in bonds),
        bond_orders=tuple(order for _, _, order in bonds),
        formal_charges=charges,
        multiplicity=multiplicity or (2 if odd else 1),
        reference_positions=np.array(kekule.GetConformer().GetPositions(), dtype=np.float64),
    )


def to_rdkit(molecule: Molecule) -> Any:
    """RDKit molecule with the same atoms in the same order, and the reference geometry."""
    built = _skeleton(molecule.numbers, molecule.bonds, molecule.bond_orders)
    for atom, charge in zip(built.GetAtoms(), molecule.formal_charges, strict=True):
        atom.SetFormalCharge(charge)
    Chem.SanitizeMol(built)
    conformer = Chem.Conformer(len(molecule.numbers))
    conformer.SetPositions(np.ascontiguousarray(molecule.reference_positions))
    built.AddConformer(conformer, assignId=True)
    return built


def _skeleton(
    numbers: Sequence[int], bonds: Sequence[tuple[int, int]], orders: Sequence[int]
) -> Any:
    kinds = {1: Chem.BondType.SINGLE, 2: Chem.BondType.DOUBLE, 3: Chem.BondType.TRIPLE}
    built = Chem.RWMol()
    for number in numbers:
        atom = Chem.Atom(int(number))
        atom.SetNoImplicit(True)
        built.AddAtom(atom)
    for (i, j), order in zip(bonds, orders, strict=True):
        built.AddBond(int(i), int(j), kinds[order])
    return built.GetMol()


def reorder_like(
    molecule: Molecule, numbers: NDArray[Any], positions: NDArray[np.float64]
) -> Molecule:
    """Same molecule with its atoms in the order of a geometry that others labelled.

    Parameters
    ----------
    molecule : Molecule
    numbers : ndarray, shape (N,)
    positions : ndarray, shape (N, 3)
        In Å; its connectivity is perceived and matched as a graph.

    Raises
    ------
    InputError
        If that geometry is another molecule.
    """
    if sorted(molecule.numbers) != sorted(int(z) for z in numbers):
        raise InputError(
            f"the labels are of {_formula(numbers)}, the campaign's molecule is {molecule.formula}",
            "check system.smiles and labels.file",
        )
    frame = _skeleton([int(z) for z in numbers], [], [])
    conformer = Chem.Conformer(len(numbers))
    conformer.SetPositions(np.ascontiguousarray(positions, dtype=np.float64))
    frame.AddConformer(conformer, assignId=True)
    with rdBase.BlockLogs():
        rdDetermineBonds.DetermineConnectivity(frame)
        bonds = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in frame.GetBonds()]
        target = _skeleton([int(z) for z in numbers], bonds, [1] * len(bonds))
        query = _skeleton(molecule.numbers, molecule.bonds, [1] * len(molecule.bonds))
        match = target.GetSubstructMatch(query)
    if len(bonds) != len(molecule.bonds) or len(match) != len(molecule.numbers):
        raise InputError(
            "the first frame of the labels has other bonds than the campaign's molecule "
            f"({molecule.formula})",
            "check system.smiles, or give system.xyz with the labels' own atom order",
        )
    return _permuted(molecule, match)


def _permuted(molecule: Molecule, place_of: Sequence[int]) -> Molecule:
    """Molecule whose atom i is now at ``place_of[i]``."""
    atom_at = np.argsort(np.asarray(place_of))
    moved = sorted(
        ((min(place_of[i], place_of[j]), max(place_of[i], place_of[j])), order)
        for (i, j), order in zip(molecule.bonds, molecule.bond_orders, strict=True)
    )
    return Molecule(
        name=molecule.name,
        numbers=tuple(molecule.numbers[i] for i in atom_at),
        bonds=tuple(bond for bond, _ in moved),
        bond_orders=tuple(order for _, order in moved),
        formal_charges=tuple(molecule.formal_charges[i] for i in atom_at),
        multiplicity=molecule.multiplicity,
        reference_positions=molecule.reference_positions[atom_at],
    )


def _formula(numbers: NDArray[Any]) -> str:
    symbols, counts = np.unique([SYMBOLS[int(z)] for z in numbers], return_counts=True)
    return "".join(f"{s}{c if c > 1 else ''}" for s, c in zip(symbols, counts, strict=True))
