"""What labels buy: errors against the number of labels, and how many labels the teacher saves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from campaign.report.inputs import ReportInputs
from campaign.report.plots import arm_colour, legend_above, log_axes, marker, panels
from campaign.statistics.errors import mean_error
from campaign.statistics.labels_saved import LabelsNeeded, PoolFailures, labels_needed
from campaign.statistics.rates import exposure_ps
from data_store.streams import stream

__all__ = ["errors_figure", "labels_saved", "learning_curve", "saved_in_words"]

_QUANTITIES = (
    ("force_mae_eV_per_A", 1000.0, "force MAE (meV/Å)"),
    ("energy_mae_meV_per_atom", 1.0, "energy MAE (meV/atom)"),
)


def learning_curve(inputs: ReportInputs) -> Iterator[dict[str, Any]]:
    """Rows of ``learning_curve`` in `report.json`: errors of an arm and pool over seeds."""
    for arm, labels in sorted({(m.arm, m.labels) for m, errors in inputs.errors.items() if errors}):
        row: dict[str, Any] = {"arm": arm, "labels": labels}
        for name, _, _ in _QUANTITIES:
            values = _values(inputs, name)[arm][labels]
            found = mean_error(values) if values else None
            row["seeds"] = len(values)
            row[name] = found.value if found else None
            row[f"{name}_interval"] = found.interval if found and len(values) > 1 else None
        yield row


def _values(inputs: ReportInputs, name: str) -> dict[str, dict[int, list[float]]]:
    """Finite errors of single models, by arm and labels."""
    points: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for model, errors in sorted(inputs.errors.items()):
        if errors and np.isfinite(errors[name]) and errors[name] > 0.0:
            points[model.arm][model.labels].append(errors[name])
    return points


def errors_figure(inputs: ReportInputs) -> Figure:
    """Force and energy error on the test set against the number of labels; a dot per seed."""
    figure, axes = panels(2, 3.6, 2.7)
    pools = sorted({model.labels for model in inputs.errors})
    arms = sorted({model.arm for model in inputs.errors})
    for ax, (name, factor, title) in zip(axes, _QUANTITIES, strict=False):
        for arm, by_labels in _values(inputs, name).items():
            shift = 1.03 ** (arms.index(arm) - 0.5 * (len(arms) - 1))
            x = sorted(by_labels)
            found = [mean_error(by_labels[n]) for n in x]
            means = np.array([f.value for f in found], dtype=np.float64)
            low, high = (
                np.array([getattr(f, side) or f.value for f in found], dtype=np.float64)
                for side in ("low", "high")
            )
            colour, places = arm_colour(arm), shift * np.array(x)
            ax.errorbar(
                places, factor * means, factor * np.array([means - low, high - means]),
                color=colour, marker=marker(arm), ms=5, capsize=3, label=arm,
            )  # fmt: skip
            for place, n in zip(places, x, strict=True):
                values = factor * np.array(by_labels[n])
                ax.plot(np.full(len(values), place), values, ".", color=colour, alpha=0.5)
        points = [e for by_labels in _values(inputs, name).values() for e in by_labels.values()]
        if points:  # an interval over two seeds would leave the points no room
            every = factor * np.concatenate(points)
            ax.set_ylim(every.min() / 1.8, every.max() * 1.8)
        ax.set_ylabel(title)
        log_axes(ax, pools)
    legend_above(figure, axes)
    return figure


def labels_saved(inputs: ReportInputs, base_arm: str) -> Iterator[dict[str, Any]]:
    """Rows of ``labels_saved`` in `report.json`.

    By temperature, other arm, and pool of the pre-trained arm: labels at which the other arm fails
    as seldom.
    """
    pools = _pools(inputs)
    for temperature, arm in sorted({(t, a) for t, a in pools if a != base_arm}):
        others = list(pools[temperature, arm].values())
        for labels, target in sorted(pools.get((temperature, base_arm), {}).items()):
            rng = stream(0, "labels saved", arm, repr(temperature), labels)
            yield {
                "against": arm,
                "temperature_K": temperature,
                "labels": labels,
                **_row(labels_needed(target, others, rng), labels),
                "interval_kind": "random effects over seeds, 95 %"
                if len(target.failures) > 1
                else "95 %, conditional on these models",
            }


def _pools(inputs: ReportInputs) -> dict[tuple[float, str], dict[int, PoolFailures]]:
    """Failures of all models, by temperature and arm, then by labels."""
    models: dict[tuple[float, str, int], list[tuple[int, float]]] = defaultdict(list)
    for (model, temperature), runs in sorted(inputs.runs.items(), key=lambda item: item[0]):
        counted = (sum(run.failed for run in runs), exposure_ps(runs))
        models[temperature, model.arm, model.labels].append(counted)
    found: dict[tuple[float, str], dict[int, PoolFailures]] = defaultdict(dict)
    for (temperature, arm, labels), counts in models.items():
        failures, exposures = np.array(counts, dtype=np.float64).T
        found[temperature, arm][labels] = PoolFailures(labels, failures, exposures)
    return dict(found)


def _row(found: LabelsNeeded, labels: int) -> dict[str, Any]:
    high = None if found.high is None else found.high - labels
    return {
        "labels_needed": found.value,
        "labels_needed_interval": [found.low, found.high],
        "labels_saved": None if found.value is None else found.value - labels,
        "labels_saved_interval": [found.low - labels, high],
        "more_than": found.more_than,
        "reason": found.reason,
    }


def saved_in_words(row: dict[str, Any]) -> str:
    """One row of ``labels_saved`` as a sentence."""
    case = (
        f"At {row['temperature_K']:g} K, to fail as seldom as arm pretrained does with "
        f"{row['labels']} labels, arm {row['against']}"
    )
    low, high = row["labels_needed_interval"]
    below = "fewer than its smallest pool" if low == 0.0 else f"{low:.0f}"
    beyond = "more than its largest pool" if high is None else f"{high:.0f}"
    if row["labels_needed"] is not None:
        text = f"{case} needs about {row['labels_needed']:.0f} labels (95 %: {below} to {beyond})"
        return f"{text}, which is {_difference(row['labels_saved'])}."
    if row["more_than"] is not None:
        bound = f"more than {row['more_than']:.0f} labels are needed (97.5 %)"
        return f"{case} has too few: {row['reason']}; {bound}."
    return f"{case} gives no number: {row['reason']} (95 %: {below} to {beyond})."


def _difference(saved: float) -> str:
    return f"{saved:.0f} saved" if saved >= 0.0 else f"{-saved:.0f} fewer than pretrained has"
