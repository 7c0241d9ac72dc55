"""Published labels: what a file must be for a campaign of a liquid or a mixture to learn from it.

Structures may differ in composition, number of atoms and box, and may be isolated; what they are
made of must be what the campaign's teachers know. It says nothing of the method (see `surface`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_store.errors import InputError
from data_store.molecules import Molecule
from data_store.structures import Structures
from data_store.units import SYMBOLS

__all__ = ["check_labels_of", "check_made_of", "read_labels"]


def read_labels(
    path: Path, *, in_time_order: bool = False, alike_within_A: float | None = None
) -> Structures:
    """Labels of a file.

    Parameters
    ----------
    path : Path
    in_time_order : bool
        Whether frames, which do not say so, are one trajectory in its order.
    alike_within_A : float, optional
        Frames that are alike (`apps.labeling.likeness`), which do not say so, are of one
        trajectory.

    Raises
    ------
    InputError
        If the file is unusable, or its frames do say which trajectory they belong to.
    """
    from data_store.extxyz import read_extxyz

    structures = read_extxyz(path)
    if not in_time_order and alike_within_A is None:
        return structures
    order = np.arange(len(structures), dtype=np.int64)
    if structures.frames.any() or not np.array_equal(structures.parents, order):
        raise InputError(
            f"{path}: frames say which trajectory they belong to, and labels.in_time_order or "
            "labels.alike_within_A says it too",
            "leave labels.in_time_order and labels.alike_within_A out",
        )
    if alike_within_A is None:
        return replace(structures, parents=np.zeros_like(order), frames=order)
    from apps.labeling.likeness import groups_of_alike

    return replace(structures, parents=groups_of_alike(structures, alike_within_A))


def check_labels_of(
    kind: str, path: Path, molecules: Sequence[Molecule], **relation: Any
) -> Structures:
    """Labels of a file, of a liquid or a mixture of these molecules.

    Parameters
    ----------
    kind : {"liquid", "mixture"}
        Structures of a liquid hold whole numbers of its one molecule; those of a mixture, whose
        molecules may react, any atoms of its elements.
    path : Path
    molecules : sequence of Molecule
    **relation
        How frames are related: see `read_labels`.

    Raises
    ------
    InputError
        If the file is unusable, a frame holds another element or a part of a molecule, or frames
        of one composition differ in charge or multiplicity.
    """
    structures = read_labels(path, **relation)
    check_made_of(kind, path, structures, molecules)
    return structures


def check_made_of(
    kind: str, path: Path, structures: Structures, molecules: Sequence[Molecule]
) -> None:
    """Refuse structures that are not made of these molecules; as `check_labels_of`.

    Raises
    ------
    InputError
        Naming the frame.
    """
    _check_elements(path, structures, molecules)
    if kind == "liquid":
        _check_whole_molecules(path, structures, molecules[0])
    for rows in _alike(structures):
        _check_one_spin(path, structures, rows)


def _check_elements(path: Path, structures: Structures, molecules: Sequence[Molecule]) -> None:
    known = sorted({number for molecule in molecules for number in molecule.numbers})
    strange = np.flatnonzero(~np.isin(structures.numbers, known))
    if len(strange):
        frame = int(np.searchsorted(structures.offsets, strange[0], side="right")) - 1
        raise InputError(
            f"{path}: frame {frame} holds {SYMBOLS[int(structures.numbers[strange[0]])]}; the "
            f"campaign's molecules are made of {', '.join(SYMBOLS[z] for z in known)}",
            "add a species that holds it to system.species, so that the teacher knows it",
        )


def _check_whole_molecules(path: Path, structures: Structures, molecule: Molecule) -> None:
    elements, each = np.unique(molecule.numbers, return_counts=True)
    for index in range(len(structures)):
        numbers = structures.numbers_of(index)
        counts = np.array([(numbers == z).sum() for z in elements])
        if not np.array_equal(counts, counts[0] // each[0] * each):
            raise InputError(
                f"{path}: frame {index}, of {len(numbers)} atoms, is no whole number of "
                f"{molecule.formula}",
                'structures of a liquid hold whole molecules; kind = "mixture" holds others too',
            )


def _check_one_spin(path: Path, structures: Structures, rows: NDArray[np.int64]) -> None:
    both = np.stack([structures.charges[rows], structures.multiplicities[rows]], axis=1)
    other = np.flatnonzero((both != both[0]).any(axis=1))
    if len(other):
        (charge, multiplicity), (charge_0, multiplicity_0) = both[other[0]], both[0]
        raise InputError(
            f"{path}: frame {rows[other[0]]} has charge {charge} and multiplicity {multiplicity}, "
            f"frame {rows[0]}, of the same composition, charge {charge_0} and multiplicity "
            f"{multiplicity_0}: two surfaces",
            "take labels of one charge and multiplicity for each composition; a frame that says "
            "neither counts as charge=0 multiplicity=1",
        )


def _alike(structures: Structures) -> list[NDArray[np.int64]]:
    """Rows of structures of one composition each."""
    counts = np.zeros((len(structures), 119), dtype=np.int64)
    row = np.repeat(np.arange(len(structures)), structures.atom_counts)
    np.add.at(counts, (row, structures.numbers), 1)
    _, kinds = np.unique(counts, axis=0, return_inverse=True)
    kinds = kinds.reshape(-1)
    return [np.flatnonzero(kinds == kind) for kind in range(int(kinds.max()) + 1)]
