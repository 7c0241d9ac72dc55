"""What the identity of a system says beside its settings: which rule "auto" followed.

Nothing here makes a molecule: that needs libraries which planning does not load. So water is known
by how it is written.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from apps.sampling.settings import MoleculeSettings

__all__ = ["identity_of_choice", "is_water"]

_WATER = re.compile(r"(\[[23]?H\])?(O|\[OH?\]|\[OH2\])(\(\[[23]?H\]\))?(\[[23]?H\])?")


def identity_of_choice(system: MoleculeSettings, force_field: str) -> dict[str, Any]:
    """The force field as identities have it.

    "auto" took MMFF94 for water before there was a model made for it: it is another rule for water
    since, and the same one for all else, whose identities stay what they were.
    """
    same = force_field != "auto" or not is_water(system)
    return {"force_field": force_field} if same else {"force_field": force_field, "automatic": 2}


def is_water(system: MoleculeSettings) -> bool:
    """Whether a system is one water molecule, by its SMILES or the elements of its geometry."""
    if system.charge or system.multiplicity not in {None, 1}:
        return False
    if system.smiles is not None:
        return _is_water_smiles(system.smiles.strip())
    return system.xyz is not None and _elements(Path(system.xyz)) == ["H", "H", "O"]


def _is_water_smiles(smiles: str) -> bool:
    found = _WATER.fullmatch(smiles)
    if found is None:
        return False
    oxygen = found[2]
    explicit = sum(part is not None for part in (found[1], found[3], found[4]))
    implicit = {"O": 2 - explicit, "[O]": 0, "[OH]": 1, "[OH2]": 2}[oxygen]
    return explicit + implicit == 2


def _elements(xyz: Path) -> list[str]:
    """Elements of an xyz file, sorted; none where it cannot be read."""
    try:
        lines = xyz.read_text(encoding="utf-8").splitlines()[2:]
    except (OSError, UnicodeDecodeError):
        return []
    return sorted(line.split()[0].capitalize() for line in lines if line.split())
