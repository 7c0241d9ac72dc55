"""What a worker runs to make the structures of the probes, with the teacher's energies.

Three kinds: the relaxed geometry; distorted structures that pre-training held out, from the tiers
that distort on purpose and above an energy; and frames that no arm has seen, with every bond
stretched and compressed in turn, all else rigid. Held out means from the gradient steps: they come
from the same generator as those trained on. A distorted structure of a pre-trained model is thus no
surprise to it; that it is one to the other arms is the point.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from apps.contract import Request, Result
from apps.sampling.strategies.moves import companions, set_distance, side_of_bond
from data_store.columns import Column
from data_store.datasets import Dataset
from data_store.molecules import Molecule
from data_store.parts import Part, write_part
from data_store.splits import teacher_holdout
from data_store.structure_parts import read_structures, structures_to_columns
from data_store.structures import TIER_CODES, Structures

__all__ = ["ProbeStructureSettings", "probe_structures", "scanned"]

Array = NDArray[np.float64]

_DISTORTING = ("noise", "scan", "clash", "angle", "normal_mode")
"""Tiers that distort the molecule on purpose, and leave it one molecule."""

_TENTHS = tuple(round(0.1 * step, 1) for step in range(-4, 11))


class ProbeStructureSettings(BaseModel):
    """Settings of the stage `probe_structures`; a campaign file has no table of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    distorted_above_eV_per_atom: float = Field(default=0.4, gt=0.0)
    """Energy by the teacher above its minimum beyond which a structure counts as distorted, in eV
    per atom; three times the mean at 1000 K."""

    frames: int = Field(default=10, gt=0)
    """Frames whose bonds are scanned, at most: the first of the starting structures."""

    changes_A: tuple[float, ...] = Field(default=_TENTHS, min_length=1)
    """Changes of a bond's length from that in its frame, in Å."""

    held_out: int = Field(gt=0)
    """What pre-training held out."""


def scanned(molecule: Molecule, frames: Array, changes_A: tuple[float, ...]) -> Array:
    """Every bond of every frame at every change of its length.

    The fragment beyond the bond moves rigidly; in a ring, both atoms with their hydrogens.

    Parameters
    ----------
    molecule : Molecule
        Of N atoms and B bonds.
    frames : ndarray, shape (F, N, 3)
    changes_A : tuple of float, length C

    Returns
    -------
    ndarray, shape (F, B, C, N, 3)
    """
    shape = (len(frames), len(molecule.bonds), len(changes_A), *frames.shape[1:])
    made = np.empty(shape)
    nothing = np.zeros(len(molecule.numbers), dtype=bool)
    for place, (i, j) in enumerate(molecule.bonds):
        side = side_of_bond(molecule, i, j)
        moving = (nothing, side) if side is not None else (
            companions(molecule, i, j), companions(molecule, j, i)
        )  # fmt: skip
        for row, frame in enumerate(frames):
            length = float(np.linalg.norm(frame[j] - frame[i]))
            for column, change in enumerate(changes_A):
                made[row, place, column] = set_distance(frame, (i, j), length + change, moving)
    return made


def probe_structures(request: dict[str, Any]) -> dict[str, Any]:
    """Make the structures of the probes and their energies by the teacher.

    Writes a part: the relaxed geometry, the frames, the distorted structures, the scans, in this
    order; how many of each is in its metadata.

    Raises
    ------
    InputError
        If there is no such teacher.
    """
    req = Request.from_json(request)
    part = req.finished_part()
    if part is None:
        part = _made(req)
    return Result.done(part, {"distorted": float(part.metadata["distorted"])}).to_json()


def _made(req: Request) -> Part:
    from apps.sampling.teacher import make_teacher

    settings = ProbeStructureSettings.model_validate(req.settings)
    (prepared,), (starts,) = req.input_parts("molecule"), req.input_parts("starts")
    molecule = Molecule.from_json(prepared.metadata["molecule"])
    frames = read_structures(starts, 0, settings.frames).dense_positions().astype(np.float64)
    distorted = _distorted(
        Dataset(req.input_parts("teacher")), settings, req.seed, len(molecule.numbers)
    )
    scans = scanned(molecule, frames, settings.changes_A).reshape(-1, *frames.shape[1:])
    positions = np.concatenate([molecule.reference_positions[None], frames, distorted, scans])
    known = prepared.metadata
    teacher = make_teacher(known["teacher"], molecule, known.get("parameters"))
    energies, _ = teacher.energies_and_forces(positions)
    structures = Structures.from_dense(
        molecule.numbers, positions, charge=molecule.charge, multiplicity=molecule.multiplicity
    )
    layout = {
        "frames": len(frames),
        "distorted": len(distorted),
        "bonds": len(molecule.bonds),
        "changes_A": list(settings.changes_A),
        "distorted_above_eV_per_atom": settings.distorted_above_eV_per_atom,
        "teacher": prepared.metadata["teacher"],
    }
    # Not among the structures' own energies, which must be finite: a force field may give none.
    columns = structures_to_columns(structures) | {"teacher_energies": Column(energies, "eV")}
    return write_part(Path(req.parts_root), req.stage, req.fingerprint, columns, layout)


def _distorted(teacher: Dataset, settings: ProbeStructureSettings, seed: int, atoms: int) -> Array:
    """Positions (D, N, 3) of what pre-training held out, is distorted and high in energy."""
    _, held_out = teacher_holdout(len(teacher), settings.held_out, seed)
    structures = teacher.take(held_out)
    codes = [TIER_CODES[name] for name in _DISTORTING]
    per_atom = structures.labelled_energies() / structures.atom_counts
    chosen = np.isin(structures.tiers, codes) & (per_atom > settings.distorted_above_eV_per_atom)
    if not chosen.any():
        return np.zeros((0, atoms, 3))
    positions: Array = structures.take(np.flatnonzero(chosen)).dense_positions().astype(np.float64)
    return positions
