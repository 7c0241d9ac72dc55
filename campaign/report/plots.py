"""Figures of the report, each a function from inputs to one image; one style for all.

Drawn with matplotlib's figures directly (no global state), returned as inline SVG, or PNG where
there are many points. Colours are told apart by the colour-blind (Okabe and Ito).
"""

from __future__ import annotations

import base64
import io
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from campaign.report.active import mean_calls
from campaign.report.inputs import ReportInputs
from campaign.statistics.rates import exposure_ps, failure_rate
from campaign.statistics.survival import kaplan_meier
from data_store.runs import Run

__all__ = [
    "arm_colour",
    "causes_figure",
    "curves_figure",
    "legend_above",
    "log_axes",
    "marker",
    "panels",
    "parity_figure",
    "png",
    "rates_figure",
    "survival_figure",
    "svg",
]

_COLOURS = {
    "pretrained": "#0072B2",
    "scratch": "#D55E00",
    "scratch_long": "#009E73",
    "teacher": "#555555",
}
_MARKERS = {"pretrained": "o", "scratch": "s", "scratch_long": "^"}
_STYLE = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "svg.hashsalt": "campaign",
    "svg.fonttype": "path",
}


def arm_colour(arm: str) -> str:
    """Colour of an arm."""
    return _COLOURS.get(arm, "#CC79A7")


def marker(arm: str) -> str:
    """Marker of an arm."""
    return _MARKERS.get(arm, "D")


def svg(figure: Figure) -> str:
    """Inline SVG of a figure."""
    buffer = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def png(figure: Figure) -> str:
    """PNG of a figure as an ``img`` tag with its data inside."""
    buffer = io.BytesIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="figure, described below" src="data:image/png;base64,{data}">'


def panels(
    count: int, width: float = 3.2, height: float = 2.5, columns: int = 3
) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels in the one style; places left over are blank."""
    with mpl.rc_context(_STYLE):
        columns = min(max(count, 1), columns)
        rows = -(-max(count, 1) // columns)
        figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        axes = list(grid.flat)
        for unused in axes[count:]:
            unused.set_axis_off()
    return figure, axes


def legend_above(figure: Figure, axes: Sequence[Axes], columns: int | None = None) -> None:
    """One legend for all panels, where it hides nothing; by default in one row."""
    entries: dict[str, Any] = {}
    for ax in axes:
        entries |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    if entries:
        figure.legend(
            list(entries.values()), list(entries), loc="outside upper center",
            ncols=columns or len(entries), frameon=False,
        )  # fmt: skip


def log_axes(ax: Axes, pools: Sequence[int]) -> None:
    """Both axes logarithmic, pools by name below."""
    ax.set(xscale="log", yscale="log", xlabel="labels")
    ax.set_xticks(pools, [str(pool) for pool in pools])
    ax.minorticks_off()
    _log_side(ax)


def _log_side(ax: Axes) -> None:
    """Ticks of a logarithmic side in plain numbers, enough of them whatever the range."""
    low, high = ax.get_ylim()
    decades = np.log10(high / low)
    finer = (1.0, 2.0, 3.0, 5.0, 7.0) if decades < 1.0 else (1.0, 2.0, 5.0)
    subs = finer if decades < 2.5 else (1.0,)
    ax.yaxis.set_major_locator(LogLocator(subs=subs))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _pooled(inputs: ReportInputs) -> dict[tuple[int, float, str], list[Run]]:
    """Runs of all seeds, by labels, temperature and arm."""
    pooled: dict[tuple[int, float, str], list[Run]] = defaultdict(list)
    for (model, temperature), runs in sorted(inputs.runs.items(), key=lambda item: item[0]):
        pooled[model.labels, temperature, model.arm] += runs
    return pooled


def survival_figure(inputs: ReportInputs) -> Figure:
    """Kaplan–Meier curves of the arms, a panel per pool and temperature, a row per pool."""
    pooled = _pooled(inputs)
    cases = sorted({(labels, temperature) for labels, temperature, _ in pooled})
    temperatures = len({temperature for _, temperature in cases})
    figure, axes = panels(len(cases), columns=temperatures if temperatures in {2, 3} else 3)
    for ax, (labels, temperature) in zip(axes, cases, strict=False):
        for (n, t, arm), runs in pooled.items():
            if (n, t) != (labels, temperature):
                continue
            curve, colour = kaplan_meier(runs), arm_colour(arm)
            end = max(run.time_ps for run in runs)
            times = np.append(curve.times_ps, max(end, curve.times_ps[-1]))
            steps: dict[str, Any] = {"step": "post", "color": colour, "alpha": 0.18, "lw": 0}
            low, high = (np.append(band, band[-1]) for band in (curve.low, curve.high))
            ax.fill_between(times, low, high, **steps)
            survival = np.append(curve.survival, curve.survival[-1])
            ax.step(times, survival, where="post", color=colour, label=arm, lw=1.6)
        ax.set(ylim=(-0.03, 1.03), xlabel="time (ps)", ylabel="share surviving")
        ax.set_title(f"{labels} labels, {temperature:g} K", fontsize=9)
    legend_above(figure, axes)
    return figure


def rates_figure(inputs: ReportInputs) -> Figure:
    """Failure rate per arm and pool with intervals, a panel per temperature.

    Small marks are single models, large ones all seeds pooled; an arrow is an upper bound where
    nothing failed. Models of active learning stand at the expert calls of their chains; large marks
    at the mean.
    """
    temperatures = sorted({temperature for _, temperature in inputs.runs})
    arms = sorted({model.arm for model, _ in inputs.runs})
    figure, axes = panels(len(temperatures), 4.0, 2.9)
    for ax, temperature in zip(axes, temperatures, strict=False):
        for offset, arm in enumerate(arms):
            _rate_marks(ax, inputs, arm, temperature, 1.06 ** (offset - 0.5 * (len(arms) - 1)))
        ax.set_ylabel("failures per ns")
        log_axes(ax, sorted({model.labels for model, _ in inputs.runs}))
        if inputs.calls:
            ax.set_xlabel("expert calls")
        ax.set_title(f"{temperature:g} K", fontsize=9)
    legend_above(figure, axes)
    return figure


def _rate_marks(ax: Axes, inputs: ReportInputs, arm: str, temperature: float, shift: float) -> None:
    colour = arm_colour(arm)
    labelled = False
    for (labels, t, name), runs in _pooled(inputs).items():
        if (t, name) != (temperature, arm):
            continue
        failures = sum(run.failed for run in runs)
        found = failure_rate(failures, exposure_ps(runs))
        if found.value is None or found.high is None:
            continue
        models = [m for m, at in inputs.runs if (m.arm, m.labels, at) == (arm, labels, temperature)]
        x, label = mean_calls(inputs, models) * shift, None if labelled else arm
        labelled = True
        if failures == 0:
            ax.plot(x, found.high, marker="v", color=colour, ms=8, label=label, mfc="none", ls="")
            continue
        below, above = found.value - (found.low or 0.0), found.high - found.value
        ax.errorbar(
            x, found.value, [[below], [above]], color=colour, marker=marker(arm), ms=6, capsize=3,
            label=label, ls="",
        )  # fmt: skip
    for (model, t), runs in inputs.runs.items():
        failures = sum(run.failed for run in runs)
        rate = failure_rate(failures, exposure_ps(runs)).value
        if (model.arm, t) == (arm, temperature) and rate:
            place = mean_calls(inputs, [model]) * shift
            ax.plot(place, rate, marker=".", color=colour, alpha=0.5)


def causes_figure(inputs: ReportInputs) -> Figure:
    """Failures by cause, a bar per arm."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for (model, _), runs in inputs.runs.items():
        counts[model.arm].update(run.cause for run in runs if run.failed)
    causes = sorted({cause for found in counts.values() for cause in found})
    figure, (ax,) = panels(1, 4.6, 2.5)
    places = np.arange(len(causes), dtype=np.float64)
    height = 0.8 / max(len(counts), 1)
    for index, (arm, found) in enumerate(sorted(counts.items())):
        values = [found[cause] for cause in causes]
        ax.barh(places + index * height, values, height, color=arm_colour(arm), label=arm)
    middle = places + 0.5 * height * (len(counts) - 1)
    ax.set_yticks(middle, [cause.replace("_", " ") for cause in causes])
    ax.set_xlabel("failed replicas, all pools, seeds and temperatures")
    ax.set_ylim(places[-1] + height * len(counts), -0.6 * height)
    legend_above(figure, [ax])
    return figure


def parity_figure(inputs: ReportInputs) -> Figure:
    """Predicted against label forces of the largest pool, a panel per arm (first seed)."""
    largest = max(model.labels for model in inputs.parity)
    chosen: dict[str, Any] = {}
    for model, values in sorted(inputs.parity.items()):
        if model.labels == largest and "force_label" in values:
            chosen.setdefault(model.arm, values)
    figure, axes = panels(len(chosen), 3.0, 2.9)
    for ax, (arm, values) in zip(axes, chosen.items(), strict=False):
        label, predicted = values["force_label"], values["force_predicted"]
        reach = float(np.abs(label).max()) * 1.05
        ax.plot([-reach, reach], [-reach, reach], color="#888888", lw=0.8)
        ax.plot(label, predicted, ".", color=arm_colour(arm), ms=2, alpha=0.4)
        ax.set(xlabel="label force (eV/Å)", ylabel="predicted force (eV/Å)")
        ax.set_xlim(-reach, reach)
        ax.set_ylim(-reach, reach)
        ax.set_title(f"{arm}, {largest} labels", fontsize=9)
    return figure


def curves_figure(inputs: ReportInputs) -> Figure:
    """Validation force error by step: pre-training, then fine-tuning by pool."""
    tuned = [curve for curve in inputs.curves if curve.arm != "teacher"]
    teacher = [curve for curve in inputs.curves if curve.arm == "teacher"]
    shown = [pair for pair in (("pre-training", teacher), ("fine-tuning", tuned)) if pair[1]]
    figure, axes = panels(len(shown), 3.6, 2.7)
    for ax, (title, curves) in zip(axes, shown, strict=False):
        named: set[str] = set()
        for curve in curves:
            steps, values = _series(curve.rows)
            label = None if curve.arm in named else curve.arm
            named.add(curve.arm)
            ax.plot(steps, values, color=arm_colour(curve.arm), lw=1.0, alpha=0.8, label=label)
        ax.set(yscale="log", xlabel="step", ylabel="validation force MAE (eV/Å)")
        _log_side(ax)
        ax.set_title(title, fontsize=9)
        if curves is tuned:
            ax.legend(loc="upper right")
    return figure


def _series(rows: Sequence[dict[str, float]]) -> tuple[list[float], list[float]]:
    return (
        [row["step"] for row in rows],
        [row["validation_force_mae_eV_per_A"] for row in rows],
    )
