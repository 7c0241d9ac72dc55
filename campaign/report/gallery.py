"""Which failures the report shows: the first few of each of the most frequent kinds.

Only the frames of those are read. What is not shown is said on the page; all last frames stay in
the parts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apps.dynamics.settings import DynamicsSettings
from apps.dynamics.task import contact_limits, reference_bond_lengths
from campaign.report.failures import FailureKind, kind_of, kinds_of
from campaign.report.inputs import FailurePicture, Limits, Model
from campaign.report.subject import nearest_to
from data_store.molecules import Molecule
from data_store.parts import Part
from data_store.runs import Run

__all__ = ["EXAMPLES_PER_KIND", "KINDS_SHOWN", "Block", "first_failures", "limits_of"]

KINDS_SHOWN = 8
EXAMPLES_PER_KIND = 3


@dataclass(frozen=True)
class Block:
    """One part of simulated replicas.

    Parameters
    ----------
    model : Model
    temperature_K : float
    part : Part
    runs : sequence of Run
    """

    model: Model
    temperature_K: float
    part: Part
    runs: Sequence[Run]


def first_failures(
    blocks: Sequence[Block],
    molecule: Molecule,
    frame_stride_fs: float,
    cell_A: NDArray[np.float64] | None = None,
) -> Iterator[FailurePicture]:
    """Failures to show, in order of time; those of a box seen from an atom that decided."""
    runs: dict[tuple[Model, float], list[Run]] = defaultdict(list)
    for block in blocks:
        runs[block.model, block.temperature_K] += block.runs
    wanted = {count.kind for count in kinds_of(runs, molecule)[:KINDS_SHOWN]}
    failed = [
        (run.time_ps, block.model, block.temperature_K, run.replica, place, row)
        for place, block in enumerate(blocks)
        for row, run in enumerate(block.runs)
        if run.failed
    ]
    shown: Counter[FailureKind] = Counter()
    for _, model, temperature, _, place, row in sorted(failed):
        run = blocks[place].runs[row]
        kind = kind_of(run, molecule)
        if kind not in wanted or shown[kind] >= EXAMPLES_PER_KIND:
            continue
        frames = _last_frames(blocks[place].part, row)
        if len(frames):
            shown[kind] += 1
            frames = nearest_to(frames, run.atoms[0] if run.atoms else 0, cell_A)
            yield FailurePicture(model, temperature, run, frames, frame_stride_fs, cell_A)


def _last_frames(part: Part, row: int) -> NDArray[np.float32]:
    """Kept frames of one run; none where not one was finite."""
    owner = part.read("last_frames_replica", "")
    rows = np.flatnonzero(owner == row)
    if not len(rows):
        return np.zeros((0, 0, 3), dtype=np.float32)
    return part.read("last_frames_positions", "Å", int(rows[0]), int(rows[-1]) + 1)


def limits_of(
    molecule: Molecule, settings: DynamicsSettings, training: NDArray[np.float64]
) -> Limits:
    """What the criteria of a campaign allow.

    Parameters
    ----------
    molecule : Molecule
    settings : DynamicsSettings
    training : ndarray, shape (S, N, 3)
        Labels that bonds are measured against, in Å.
    """
    bonds = np.array(molecule.bonds, dtype=np.int64).reshape(-1, 2)
    lengths = reference_bond_lengths(training, bonds)
    pairs, least = contact_limits(molecule, settings)
    reach = settings.stretch_A
    return Limits(
        {
            (int(i), int(j)): (max(float(r) - reach, 0.0), float(r) + reach)
            for (i, j), r in zip(bonds, lengths, strict=True)
        },
        {(int(i), int(j)): (float(r),) for (i, j), r in zip(pairs, least, strict=True)},
    )
