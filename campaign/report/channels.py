"""Reaction channels in the report: barriers along published paths, by model, and what labels buy.

Predictions are those on the test set, which holds the paths and the channels that were held out of
all pools; nothing is evaluated here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from campaign.report.channel_set import ChannelSet
from campaign.report.plots import arm_colour, legend_above, log_axes, marker, panels
from campaign.statistics.barriers import (
    CHEMICAL_ACCURACY_eV,
    barriers_of,
    enough_labels,
    mean_barrier_error,
)
from campaign.statistics.errors import mean_error

__all__ = [
    "channel_results",
    "channel_rows",
    "channel_table",
    "channels_figure",
    "enough_in_words",
]

_GROUPS = {False: "channels that pools hold", True: "channels held out of all pools"}


def channel_rows(
    channels: ChannelSet, parity: Mapping[Any, Mapping[str, NDArray[Any]]]
) -> Iterator[dict[str, Any]]:
    """Rows for each model and channel: errors of energies, and of barriers where there is a path.

    Parameters
    ----------
    channels : ChannelSet
    parity : mapping of Model to mapping of str to ndarray
        ``energy_label`` and ``energy_predicted`` on the test set, in eV.
    """
    for model, values in sorted(parity.items(), key=lambda item: item[0]):
        if "energy_label" not in values:
            continue
        label, predicted = (values[f"energy_{kind}"] for kind in ("label", "predicted"))
        reference = barriers_of(label, channels.paths)
        found = barriers_of(predicted, channels.paths)
        for name, rows in sorted(channels.rows.items()):
            at = list(rows)
            path = name in channels.paths
            yield {
                "arm": model.arm,
                "labels": model.labels,
                "seed": model.seed,
                "channel": name,
                "held_out": name in channels.held_out,
                "frames": len(rows),
                "energy_mae_eV": float(np.abs(predicted[at] - label[at]).mean()),
                "ends": list(channels.ends[name]) if path else None,
                "barriers_label_eV": _both(reference[name]) if path else None,
                "barriers_eV": _both(found[name]) if path else None,
            }


def _both(barrier: Any) -> list[float]:
    return [barrier.from_first, barrier.from_last]


def channel_results(
    channels: ChannelSet | None, parity: Mapping[Any, Mapping[str, NDArray[Any]]]
) -> dict[str, Any] | None:
    """``channels`` of `report.json`; None where there are none.

    ``curve`` has the mean absolute error of barriers against the number of labels, apart for
    channels that pools hold and those held out; ``enough`` the smallest pool from which on it is
    within chemical accuracy.
    """
    if channels is None:
        return None
    errors = _errors(channels, parity)
    curve, enough = [], []
    for (held_out, arm), by_labels in sorted(errors.items()):
        for labels, values in sorted(by_labels.items()):
            found = mean_error(values) if min(values) > 0.0 else None
            curve.append(
                {
                    "arm": arm,
                    "labels": labels,
                    "held_out": held_out,
                    "seeds": len(values),
                    "barrier_mae_eV": found.value if found else float(np.mean(values)),
                    "barrier_mae_interval_eV": found.interval
                    if found and len(values) > 1
                    else None,
                }
            )
        enough.append(
            {
                "arm": arm,
                "held_out": held_out,
                "bound_eV": CHEMICAL_ACCURACY_eV,
                "labels": enough_labels(by_labels, CHEMICAL_ACCURACY_eV),
                "seeds": min(len(values) for values in by_labels.values()),
                "largest_pool": max(by_labels),
            }
        )
    rows = list(channel_rows(channels, parity))
    return {"table": channels.table, "rows": rows, "curve": curve, "enough": enough}


def _errors(
    channels: ChannelSet, parity: Mapping[Any, Mapping[str, NDArray[Any]]]
) -> dict[tuple[bool, str], dict[int, list[float]]]:
    """Mean barrier error of each model, by whether channels were held out and arm, then labels."""
    errors: dict[tuple[bool, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for model, values in sorted(parity.items(), key=lambda item: item[0]):
        for held_out in (False, True):
            paths = {
                n: p for n, p in channels.paths.items() if (n in channels.held_out) is held_out
            }
            if paths and "energy_label" in values:
                reference = barriers_of(values["energy_label"], paths)
                found = barriers_of(values["energy_predicted"], paths)
                error = mean_barrier_error(found, reference)
                errors[held_out, model.arm][model.labels].append(error)
    return errors


def channel_table(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows for a reader: each channel and arm at its largest pool, means over seeds."""
    grouped: dict[tuple[str, str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in results["rows"]:
        grouped[row["channel"], row["arm"], row["labels"]].append(row)
    largest = {arm: max(n for _, a, n in grouped if a == arm) for _, arm, _ in grouped}
    return [
        {
            **{key: rows[0][key] for key in ("channel", "held_out", "arm", "labels")},
            "seeds": len(rows),
            "path": " … ".join(rows[0]["ends"]) if rows[0]["ends"] else "–",
            "label": _in_words([row["barriers_label_eV"] for row in rows]),
            "model": _in_words([row["barriers_eV"] for row in rows]),
            "energy_mae_eV": float(np.mean([row["energy_mae_eV"] for row in rows])),
        }
        for (_, arm, labels), rows in sorted(grouped.items())
        if labels == largest[arm]
    ]


def _in_words(barriers: list[list[float] | None]) -> str:
    """Means of both barriers over rows; a dash where there is no path."""
    given = [both for both in barriers if both is not None]
    if not given:
        return "–"
    return ", ".join(f"{value:.3f}" for value in np.mean(given, axis=0))


def enough_in_words(row: dict[str, Any]) -> str:
    """One row of ``enough`` as a sentence."""
    case = f"Arm {row['arm']}, {_GROUPS[row['held_out']]}"
    bound = f"within {1000.0 * row['bound_eV']:.0f} meV (1 kcal/mol)"
    if row["labels"] is not None:
        return f"{case}: barriers are {bound} from {row['labels']} labels on."
    if row["seeds"] < 2:
        return f"{case}: one seed has no interval, so that no pool can be said to be {bound}."
    return f"{case}: with up to {row['largest_pool']} labels barriers are not {bound}."


def channels_figure(results: dict[str, Any]) -> Figure:
    """Error of barriers against the number of labels, a panel for each group of channels."""
    curve = results["curve"]
    groups = sorted({row["held_out"] for row in curve})
    pools = sorted({row["labels"] for row in curve})
    figure, axes = panels(len(groups), 3.6, 2.7)
    for ax, held_out in zip(axes, groups, strict=False):
        for arm in sorted({row["arm"] for row in curve}):
            rows = [r for r in curve if (r["arm"], r["held_out"]) == (arm, held_out)]
            means = np.array([1000.0 * r["barrier_mae_eV"] for r in rows])
            bounds = [r["barrier_mae_interval_eV"] or [r["barrier_mae_eV"]] * 2 for r in rows]
            low, high = 1000.0 * np.array(bounds, dtype=np.float64).reshape(-1, 2).T
            ax.errorbar(
                [r["labels"] for r in rows], means, np.array([means - low, high - means]),
                color=arm_colour(arm), marker=marker(arm), ms=5, capsize=3, label=arm,
            )  # fmt: skip
        ax.axhline(1000.0 * CHEMICAL_ACCURACY_eV, color="0.5", lw=0.8, ls="--")
        ax.set_ylabel("barrier MAE (meV)")
        ax.set_title(_GROUPS[held_out], fontsize=9)
        log_axes(ax, pools)
    legend_above(figure, axes)
    return figure
