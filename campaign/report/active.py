"""What active learning took and came to: rounds, expert calls, failures of exploration.

A model's place on the axis of expert calls is what its chain had asked for, failed calls included;
of other arms it is the size of their pool. Rounds after the one that ended a chain are not rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from statistics import median
from typing import Any

from campaign.plan.active import ARM, budgets
from campaign.plan.items import PlannedPart
from campaign.report.inputs import Model, ReportInputs
from campaign.spec.model import CampaignSpec
from campaign.statistics.rates import failure_rate
from data_store.parts import Part

__all__ = ["active_in_words", "asked_beyond", "calls_of", "mean_calls", "round_rows"]

_Made = Iterable[tuple[PlannedPart, Part]]


def calls_of(spec: CampaignSpec, acquired: _Made) -> dict[Model, int]:
    """Expert calls behind each model of the arm, the initial labels among them.

    Parameters
    ----------
    spec : CampaignSpec
    acquired : iterable of (PlannedPart, Part)
        Parts of stage `acquire` that are there.
    """
    planned, found = budgets(spec), {}
    for part, made in acquired:
        seeds = [part.key["seed"]] if "seed" in part.key else spec.finetuning.seeds
        for seed in seeds:
            model = Model(ARM, planned[part.key["round"]], seed)
            found[model] = int(made.metadata["calls"])
    return found


def asked_beyond(calls: dict[Model, int]) -> int:
    """Expert calls of all chains beyond the initial labels, which other arms have too."""
    by_seed: dict[int, list[int]] = {}
    for model, count in calls.items():
        by_seed.setdefault(model.seed, []).append(count)
    return sum(max(counts) - min(counts) for counts in by_seed.values())


def mean_calls(inputs: ReportInputs, models: Iterable[Model]) -> float:
    """Mean expert calls behind some models."""
    counts = [inputs.calls.get(model, model.labels) for model in models]
    return sum(counts) / len(counts)


def round_rows(picked: _Made, acquired: _Made) -> Iterator[dict[str, Any]]:
    """Rows of ``active_learning`` in `report.json`: a row is a round of a chain.

    Parameters
    ----------
    picked, acquired : iterable of (PlannedPart, Part)
        Parts of stages `pick` and `acquire` that are there.
    """
    labelled = {_place(part): made.metadata for part, made in acquired if "seed" in part.key}
    for part, made in sorted(picked, key=lambda pair: _place(pair[0])):
        told, after = made.metadata, labelled.get(_place(part))
        if after is None or not told["explored"]:
            continue  # not finished, or the chain was over before
        frames = told["frames"]
        at_failure = int(frames.get("picked_at_failure", 0))
        apart = after.get("nearest_per_A")
        yield {
            "seed": part.key["seed"],
            "round": int(part.key["round"]),
            "calls_before": after["calls"] - after["asked"],
            "explored": [_explored(row) for row in told["explored"]],
            "picked_at_failure": at_failure,
            "picked_by_disagreement": int(frames.get("picked", 0)) - at_failure,
            "frames": frames,
            "expert_calls": after["calls"],
            "labels_added": after["new"],
            "left_out": dict(sorted(Counter(x["reason"] for x in after["left_out"]).items())),
            "nearest_per_A": {"median": median(apart), "largest": max(apart)} if apart else None,
            "over": told["over"] or None,
        }


def _place(part: PlannedPart) -> tuple[int, int]:
    return int(part.key["seed"]), int(part.key["round"])


def _explored(row: dict[str, Any]) -> dict[str, Any]:
    rate = failure_rate(row["failures"], row["exposure_ps"])
    return {**row, "rate_per_ns": rate.value, "rate_interval_per_ns": rate.interval}


def active_in_words(inputs: ReportInputs) -> list[str]:
    """What became of each chain, and how picks were labelled; nothing without the arm."""
    last = {row["seed"]: row for row in inputs.rounds}  # in order of rounds
    if not last:
        return []
    lines = [
        f"Seed {seed}: {row['expert_calls']} expert calls after {row['round']} "
        f"round{'s' if row['round'] > 1 else ''}; "
        + (f"over, since {row['over']}." if row["over"] else "no round found it good enough.")
        for seed, row in last.items()
    ]
    failed = sum(sum(row["left_out"].values()) for row in inputs.rounds)
    if inputs.settings.get("labels", {}).get("source") != "file":
        method = inputs.settings.get("labels", {}).get("labeler", "the expert")
        lines.append(
            f"Picked frames were labelled by {method}, as the other labels were; {failed} calls "
            "gave no usable label and are counted as calls."
        )
        return lines
    apart = [row["nearest_per_A"] for row in inputs.rounds if row["nearest_per_A"]]
    reach = (
        f": in the median round the median distance was {median(x['median'] for x in apart):.3g}, "
        f"the largest of all {max(x['largest'] for x in apart):.3g} per Å (root mean square "
        "difference of sorted inverse distances)"
        if apart
        else ""
    )
    lines.append(
        "No picked frame was computed: each was replaced by the nearest of the published labels "
        "that were withheld from its chain, each label once" + reach + ". Published labels are of "
        "thermal structures, and the nearest to a broken molecule is not broken: this arm learns "
        f"less from its failures than with an expert. {failed} picks found no label left."
    )
    return lines
