"""Kinds of failure, and the course of what decided: pure functions of runs, frames and limits.

A kind is a cause, the elements of the atoms that decided and, for a bond, which bond it is: that
one C–O bond accounts for most failures is a finding that a count of causes hides. Atoms are
numbered from 0, as in the molecule and in the files of last frames. Chemically equal bonds are
told apart: the bond graph alone does not say which are equal in a given geometry.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from campaign.report.inputs import FailurePicture, Limits, Model
from data_store.molecules import Molecule
from data_store.runs import Run

__all__ = [
    "FOLDER",
    "Course",
    "FailureKind",
    "KindCount",
    "course_of",
    "failure_kinds",
    "file_name",
    "frame_times_ps",
    "kind_of",
    "kinds_of",
    "shown_by_kind",
]

FOLDER = "failures"
"""Folder of the files of last frames, in the workspace."""


@dataclass(frozen=True, order=True)
class FailureKind:
    """One kind of failure.

    Parameters
    ----------
    cause : str
        Name of the criterion.
    elements : tuple of str
        Symbols of the atoms that decided: in the order of `bond`, else sorted.
    bond : tuple of int
        The atoms of the bond that decided, empty where it was none.
    """

    cause: str
    elements: tuple[str, ...] = ()
    bond: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """What the page calls it: ``bond stretch C1–O3``."""
        return " ".join([self.cause.replace("_", " "), "–".join(self._atoms)]).strip()

    @property
    def slug(self) -> str:
        """What files are called by: ``bond_stretch-C1-O3``."""
        return "-".join([self.cause, *self._atoms])

    @property
    def _atoms(self) -> list[str]:
        numbers = [str(atom) for atom in self.bond] or [""] * len(self.elements)
        return [symbol + number for symbol, number in zip(self.elements, numbers, strict=True)]


@dataclass(frozen=True)
class KindCount:
    """How often one kind of failure was met.

    Parameters
    ----------
    kind : FailureKind
    by_arm : dict of str to int
    first_ps : float
        Time of the earliest.
    """

    kind: FailureKind
    by_arm: dict[str, int] = field(hash=False)
    first_ps: float

    @property
    def total(self) -> int:
        """Failures of this kind in all arms."""
        return sum(self.by_arm.values())


def kind_of(run: Run, molecule: Molecule) -> FailureKind:
    """Kind of a failed run."""
    atoms = tuple(sorted(run.atoms))
    symbols = tuple(molecule.symbols[atom] for atom in atoms)
    if atoms in molecule.bonds:
        return FailureKind(run.cause, symbols, atoms)
    return FailureKind(run.cause, tuple(sorted(symbols)))


def kinds_of(
    runs: Mapping[tuple[Model, float], Sequence[Run]], molecule: Molecule
) -> list[KindCount]:
    """All failed replicas by kind, the most frequent kind first."""
    counts: dict[FailureKind, Counter[str]] = {}
    first: dict[FailureKind, float] = {}
    for (model, _), found in runs.items():
        for run in found:
            if run.failed:
                kind = kind_of(run, molecule)
                counts.setdefault(kind, Counter())[model.arm] += 1
                first[kind] = min(run.time_ps, first.get(kind, math.inf))
    made = [KindCount(k, dict(sorted(n.items())), first[k]) for k, n in counts.items()]
    return sorted(made, key=lambda count: (-count.total, count.kind))


@dataclass(frozen=True, eq=False)
class Course:
    """The quantity that decided, over the last frames.

    Parameters
    ----------
    quantity : str
        With its unit.
    times_fs : ndarray, shape (F,)
        Before the failure, which is at 0.
    values : ndarray, shape (F,)
    limits : tuple of float
        What the criterion allows: one bound, or a lower and an upper one; none where unknown.
    """

    quantity: str
    times_fs: NDArray[np.float64]
    values: NDArray[np.float64]
    limits: tuple[float, ...]


def course_of(picture: FailurePicture, limits: Limits) -> Course | None:
    """Course of the distance of two atoms that decided; None where they are not two.

    Kinetic energies and forces are not among what is kept of the last frames. What the criterion
    allows is known for `bond_stretch` and `close_contact`.
    """
    pair, cause = tuple(sorted(picture.run.atoms)), picture.run.cause
    if len(pair) != 2 or not len(picture.frames):
        return None
    i, j = pair
    frames = picture.frames.astype(np.float64)
    values = np.linalg.norm(frames[:, j] - frames[:, i], axis=-1)
    times = frame_times_ps(picture.run.time_ps, len(frames), picture.frame_stride_fs)
    quantity = "bond length (Å)" if pair in limits.bonds_A else "distance (Å)"
    allowed = {"bond_stretch": limits.bonds_A, "close_contact": limits.contacts_A}.get(cause, {})
    since = 1000.0 * (times - picture.run.time_ps)
    return Course(quantity, since, values, allowed.get(pair, ()))


def frame_times_ps(failure_ps: float, count: int, stride_fs: float) -> NDArray[np.float64]:
    """Times of the frames kept before a failure, (count,).

    Frames are kept at multiples of the stride; the failing one is the last, at a multiple or not.
    """
    multiples = math.floor(1000.0 * failure_ps / stride_fs + 1e-6)
    at_multiple = abs(1000.0 * failure_ps - multiples * stride_fs) < 1e-6 * stride_fs
    kept = count if at_multiple else count - 1
    times = 1e-3 * stride_fs * np.arange(multiples - kept + 1, multiples + 1, dtype=np.float64)
    return times if at_multiple else np.append(times, failure_ps)


def file_name(picture: FailurePicture, molecule: Molecule) -> str:
    """File of a failure's last frames: kind, model, temperature and replica."""
    model, kind = picture.model, kind_of(picture.run, molecule)
    which = f"{model.arm}-{model.labels}-seed{model.seed}-{picture.temperature_K:g}K"
    return f"{kind.slug}-{which}-{picture.run.replica}.extxyz"


def shown_by_kind(
    pictures: Sequence[FailurePicture], molecule: Molecule
) -> dict[FailureKind, list[FailurePicture]]:
    """Pictures of each kind that has some."""
    found: dict[FailureKind, list[FailurePicture]] = {}
    for picture in pictures:
        found.setdefault(kind_of(picture.run, molecule), []).append(picture)
    return found


def failure_kinds(
    runs: Mapping[tuple[Model, float], Sequence[Run]],
    molecule: Molecule,
    pictures: Sequence[FailurePicture],
) -> Iterator[dict[str, object]]:
    """Rows of ``failure_kinds`` in `report.json`."""
    shown = shown_by_kind(pictures, molecule)
    for count in kinds_of(runs, molecule):
        yield {
            "kind": count.kind.name,
            "cause": count.kind.cause,
            "elements": list(count.kind.elements),
            "bond": list(count.kind.bond) or None,
            "failures": count.by_arm,
            "first_ps": count.first_ps,
            "files": [
                f"{FOLDER}/{file_name(picture, molecule)}" for picture in shown.get(count.kind, [])
            ],
        }
