"""How fast each teacher is on one core, and how far its forces are from labels.

Structures and steps of dynamics a second, on each of the molecules that a teacher types, by process
time, so that other work on the machine counts little; one process, one thread where the libraries
heed `OMP_NUM_THREADS=1`. Or, with labels, the forces of those of their frames that have the bonds
of a molecule: what is broken or another species no teacher of it can know.

    OMP_NUM_THREADS=1 python -m benchmarks.teachers
    python -m benchmarks.teachers --against LABELS.extxyz --smiles O "[H][H]" "O[O]"
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.sampling.field import Teacher
from apps.sampling.frames import COPIES
from apps.sampling.molecule import molecule_from_smiles, reorder_like
from apps.sampling.settings import LangevinSettings
from apps.sampling.teacher import find_force_field, force_field_names, make_teacher
from apps.sampling.thermal import thermal_frames
from data_store.errors import InputError
from data_store.extxyz import read_extxyz
from data_store.molecules import Molecule
from data_store.streams import stream
from data_store.units import COVALENT_RADII_A

__all__ = ["force_errors", "steps_per_s", "structures_per_s"]

Array = NDArray[Any]

MOLECULES = {"water": "O", "dioxygen": "O=O", "methanol": "CO", "aspirin": "CC(=O)Oc1ccccc1C(=O)O"}
_LEAST_s = 0.5


def _per_s(work: Callable[[int], None], first: int) -> float:
    """Units of work a second: as many as take half a second of process time, after a first try."""
    work(first)
    count = first
    while True:
        began = time.process_time()
        work(count)
        taken = time.process_time() - began
        if taken >= _LEAST_s:
            return count / taken
        count *= 4


def structures_per_s(teacher: Teacher, batch: int = 512) -> float:
    """Energies and forces of distorted structures."""
    rest = teacher.relaxed_positions
    x = rest + 0.1 * stream(0, "noise").normal(size=(batch, *rest.shape))

    def evaluate(batches: int) -> None:
        for _ in range(batches):
            teacher.energies_and_forces(x)

    return batch * _per_s(evaluate, 1)


def steps_per_s(teacher: Teacher) -> float:
    """Molecule-steps of Langevin dynamics at 600 K, in as many copies as sampling has."""

    def run(frames: int) -> None:
        settings = LangevinSettings(equilibration_fs=0.0, stride_fs=5.0)
        thermal_frames(teacher, 600.0, COPIES, frames, settings, 0)

    return 10 * COPIES * _per_s(run, 8)


def _labelled(path: Path, molecule: Molecule) -> Iterator[tuple[Molecule, Array, Array]]:
    """Frames with the molecule's bonds: it, in the frame's order of atoms, positions, forces."""
    labels = read_extxyz(path)
    forces = labels.labelled_forces()
    for row in range(len(labels)):
        numbers, x = labels.numbers_of(row), labels.positions_of(row).astype(np.float64)
        atoms = slice(labels.offsets[row], labels.offsets[row + 1])
        if sorted(numbers) != sorted(molecule.numbers) or len(_bonds(numbers, x)) != len(
            molecule.bonds
        ):
            continue
        try:
            yield reorder_like(molecule, numbers, x), x, forces[atoms].astype(np.float64)
        except InputError:  # other bonds, as many
            continue


def _bonds(numbers: Array, x: Array) -> list[tuple[int, int]]:
    """Pairs nearer than 1.35 of the sum of their covalent radii: stretched bonds, none broken."""
    apart = np.linalg.norm(x[:, None] - x[None], axis=-1)
    near = 1.35 * (COVALENT_RADII_A[numbers][:, None] + COVALENT_RADII_A[numbers][None])
    return [(int(i), int(j)) for i, j in zip(*np.nonzero(apart < near), strict=True) if i < j]


def force_errors(name: str, frames: Sequence[tuple[Molecule, Array, Array]]) -> tuple[float, float]:
    """Correlation with labelled forces, and the root of the mean square error in eV/Å."""
    bound: dict[tuple[object, object], Teacher] = {}
    found, expected = [], []
    for molecule, x, forces in frames:
        order = (molecule.numbers, molecule.bonds)
        if order not in bound:
            bound[order] = make_teacher(name, molecule)
        found.append(bound[order].energies_and_forces(x[None])[1][0].ravel())
        expected.append(forces.ravel())
    one, other = np.concatenate(found), np.concatenate(expected)
    return float(np.corrcoef(one, other)[0, 1]), float(np.sqrt(np.mean((one - other) ** 2)))


def _errors(path: Path, molecules: Sequence[str]) -> Iterator[str]:
    head = f"{'molecule':<22}{'frames':>7}{'rms eV/Å':>10}"
    yield f"{head}  {'teacher':<12}{'corr.':>7}{'RMSE eV/Å':>11}"
    for smiles in molecules:
        molecule = molecule_from_smiles(smiles, name=smiles)
        frames = list(_labelled(path, molecule))
        if not frames:
            yield f"{smiles:<22}{0:>7}"
            continue
        forces = np.concatenate([forces.ravel() for _, _, forces in frames])
        rms = float(np.sqrt(np.mean(forces**2)))
        for name in force_field_names():
            if find_force_field(name).untyped_atoms(molecule):
                continue
            correlation, error = force_errors(name, frames)
            head = f"{smiles:<22}{len(frames):>7}{rms:>10.2f}"
            yield f"{head}  {name:<12}{correlation:>7.3f}{error:>11.2f}"


def _rows() -> Iterator[str]:
    yield f"{'teacher':<12}{'molecule':<12}{'structures/s':>14}{'molecule-steps/s':>18}"
    for name in force_field_names():
        for title, smiles in MOLECULES.items():
            molecule = molecule_from_smiles(smiles, name=title)
            if find_force_field(name).untyped_atoms(molecule):
                continue
            teacher = make_teacher(name, molecule)
            speeds = (structures_per_s(teacher), steps_per_s(teacher))
            yield f"{name:<12}{title:<12}" + "".join(
                f"{float(np.format_float_positional(speed, 2, fractional=False)):>{width},.0f}"
                for speed, width in zip(speeds, (14, 18), strict=True)
            )


def main() -> None:
    """Print a row for each teacher and molecule."""
    options = argparse.ArgumentParser(description=main.__doc__)
    options.add_argument("--against", type=Path, help="labelled frames: compare forces instead")
    options.add_argument("--smiles", nargs="+", default=list(MOLECULES.values()))
    given = options.parse_args()
    for row in _errors(given.against, given.smiles) if given.against else _rows():
        print(row, flush=True)


if __name__ == "__main__":
    main()
