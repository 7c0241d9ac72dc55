"""Probes in the report: holes among distorted structures, energies along scans of bonds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from campaign.report.inputs import ReportInputs
from campaign.report.plots import arm_colour, legend_above, panels

__all__ = ["SHOWN_A", "probe_rows", "probe_table", "probes_figure"]

SHOWN_A = (-0.4, 0.5, 0.8)
"""Changes of a bond's length that the table shows."""


def probe_rows(inputs: ReportInputs) -> Iterator[dict[str, Any]]:
    """Rows of ``probes`` in `report.json`: what the probes of each model found."""
    for model, found in sorted(inputs.probes.items()):
        yield {"arm": model.arm, "labels": model.labels, "seed": model.seed, **found}


def probe_table(
    rows: list[dict[str, Any]], control: tuple[str, dict[str, Any]] | None
) -> list[dict[str, Any]]:
    """Rows of the page's table: a model each, the reference method and the teacher last."""
    table = [
        {
            "name": f"{row['arm']}, {row['labels']} labels, seed {row['seed']}",
            "distorted": row["distorted"],
            "share": row["distorted_low_share"],
            "energies": _at(row, "median_eV", "p5_eV"),
        }
        for row in rows
    ]
    if control is not None:
        name, found = control
        energies, share = _at(found, "median_eV", "p5_eV"), found["distorted_low_share"]
        entry = {"name": name, "distorted": found["distorted"], "share": share}
        table.append({**entry, "energies": energies})
    teacher = _at(rows[0], "teacher_median_eV", "teacher_p5_eV")
    return [*table, {"name": "teacher", "distorted": None, "share": None, "energies": teacher}]


def _at(row: dict[str, Any], *names: str) -> list[tuple[float | None, ...]]:
    """Values at the changes of length that are shown; None where there is none."""
    by_change = {round(entry["change_A"], 3): entry for entry in row["scan"]}
    return [tuple(by_change.get(change, {}).get(name) for name in names) for change in SHOWN_A]


def probes_figure(inputs: ReportInputs) -> Figure:
    """Median energy against the change of a bond's length, a line per model, a panel per pool."""
    pools = sorted({model.labels for model in inputs.probes})
    figure, axes = panels(len(pools), 3.4, 2.7)
    for ax, labels in zip(axes, pools, strict=False):
        found = {m: p for m, p in sorted(inputs.probes.items()) if m.labels == labels}
        for model, results in found.items():
            _line(ax, results["scan"], "median_eV", model.arm)
        if inputs.control is not None and inputs.control.probes is not None:
            scan, name = inputs.control.probes["scan"], inputs.control.method
            _line(ax, scan, "median_eV", name, ls=":")
        _line(ax, next(iter(found.values()))["scan"], "teacher_median_eV", "teacher", ls="--")
        ax.set_ylim(*_reach(list(found.values())))
        ax.set(xlabel="change of a bond's length (Å)", ylabel="energy above the frame (eV)")
        ax.set_title(f"{labels} labels", fontsize=9)
    legend_above(figure, axes)
    return figure


def _reach(results: list[dict[str, Any]]) -> tuple[float, float]:
    """Range of the models' medians with a margin; a force field would leave them no room."""
    values = [row["median_eV"] for found in results for row in found["scan"]]
    finite = [0.0, *(value for value in values if value is not None)]
    margin = 0.15 * (max(finite) - min(finite)) + 0.1
    return min(finite) - margin, max(finite) + margin


def _line(ax: Axes, scan: list[dict[str, Any]], name: str, label: str, ls: str = "-") -> None:
    points = [(row["change_A"], row[name]) for row in scan if row[name] is not None]
    if points:
        x, y = zip(*points, strict=True)
        ax.plot(x, y, color=arm_colour(label), lw=1.3, ls=ls, alpha=0.85, label=label)
