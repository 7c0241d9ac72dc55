"""Species over time in reactive dynamics: how many of each kind of molecule, in saved frames.

Means are over the replicas that are still watched at that time: of one that failed or flew apart,
frames until then. Where few are left the mean is one of the survivors, so that their number stands
beside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from apps.dynamics.species import count_species
from campaign.report.gallery import Block
from campaign.report.plots import arm_colour, legend_above, panels

__all__ = ["KNOWN", "REACTIVE", "species_figure", "species_rows"]

REACTIVE = "valence"
"""The criterion by which a campaign says that bonds may break: others have no species to count."""

KNOWN = frozenset({"H", "O", "H2", "O2", "O3", "OH", "HO2", "H2O", "H2O2"})
"""Species of H and O that live long enough to be met; all others are counted as unusual."""

_SHOWN = 6


def species_rows(
    blocks: Iterable[Block], numbers: NDArray[Any], cell: NDArray[np.float64] | None = None
) -> list[dict[str, Any]]:
    """Rows of ``species`` in `report.json`: one for each model and temperature.

    Parameters
    ----------
    blocks : iterable of Block
    numbers : ndarray, shape (N,)
        Atomic numbers of a replica.
    cell : ndarray, shape (3, 3), optional
        Of a periodic box, in Å.
    """
    grouped: dict[Any, list[Block]] = defaultdict(list)
    for block in blocks:
        grouped[block.model, block.temperature_K].append(block)
    return [
        {
            "arm": model.arm,
            "labels": model.labels,
            "seed": model.seed,
            "temperature_K": temperature,
            **_counted(of_model, numbers, cell),
        }
        for (model, temperature), of_model in sorted(grouped.items(), key=lambda item: item[0])
    ]


def _counted(
    blocks: list[Block], numbers: NDArray[Any], cell: NDArray[np.float64] | None
) -> dict[str, Any]:
    """Sums over replicas at each saved time, divided by how many there are."""
    sums: dict[str, dict[float, int]] = defaultdict(lambda: defaultdict(int))
    watched: dict[float, int] = defaultdict(int)
    unusual = frames = 0
    for block in blocks:
        replicas, times = block.part.read("saved_replica", ""), block.part.read("saved_time", "ps")
        positions = block.part.read("saved_positions", "Å")
        for replica in np.unique(replicas):
            rows = np.flatnonzero(replicas == replica)
            rows = rows[np.argsort(times[rows], kind="stable")]
            found = count_species(positions[rows].astype(np.float64), numbers, cell)
            strange = [counts > 0 for name, counts in found.items() if name not in KNOWN]
            unusual += int(np.any(strange, axis=0).sum()) if strange else 0
            frames += len(rows)
            for place, row in enumerate(rows):
                time = round(float(times[row]), 6)
                watched[time] += 1
                for name, counts in found.items():
                    sums[name][time] += int(counts[place])
    at = sorted(watched)
    return {
        "times_ps": at,
        "replicas": [watched[time] for time in at],
        "counts": {n: [by[time] / watched[time] for time in at] for n, by in sorted(sums.items())},
        "unusual_share": unusual / frames if frames else None,
    }


def species_figure(rows: list[dict[str, Any]]) -> Figure:
    """Mean counts over time, a panel for each of the species that change most; a line per model."""
    moved: dict[str, float] = defaultdict(float)
    for row in rows:
        for name, counts in row["counts"].items():
            moved[name] = max(moved[name], max(counts) - min(counts))
    shown = sorted(sorted(moved), key=lambda name: -moved[name])[:_SHOWN]
    figure, axes = panels(len(shown), 2.6, 2.2)
    for ax, name in zip(axes, shown, strict=False):
        for row in rows:
            counts = row["counts"].get(name, [0.0] * len(row["times_ps"]))
            ax.plot(row["times_ps"], counts, color=arm_colour(row["arm"]), lw=1.0, label=row["arm"])
        ax.set(xlabel="time (ps)", ylabel="mean per replica")
        ax.set_title(name, fontsize=9)
    legend_above(figure, axes)
    return figure
