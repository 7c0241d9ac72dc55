"""Reading runs of periodic boxes: their structure and their movement.

A part's saved frames are read whole, and what is kept of each run are counts, errors and curves.
Parts without a box have no business here, and are left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from campaign.report.gallery import Block
from campaign.report.inputs import Model
from campaign.report.liquid_inputs import Liquid, LiquidReference, LiquidRun
from campaign.statistics.diffusion import Diffusion, diffusion_of_run, even_stride
from campaign.statistics.structural_failure import BLOCK_PS, judge_run
from campaign.statistics.vibrations import Spectrum, density_of_states
from data_store.errors import InputError
from data_store.parts import Part
from data_store.units import SYMBOLS, ATOMIC_MASSES_amu

__all__ = ["frames_in_block", "is_box", "liquid_of"]


def is_box(part: Part) -> bool:
    """Whether a part of dynamics is of boxes that are periodic in all directions."""
    return "cell" in part.metadata and all(part.metadata.get("pbc", [True]))


def frames_in_block(part: Part) -> int:
    """Saved frames of a block of time, as the settings say; 0 where they do not."""
    stride_ps = part.metadata.get("dynamics", {}).get("save_stride_ps")
    return round(BLOCK_PS / stride_ps) if stride_ps else 0


def liquid_of(blocks: Sequence[Block], reference: LiquidReference | None) -> Liquid | None:
    """All runs of boxes; None where there is none.

    Raises
    ------
    InputError
        If boxes of one campaign differ in their atoms, or the reference has other pairs.
    """
    boxes = [block for block in blocks if is_box(block.part)]
    if not boxes:
        return None
    first = boxes[0].part.metadata
    notes: Counter[str] = Counter()
    runs: dict[tuple[Model, float], list[LiquidRun]] = defaultdict(list)
    for block in boxes:
        if block.part.metadata["numbers"] != first["numbers"]:
            raise InputError(
                f"{block.part.path} is of other atoms than {boxes[0].part.path}",
                "boxes of one campaign are of the same atoms",
            )
        runs[block.model, block.temperature_K] += _runs_of(block, reference, notes)
    return Liquid(
        np.array(first["numbers"], dtype=np.int64),
        np.array(first["cell"], dtype=np.float64),
        dict(first.get("dynamics", {})),
        dict(runs),
        reference,
        [f"{count} runs: {reason}" for reason, count in sorted(notes.items())],
    )


def _runs_of(
    block: Block, reference: LiquidReference | None, notes: Counter[str]
) -> Iterator[LiquidRun]:
    part = block.part
    owners, times = part.read("saved_replica", ""), part.read("saved_time", "ps")
    positions = part.read("saved_positions", "Å")
    velocities = _Velocities.of(part)
    for row, run in enumerate(block.runs):
        mine = _in_order(owners, times, row)
        frames = positions[mine]
        sound = np.isfinite(frames).all(axis=(1, 2))
        if not sound.all():
            notes["frames that are no numbers were left out"] += 1
        judged = judge_run(
            times[mine][sound],
            frames[sound],
            part.metadata["numbers"],
            part.metadata["cell"],
            run.time_ps,
            reference.curves if reference else {},
        )
        whole = not run.failed
        moved = _diffusion(part, times[mine], frames, notes) if whole else {}
        spectrum = _spectrum(block, velocities, row, notes) if whole and velocities else None
        yield LiquidRun(run, judged, moved, spectrum)


def _in_order(owners: NDArray[Any], times: NDArray[Any], row: int) -> NDArray[np.int64]:
    """Rows of a run's frames, in order of time."""
    mine = np.flatnonzero(owners == row)
    return mine[np.argsort(times[mine], kind="stable")]


def _diffusion(
    part: Part, times: NDArray[Any], frames: NDArray[Any], notes: Counter[str]
) -> dict[str, Diffusion]:
    numbers = np.array(part.metadata["numbers"])
    try:
        stride = even_stride(times, "saved positions")
        return {
            SYMBOLS[z]: diffusion_of_run(frames, stride, ATOMIC_MASSES_amu[numbers], numbers == z)
            for z in np.unique(numbers)[::-1]
        }
    except InputError as error:
        notes[f"no diffusion: {error.message}"] += 1
        return {}


@dataclass(frozen=True, eq=False)
class _Velocities:
    """Saved velocities of a part, with the rows of their runs and their times in ps."""

    owners: NDArray[Any]
    times: NDArray[Any]
    values: NDArray[Any]

    @staticmethod
    def of(part: Part) -> _Velocities | None:
        """What a part has of them."""
        if "velocities" not in part.units:
            return None
        return _Velocities(
            part.read("velocity_replica", ""),
            part.read("velocity_time", "ps"),
            part.read("velocities", "Å/fs"),
        )


def _spectrum(block: Block, saved: _Velocities, row: int, notes: Counter[str]) -> Spectrum | None:
    mine = _in_order(saved.owners, saved.times, row)
    if not len(mine):  # velocities may be saved of some runs alone
        return None
    numbers = block.part.metadata["numbers"]
    try:
        stride_fs = 1000.0 * even_stride(saved.times[mine], "saved velocities")
        return density_of_states(saved.values[mine], stride_fs, numbers, block.temperature_K)
    except InputError as error:
        notes[f"no density of states: {error.message}"] += 1
        return None
