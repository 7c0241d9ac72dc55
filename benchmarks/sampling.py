"""Teacher structures per second and core, beside RDKit's own evaluation and a plain OpenMM loop.

    OMP_NUM_THREADS=1 python -m benchmarks.sampling [--smiles ...] [--structures 16384]

Every tier that distorts is made alone: candidates, MMFF94 energies and forces, the window, and the
part written. The frames that are distorted are made before the clock starts, since a chunk makes
them once for all its tiers; dynamics has a row of its own. Last comes a whole chunk of the default
mixture by the task that workers run. Times are processor time of this process; syncing files to
disk is waiting and is told apart.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openmm

from apps.contract import Request
from apps.sampling.chunk import fill_tier
from apps.sampling.mmff94 import MMFF94, openmm_system
from apps.sampling.mmff94_terms import read_terms
from apps.sampling.molecule import molecule_from_smiles
from apps.sampling.native.batches import evaluation
from apps.sampling.rdkit_field import RDKitField
from apps.sampling.settings import LangevinSettings, SamplingSettings
from apps.sampling.task import prepare, sample
from apps.sampling.thermal import thermal_frames
from apps.sampling.tiers import TIERS, Chunkwork
from data_store.parts import write_part
from data_store.structure_parts import structures_to_columns
from data_store.structures import concatenate

__all__ = ["clocked"]

TIERS_TIMED = ("noise", "scan", "clash")
STEPS = 1_000


def clocked(way: Callable[[], Any]) -> tuple[Any, float, float]:
    """What a call gives, its processor time and its time by the clock, in s."""
    began, clock = time.process_time(), time.perf_counter()
    found = way()
    return found, time.process_time() - began, time.perf_counter() - clock


def row(name: str, count: float, processor_s: float, clock_s: float) -> None:
    print(f"{name:<58}{count / processor_s:>12,.0f}{count / clock_s:>12,.0f}", flush=True)


def tiers(teacher: MMFF94, settings: SamplingSettings, folder: Path) -> None:
    """Each tier alone, without and with the part that is written."""
    count = settings.chunk_structures
    work = Chunkwork(teacher, settings, (0, 0), 256)
    ready, _ = fill_tier(work, "noise", teacher, 16)
    write_part(folder, "sample", "ready", structures_to_columns(concatenate(ready)), {})
    for tier in TIERS_TIMED:
        (made, rejected), made_s, made_clock_s = clocked(
            lambda t=tier: fill_tier(work, t, teacher, count)
        )
        _, stored_s, stored_clock_s = clocked(
            lambda t=tier, m=made: write_part(
                folder, "sample", t, structures_to_columns(concatenate(m)), {"tier": t}
            )
        )
        share = count / (count + sum(rejected.values()))
        row(f"{tier}, labelled and checked ({share:.0%} accepted)", count, made_s, made_clock_s)
        row(f"{tier}, labelled, checked and stored", count, made_s + stored_s,
            made_clock_s + stored_clock_s)  # fmt: skip


def peers(teacher: MMFF94, structures: int) -> None:
    """RDKit's evaluation as a user would call it, ours of the same, and OpenMM's loop."""
    work = Chunkwork(teacher, SamplingSettings(), (0, 0), 256)
    x = TIERS["noise"].candidates(work, structures, 0).positions
    row("energies and forces, ours", len(x), *clocked(lambda: teacher.energies_and_forces(x))[1:])
    rdkit = RDKitField(teacher.molecule, teacher._build)
    few = x[:5_000]
    row("energies and forces, RDKit", len(few),
        *clocked(lambda: rdkit.energies_and_forces(few))[1:])  # fmt: skip
    settings = LangevinSettings()
    for copies in (1, 64):
        terms = read_terms(teacher.molecule, teacher.variant)
        integrator = openmm.LangevinMiddleIntegrator(1000.0, settings.friction_per_ps, 5e-4)
        context = openmm.Context(
            openmm_system(terms, teacher.molecule.numbers, copies), integrator,
            openmm.Platform.getPlatformByName("Reference"),
        )  # fmt: skip
        context.setPositions(np.tile(teacher.relaxed_positions * 0.1, (copies, 1)))
        steps = STEPS if copies > 1 else 10 * STEPS
        row(f"molecule-steps, OpenMM loop, {copies} in a context", copies * steps,
            *clocked(lambda i=integrator, s=steps: i.step(s))[1:])  # fmt: skip
    short = settings.model_copy(update={"equilibration_fs": 0.0})
    frames = round(STEPS * settings.timestep_fs / settings.stride_fs)
    for copies in (16, 64):
        row(f"molecule-steps, ours, {copies} copies, a frame each {settings.stride_fs:g} fs",
            copies * STEPS,
            *clocked(lambda c=copies: thermal_frames(teacher, 1000.0, c, frames, short, 0))[1:],
            )  # fmt: skip


def task(smiles: str, folder: Path, chunk_structures: int) -> None:
    """A chunk of the default mixture, by the worker's own function."""
    root = str(folder)
    system = {"system": {"smiles": smiles}, "force_field": "mmff94"}
    prepared = prepare(Request(root, root, "prepare", "a" * 64, system, 0).to_json())
    settings = SamplingSettings(chunk_structures=chunk_structures).model_dump(mode="json")
    request = Request(
        root, root, "sample", "b" * 64, settings, 0, {"chunk": 0}, {"molecule": [prepared["path"]]}
    ).to_json()
    result, processor_s, clock_s = clocked(lambda: sample(request))
    row(f"default mixture, chunk of {chunk_structures:,} by the task", chunk_structures,
        processor_s, clock_s)  # fmt: skip
    print(f"  counts: {result['counts']}")


def main() -> None:
    """Print structures or molecule-steps per second of processor time and of the clock."""
    options = argparse.ArgumentParser(description=main.__doc__)
    options.add_argument("--smiles", default="CC(=O)Oc1ccccc1C(=O)O")
    options.add_argument("--structures", type=int, default=16_384)
    given = options.parse_args()
    teacher = MMFF94(molecule_from_smiles(given.smiles))
    print(f"{given.smiles}, evaluation: {evaluation()}")
    print(f"{'per second':<58}{'processor':>12}{'clock':>12}")
    with tempfile.TemporaryDirectory() as folder:
        tiers(teacher, SamplingSettings(chunk_structures=given.structures), Path(folder))
        peers(teacher, given.structures)
        for size in (2_048, given.structures):
            task(given.smiles, Path(folder) / str(size), size)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of this process: {peak:.0f} MB")


if __name__ == "__main__":
    main()
