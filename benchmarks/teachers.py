"""How fast each teacher is on one core: structures and steps of dynamics a second, by process time.

A teacher is measured on each of the molecules that it types. Process time, so that other work on
the machine counts little; one process, one thread where the libraries heed `OMP_NUM_THREADS=1`.

    OMP_NUM_THREADS=1 python -m benchmarks.teachers
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np

from apps.sampling.field import Teacher
from apps.sampling.frames import COPIES
from apps.sampling.molecule import molecule_from_smiles
from apps.sampling.settings import LangevinSettings
from apps.sampling.teacher import find_force_field, force_field_names, make_teacher
from apps.sampling.thermal import thermal_frames
from data_store.streams import stream

__all__ = ["steps_per_s", "structures_per_s"]

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
    argparse.ArgumentParser(description=main.__doc__).parse_args()
    for row in _rows():
        print(row, flush=True)


if __name__ == "__main__":
    main()
