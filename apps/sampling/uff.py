"""UFF as a teacher, by RDKit: a poor force field that knows nearly every atom.

UFF: Rappé et al. 1992, doi:10.1021/ja00051a040. RDKit does not tell the order of its angle terms,
so that there is no OpenMM system of it.
"""

from __future__ import annotations

from typing import Any

from rdkit import rdBase
from rdkit.Chem import rdForceFieldHelpers as fields

from apps.sampling.molecule import to_rdkit
from apps.sampling.rdkit_field import RDKitTeacher
from data_store.molecules import Molecule

__all__ = ["UFF", "untyped_atoms"]


def untyped_atoms(molecule: Molecule) -> list[int]:
    """Atoms that UFF has no type for; empty where it knows the molecule."""
    rd = to_rdkit(molecule)
    with rdBase.BlockLogs():
        if fields.UFFHasAllMoleculeParams(rd):
            return []
        atoms = range(len(molecule.numbers))
        return [i for i in atoms if fields.GetUFFVdWParams(rd, i, i) is None] or list(atoms)


class UFF(RDKitTeacher):
    """UFF bound to a molecule.

    Parameters
    ----------
    molecule : Molecule
        One that it can type (`untyped_atoms`).
    """

    name = "uff"

    def _build(self, rd: Any) -> Any:
        return fields.UFFGetMoleculeForceField(rd, vdwThresh=1e6, ignoreInterfragInteractions=False)
