"""Structure of what was simulated: distances in frames of sound replicas, and of the labels.

Only replicas that have not failed count, from after their start: starts are the same in all arms.
The reference is the ensemble of the labels, which carry no temperature: only where they were drawn
at the temperature of a simulation is the error one of accuracy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from campaign.report.gallery import Block
from campaign.report.inputs import DistanceReference, Distances, Model, ReportInputs
from campaign.report.liquid import is_box
from campaign.report.plots import arm_colour, legend_above, panels
from campaign.statistics.distances import (
    BIN_A,
    count_distances,
    density_per_A,
    distribution_error,
)
from campaign.statistics.errors import mean_error
from data_store.parts import Part
from data_store.runs import Run
from data_store.splits import random_order

__all__ = [
    "distance_error",
    "distances_figure",
    "distances_of",
    "reference_of",
    "sound_distances",
    "structure_rows",
    "summary_of_reference",
]


def distances_of(blocks: Iterable[Block]) -> dict[tuple[Model, float], Distances]:
    """Distances in saved frames of replicas that have not failed, by model and temperature.

    Not of periodic boxes, whose distances are those of nearest images (`campaign.report.liquid`).
    """
    found: dict[tuple[Model, float], Distances] = {}
    for block in blocks:
        if is_box(block.part):
            continue
        more, key = sound_distances(block.part, block.runs), (block.model, block.temperature_K)
        found[key] = found[key] + more if key in found else more
    return found


def sound_distances(part: Part, runs: Sequence[Run]) -> Distances:
    """Distances in a block's saved frames of replicas that have not failed, starts left out."""
    sound = [row for row, run in enumerate(runs) if not run.failed]
    kept = np.isin(part.read("saved_replica", ""), sound) & (part.read("saved_time", "ps") > 0.0)
    return Distances.of(part.read("saved_positions", "Å")[kept])


def reference_of(source: str, frames: NDArray[np.floating]) -> DistanceReference:
    """Distances of reference structures, whole and in two random halves."""
    order = random_order(len(frames), 0)
    half = len(frames) // 2
    return DistanceReference(
        source,
        Distances.of(frames),
        (count_distances(frames[order[:half]]), count_distances(frames[order[half:]])),
    )


def distance_error(inputs: ReportInputs, model: Model, temperature_K: float) -> float | None:
    """Error of one model's distribution; None where no frame or no reference is."""
    found = inputs.distances.get((model, temperature_K))
    if found is None or inputs.reference is None:
        return None
    return distribution_error(found.counts, inputs.reference.whole.counts)


def summary_of_reference(inputs: ReportInputs) -> dict[str, Any] | None:
    """``distance_reference`` of `report.json`."""
    if inputs.reference is None:
        return None
    return {
        "source": inputs.reference.source,
        "structures": inputs.reference.whole.frames,
        "bin_A": BIN_A,
        "mae_of_halves": distribution_error(*inputs.reference.halves),
    }


def structure_rows(inputs: ReportInputs) -> Iterator[dict[str, Any]]:
    """Errors by arm, pool and temperature: mean over seeds with its interval."""
    errors: dict[tuple[int, float, str], list[float]] = defaultdict(list)
    frames: dict[tuple[int, float, str], int] = defaultdict(int)
    for (model, temperature), found in sorted(inputs.distances.items(), key=lambda item: item[0]):
        key = (model.labels, temperature, model.arm)
        frames[key] += found.frames
        error = distance_error(inputs, model, temperature)
        if error is not None and error > 0.0:
            errors[key].append(error)
    for key in sorted(frames):
        labels, temperature, arm = key
        mean = mean_error(errors[key]) if errors[key] else None
        yield {
            "arm": arm,
            "labels": labels,
            "temperature_K": temperature,
            "models": len(errors[key]),
            "frames": frames[key],
            "mae": mean.value if mean else None,
            "interval": mean.interval if mean and len(errors[key]) > 1 else None,
        }
    yield from _control_rows(inputs)


def _control_rows(inputs: ReportInputs) -> Iterator[dict[str, Any]]:
    """The reference method beside the arms: how far from the labels their temperature alone is."""
    if inputs.control is None or inputs.reference is None:
        return
    for temperature, found in sorted(inputs.control.distances.items()):
        yield {
            "arm": inputs.control.method,
            "labels": None,
            "temperature_K": temperature,
            "models": 1,
            "frames": found.frames,
            "mae": distribution_error(found.counts, inputs.reference.whole.counts),
            "interval": None,
        }


def distances_figure(inputs: ReportInputs, reference: DistanceReference) -> Figure:
    """h(r) of the arms at the largest pool, seeds together, over that of the reference."""
    largest = max(model.labels for model, _ in inputs.distances)
    temperatures = sorted({t for _, t in inputs.distances})
    figure, axes = panels(len(temperatures), 4.0, 2.7)
    curves = _of_arms(inputs, largest)
    every = reference.whole.counts + sum(found.counts for found in curves.values())
    shown = slice(0, int(np.flatnonzero(every)[-1]) + 2)
    r = ((np.arange(len(every)) + 0.5) * BIN_A)[shown]
    for ax, temperature in zip(axes, temperatures, strict=False):
        h = density_per_A(reference.whole.counts)[shown]
        ax.fill_between(r, h, color="#bbbbbb", lw=0, step="mid", label="reference")
        for (t, arm), found in curves.items():
            if t == temperature:
                h = density_per_A(found.counts)[shown]
                ax.step(r, h, where="mid", color=arm_colour(arm), lw=1.1, label=arm)
        ax.set(xlabel="r (Å)", ylabel="h(r) (1/Å)")
        ax.set_title(f"{largest} labels, {temperature:g} K", fontsize=9)
    legend_above(figure, axes)
    return figure


def _of_arms(inputs: ReportInputs, labels: int) -> dict[tuple[float, str], Distances]:
    """Distances of all seeds, by temperature and arm; arms without a frame are left out."""
    together: dict[tuple[float, str], Distances] = {}
    for (model, temperature), found in sorted(inputs.distances.items(), key=lambda item: item[0]):
        if model.labels == labels and found.frames:
            key = (temperature, model.arm)
            together[key] = together[key] + found if key in together else found
    return together
