"""Free-energy profiles in the report, where dynamics had a bias.

A bias belongs to one block of one model at one temperature; so does a profile, along each of its
variables, with its error over the block's walkers.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from apps.dynamics.metadynamics_settings import MetadynamicsSettings
from campaign.report.inputs import BiasedBlock, Model
from campaign.report.plots import arm_colour, legend_above, panels
from campaign.statistics.free_energy import Hills, offsets_eV, reweighted_profile
from data_store.parts import Part

__all__ = ["biased_block", "free_energy_figure", "free_energy_rows"]

LEFT_OUT_SHARE = 0.25
"""Of the length: samples until then are left out, for the bias grew fast."""

_MOST_BINS = 60


def biased_block(model: Model, temperature_K: float, block: int, part: Part) -> BiasedBlock | None:
    """What a part of dynamics holds of a bias; None where there was none."""
    metadata = part.metadata
    if "hills" not in metadata:
        return None
    dynamics = metadata["dynamics"]
    settings = MetadynamicsSettings.model_validate(dynamics["metadynamics"])
    centres = [
        part.read(f"hill_centre_{d}", variable.unit)
        for d, variable in enumerate(settings.variables)
    ]
    hills = Hills(
        times_ps=part.read("hill_time", "ps"),
        walkers=part.read("hill_walker", ""),
        centres=np.stack(centres, axis=-1),
        heights_eV=part.read("hill_height", "eV"),
        widths=tuple(variable.width for variable in settings.variables),
        height_eV=settings.height_eV,
        bias_factor=settings.bias_factor,
        temperature_K=temperature_K,
    )
    left_out, length = int(metadata["hills"]["left_out"]), float(dynamics["length_ps"])
    return BiasedBlock(model, temperature_K, block, settings, hills, left_out, length)


def free_energy_rows(blocks: list[BiasedBlock]) -> Iterator[dict[str, Any]]:
    """Rows of ``free_energy`` in `report.json`: a profile for each block and variable."""
    for found in sorted(blocks, key=lambda b: (b.model, b.temperature_K, b.block)):
        yield from _rows_of(found)


@lru_cache(maxsize=1024)
def _rows_of(found: BiasedBlock) -> list[dict[str, Any]]:
    """Kept, for the page's figure and the file want them both."""
    variables, after_ps = found.settings.variables, LEFT_OUT_SHARE * found.length_ps
    nodes = [np.linspace(v.grid_lower, v.grid_upper, v.grid_bins + 1) for v in variables]
    offsets = offsets_eV(found.hills, nodes)
    rows = []
    for place, variable in enumerate(variables):
        bins = min(variable.grid_bins, _MOST_BINS)
        edges = np.linspace(variable.grid_lower, variable.grid_upper, bins + 1)
        profile = reweighted_profile(found.hills, offsets, edges, place, after_ps)
        rows.append(
            {
                "arm": found.model.arm,
                "labels": found.model.labels,
                "seed": found.model.seed,
                "temperature_K": found.temperature_K,
                "block": found.block,
                "variable": place,
                "unit": variable.unit,
                "walkers": len(profile.without_walker_eV),
                "hills": len(found.hills.times_ps),
                "hills_left_out": found.left_out,
                "samples_after_ps": after_ps,
                "bin_centres": (0.5 * (edges[:-1] + edges[1:])).tolist(),
                "free_energy_eV": _plain(profile.free_energy_eV),
                "standard_error_eV": _plain(profile.error_eV),
                "error_kind": "jackknife over the walkers of this block, which share its bias",
            }
        )
    return rows


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    """JSON knows no number that is none."""
    return [float(v) if np.isfinite(v) else None for v in values]


def free_energy_figure(rows: list[dict[str, Any]]) -> Figure:
    """Profiles with bands of two standard errors, a panel per variable, pool and temperature."""
    cases = sorted({(row["variable"], row["labels"], row["temperature_K"]) for row in rows})
    figure, axes = panels(len(cases), 3.4, 2.7)
    for ax, case in zip(axes, cases, strict=False):
        of_case = [
            row for row in rows if (row["variable"], row["labels"], row["temperature_K"]) == case
        ]
        for row in of_case:
            _profile(ax, row)
        unit = f" ({of_case[0]['unit']})" if of_case[0]["unit"] else ""
        ax.set(xlabel=f"variable {case[0]}{unit}", ylabel="free energy (eV)")
        ax.set_title(f"{case[1]} labels, {case[2]:g} K", fontsize=9)
    legend_above(figure, axes)
    return figure


def _profile(ax: Axes, row: dict[str, Any]) -> None:
    """One profile, its least value at 0, broken where nothing was seen."""
    x, found, error = (
        np.array(row[name], dtype=np.float64)
        for name in ("bin_centres", "free_energy_eV", "standard_error_eV")
    )
    if not np.isfinite(found).any():
        return
    found = found - np.nanmin(found)
    colour = arm_colour(row["arm"])
    ax.plot(x, found, color=colour, lw=1.2, label=row["arm"])
    ax.fill_between(x, found - 2.0 * error, found + 2.0 * error, color=colour, alpha=0.2, lw=0)
