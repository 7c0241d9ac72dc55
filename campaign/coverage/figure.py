"""One figure of a `Coverage`: a panel per measure, a curve per tier."""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from campaign.coverage.histogram import Histogram
from campaign.coverage.measures import MEASURES, Coverage
from campaign.report.plots import legend_above, panels

__all__ = ["coverage_figure", "figure_bytes"]

_COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F3C8D", "#555555",
)  # fmt: skip
_LOGARITHMIC = ("energy_eV_per_atom", "force_eV_per_A")
"""Measures on a logarithmic axis, of which ten bins are drawn as one; of the others four."""


def coverage_figure(coverage: Coverage) -> Figure:
    """Share of each tier's values by bin; values outside the bins are drawn in none.

    Energies, forces and shares of bonds on logarithmic axes. Measures that nothing was counted of
    have no panel.
    """
    shown = [
        name
        for name in MEASURES
        if any(tier.histograms[name].total for tier in coverage.tiers.values())
    ]
    figure, axes = panels(len(shown), 3.6, 2.4, columns=2)
    for ax, name in zip(axes, shown, strict=False):
        for number, (tier, found) in enumerate(sorted(coverage.tiers.items())):
            histogram = found.histograms[name]
            if histogram.total:
                together = 10 if name in _LOGARITHMIC else 4
                _curve(ax, histogram, together, tier, _COLOURS[number % len(_COLOURS)])
        if name in _LOGARITHMIC:
            ax.set_xscale("log")
        _frame(ax, [tier.histograms[name] for tier in coverage.tiers.values()])
        ax.set(xlabel=MEASURES[name].title, ylabel="share")
        # Most bonds of a scanned molecule are at rest: on a plain axis the others are not seen.
        if name == "bond_stretch":
            ax.set_yscale("log")
        else:
            ax.set_ylim(bottom=0.0)
    legend_above(figure, axes)
    return figure


def figure_bytes(figure: Figure, suffix: str) -> bytes:
    """The figure as a file of this suffix."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix.removeprefix("."), dpi=130, bbox_inches="tight")
    return buffer.getvalue()


def _curve(ax: Axes, histogram: Histogram, together: int, label: str, colour: str) -> None:
    counts = histogram.counts[1:-1].reshape(-1, together).sum(1)
    edges = histogram.edges[::together]
    ax.stairs(counts / histogram.total, edges, color=colour, lw=1.2, label=label)


def _frame(ax: Axes, histograms: list[Histogram]) -> None:
    """All of what was counted but a thousandth on either side, within the bins."""
    counted = [h for h in histograms if h.total]
    low = max(min(h.quantile(0.001) for h in counted), counted[0].edges[0])
    high = min(max(h.quantile(0.999) for h in counted), counted[0].edges[-1])
    if high > low:
        ax.set_xlim(low, high)
