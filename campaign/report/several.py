"""The page of several campaigns: what differs, one figure, one table; and its figure.

Numbers are those of `campaign.comparing.compared`; this computes none.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from campaign.report import plots
from campaign.report.html import interval_in_words, number_in_words
from data_store.work import write_atomic

__all__ = ["write_several"]

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def write_several(folder: Path, found: dict[str, Any], text: str) -> None:
    """Write ``compare.json`` (as given) and ``compare.html`` into a folder.

    Raises
    ------
    WorkspaceError
        If the file system refuses.
    """
    write_atomic(folder / "compare.json", text.encode())
    write_atomic(folder / "compare.html", _page(found).encode())


def _page(found: dict[str, Any]) -> str:
    text = resources.files("campaign.report").joinpath("several.html.j2").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["interval"] = interval_in_words
    environment.filters["number"] = number_in_words
    drawn = plots.svg(_figure(found)) if found["rows"] else ""
    return environment.from_string(text).render(found=found, figure=drawn)


def _figure(found: dict[str, Any]) -> Figure:
    """Failure rate against labels, a panel per temperature; a colour per campaign, a mark per arm.

    An open triangle is an upper bound where nothing failed.
    """
    names = [entry["name"] for entry in found["campaigns"]]
    temperatures = sorted({row["temperature_K"] for row in found["rows"]})
    figure, axes = plots.panels(len(temperatures), 4.4, 3.2, columns=2)
    for ax, temperature in zip(axes, temperatures, strict=False):
        for place, name in enumerate(names):
            rows = [
                row for row in found["rows"]
                if (row["campaign"], row["temperature_K"]) == (name, temperature)
            ]  # fmt: skip
            shift = 1.05 ** (place - 0.5 * (len(names) - 1))
            for arm in sorted({row["arm"] for row in rows}):
                series = [row for row in rows if row["arm"] == arm]
                _series(ax, series, f"{name}: {arm}", _COLOURS[place % len(_COLOURS)], arm, shift)
        ax.set_ylabel("failures per ns")
        plots.log_axes(ax, sorted({row["labels"] for row in found["rows"]}))
        ax.set_title(f"{temperature:g} K", fontsize=9)
    plots.legend_above(figure, axes, columns=2)
    return figure


def _series(
    ax: Any, rows: list[dict[str, Any]], label: str, colour: str, arm: str, shift: float
) -> None:
    for row in rows:
        low, high = row["rate_interval_per_ns"]
        rate, x = row["rate_per_ns"], row["labels"] * shift
        if rate is None or high is None:
            continue
        if row["failures"] == 0:
            ax.plot(x, high, marker="v", color=colour, mfc="none", ls="", ms=8, label=label)
            continue
        reach = [[rate - (low or 0.0)], [high - rate]]
        ax.errorbar(
            x, rate, reach, color=colour, marker=plots.marker(arm), ms=6, capsize=3, label=label,
            ls="",
        )  # fmt: skip
