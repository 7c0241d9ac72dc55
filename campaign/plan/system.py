"""The molecules of a system as identities have them: what each is, its teacher, its chunks.

Nothing here makes a molecule: that needs libraries which planning does not load. So water is known
by how it is written. Each molecule of a mixture is an item of its own, and the same one as in a
campaign of that molecule alone; its chunks are the same whatever else is in the mixture.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apps.sampling.settings import MoleculeSettings, SamplingSettings, SpeciesSettings
from data_store.fingerprints import file_digest, fingerprint

__all__ = [
    "WITHOUT_LABELS",
    "boxes_settings",
    "brought_by",
    "chunks_by_molecule",
    "identity_of",
    "identity_of_choice",
    "in_words",
    "is_water",
    "molecule_id",
    "pair_chunks",
    "teacher_of",
]

_WATER = re.compile(r"(\[[23]?H\])?(O|\[OH?\]|\[OH2\])(\(\[[23]?H\]\))?(\[[23]?H\])?")


def teacher_of(molecule: SpeciesSettings, sampling: SamplingSettings) -> tuple[str, Path | None]:
    """Name of a molecule's teacher, and its file where it is one of the user's."""
    chosen = sampling if molecule.force_field is None else molecule
    file = chosen.force_field_file
    return str(chosen.force_field), None if file is None else Path(file)


def identity_of(molecule: SpeciesSettings, sampling: SamplingSettings) -> dict[str, Any]:
    """Settings of the stage that makes a molecule; files are apart, by their content."""
    kept = molecule.model_dump(
        mode="json", include={"name", "smiles", "charge", "multiplicity"}
    )  # fmt: skip
    chosen, _ = teacher_of(molecule, sampling)
    return {"system": {"kind": "molecule", **kept}, **identity_of_choice(molecule, chosen)}


def brought_by(
    molecule: SpeciesSettings, force_field: Path | None = None
) -> dict[str, tuple[Path, str]]:
    """Files that a molecule and its teacher are made from, with their digests, by role."""
    given = {"xyz": molecule.xyz, "mol": molecule.mol, "force_field": force_field}
    return {
        role: (Path(path), file_digest(Path(path))) for role, path in given.items() if path
    }  # fmt: skip


def molecule_id(molecule: SpeciesSettings) -> str:
    """What tells a molecule of a mixture from the others: how it is written, and nothing else.

    16 hexadecimal digits.
    """
    written = {
        "smiles": molecule.smiles,
        "charge": molecule.charge,
        "multiplicity": molecule.multiplicity,
        "files": {role: digest for role, (_, digest) in brought_by(molecule).items()},
    }
    return fingerprint(written)[:16]


def chunks_by_molecule(system: MoleculeSettings, sampling: SamplingSettings) -> list[int]:
    """Chunks of each distinct molecule: its share of the structures, rounded up to whole ones."""
    molecules = system.molecules()
    total = sum(molecule.share for molecule in molecules)
    wanted = (sampling.structures * molecule.share / total for molecule in molecules)
    # Shares that divide evenly must not gain a chunk by rounding.
    return [int(-((round(count, 6)) // -sampling.chunk_structures)) for count in wanted]


WITHOUT_LABELS = (
    'labels of a liquid or a mixture are imported (labels.source = "file"): without them it is '
    "taken as far as pre-training and its starting boxes"
)
"""Said of a campaign that ends there."""


def pair_chunks(
    system: MoleculeSettings, sampling: SamplingSettings
) -> list[tuple[SpeciesSettings, SpeciesSettings, int]]:
    """Each two unlike molecules of a mixture, and how many chunks of pairs of them there are.

    None unless the tier `pair` has a weight. Beside the structures of single molecules and of like
    pairs, which are ``sampling.structures``: as many as a blind draw of two molecules by their
    shares gives for each like pair that the tier makes, rounded up to whole chunks.
    """
    tiers, molecules = sampling.tiers, system.molecules()
    weights = [getattr(tiers, name).weight for name in type(tiers).model_fields]
    if not tiers.pair.weight or len(molecules) == 1:
        return []
    total = sum(molecule.share for molecule in molecules)
    pairs = sampling.structures * tiers.pair.weight / sum(weights)
    found = []
    for place, first in enumerate(molecules):
        for second in molecules[:place]:
            one, other = sorted((first, second), key=molecule_id)
            count = 2.0 * pairs * one.share * other.share / total**2
            found.append((one, other, math.ceil(count / sampling.chunk_structures)))
    return found


def in_words(system: MoleculeSettings, sampling: SamplingSettings) -> str:
    """What the teachers make for a liquid or a mixture: structures of each molecule."""
    counts = chunks_by_molecule(system, sampling)
    shares = ", ".join(
        f"{count * sampling.chunk_structures} of {molecule.written}"
        for molecule, count in zip(system.molecules(), counts, strict=True)
    )
    pairs = "".join(
        f", {count * sampling.chunk_structures} of {one.written} with {other.written}"
        for one, other, count in pair_chunks(system, sampling)
    )
    return f"teacher structures: {shares}{pairs}"


def boxes_settings(system: MoleculeSettings, count: int) -> dict[str, Any]:
    """Settings of the stage that builds starting boxes."""
    edges = system.box_A
    return {
        "count": count,
        "molecules": [molecule.count for molecule in system.molecules()],
        "density_g_per_cm3": system.density_g_per_cm3,
        "edges_A": [edges] * 3 if isinstance(edges, float) else edges and list(edges),
    }


def identity_of_choice(
    system: MoleculeSettings | SpeciesSettings, force_field: str
) -> Mapping[str, Any]:
    """The force field as identities have it.

    "auto" took MMFF94 for water before there was a model made for it: it is another rule for water
    since, and the same one for all else, whose identities stay what they were.
    """
    same = force_field != "auto" or not is_water(system)
    return {"force_field": force_field} if same else {"force_field": force_field, "automatic": 2}


def is_water(system: MoleculeSettings | SpeciesSettings) -> bool:
    """Whether a molecule is water, by its SMILES or the elements of its geometry."""
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
