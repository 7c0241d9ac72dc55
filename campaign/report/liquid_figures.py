"""Figures of the section on liquids, from the rows of `report.json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from campaign.report.plots import arm_colour, legend_above, panels

__all__ = ["rdf_figure", "vibrations_figure"]

_BEYOND_BONDS_A = 2.0
_SHOWN_PER_CM = 4500.0


def rdf_figure(found: dict[str, Any]) -> Figure:
    """g(r) of the arms at the largest pool, with bands, over the reference's."""
    largest = max(row["labels"] for row in found["rdf"])
    rows = [row for row in found["rdf"] if row["labels"] == largest]
    pairs = list(dict.fromkeys(row["pair"] for row in rows))
    cases = [(t, pair) for t in sorted({row["temperature_K"] for row in rows}) for pair in pairs]
    figure, axes = panels(len(cases), 3.2, 2.6, columns=min(len(pairs), 4))
    known = found["reference"]["rdf"] if found["reference"] else {}
    for ax, (temperature, pair) in zip(axes, cases, strict=False):
        tops = [1.5]
        if pair in known:
            r, g = _array(known[pair]["r_A"]), _array(known[pair]["g"])
            ax.fill_between(r, g, color="#bbbbbb", lw=0, label="reference")
            tops.append(_top(r, g))
        for row in rows:
            if (row["temperature_K"], row["pair"]) == (temperature, pair):
                r, g = _array(row["r_A"]), _array(row["g"])
                _banded(ax, r, g, row)
                tops.append(_top(r, g))
        ax.set(xlabel="r (Å)", ylabel="g(r)", ylim=(0.0, 1.12 * max(tops)))
        ax.set_title(f"{pair.replace('-', '–')}, {largest} labels, {temperature:g} K", fontsize=9)
    legend_above(figure, axes)
    return figure


def _top(r: NDArray[np.float64], g: NDArray[np.float64]) -> float:
    """Highest beyond bonds, which would dwarf all else."""
    beyond = g[(r > _BEYOND_BONDS_A) & np.isfinite(g)]
    return float(beyond.max()) if len(beyond) else 0.0


def vibrations_figure(found: dict[str, Any]) -> Figure:
    """Densities of states of the arms at the largest pool, a panel per element and temperature."""
    largest = max(row["labels"] for row in found["density_of_states"])
    rows = [row for row in found["density_of_states"] if row["labels"] == largest]
    cases = sorted({(row["temperature_K"], row["element"]) for row in rows})
    figure, axes = panels(len(cases), 4.0, 2.6)
    for ax, case in zip(axes, cases, strict=False):
        for row in rows:
            if (row["temperature_K"], row["element"]) == case:
                _banded(ax, _array(row["wavenumbers_per_cm"]), _array(row["density_cm"]), row)
        ax.set(xlabel="wavenumber (1/cm)", ylabel="density of states (cm)")
        ax.set_xlim(0.0, _SHOWN_PER_CM)
        ax.set_title(f"{case[1]}, {largest} labels, {case[0]:g} K", fontsize=9)
    legend_above(figure, axes)
    return figure


def _banded(ax: Axes, x: NDArray[np.float64], y: NDArray[np.float64], row: dict[str, Any]) -> None:
    colour = arm_colour(row["arm"])
    ax.fill_between(x, _array(row["low"]), _array(row["high"]), color=colour, alpha=0.2, lw=0)
    ax.plot(x, y, color=colour, lw=1.1, label=row["arm"])


def _array(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)
