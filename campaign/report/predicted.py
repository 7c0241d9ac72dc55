"""Node-hours predicted and taken, by stage, over all launches of a workspace, from its ledger.

Each launch predicted what it had left to do. Of that, the share counts that it did: a launch that
was stopped half-way is held to half of its prediction. What was taken is the time of workers, as
they told it, times the share of a node that each had; what a killed worker had used is not known.
A stage that a launch worked at without a prediction is said to have none for that launch. All
together is compared for launches that came to their end: there, blocks that start and workers
without work are in both numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from campaign.costs.ranges import Range, total
from campaign.execution.blocks import blocks_of_ledger
from campaign.plan.stages import STAGES

__all__ = ["ALL", "predicted_rows"]

ALL = "all"
"""Name of the row of all stages together."""

_HOUR_S = 3600.0

Row = Mapping[str, Any]


@dataclass
class _Launch:
    """Rows of one launch.

    Parameters
    ----------
    predicted : dict
        What it said, by stage.
    total : Range or None
        Of all together; None where something was unknown.
    seconds, units : dict of str to float
        Workers' time, and finished units of work, by stage.
    untold : dict of str to int
        Attempts that did not tell their time, by stage.
    rows : list
    """

    predicted: dict[str, Row] = field(default_factory=dict)
    total: Range | None = None
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    units: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    untold: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    rows: list[Row] = field(default_factory=list)

    @property
    def ended(self) -> Row | None:
        """Its last word, if it made all that it meant to."""
        return next((r for r in self.rows if r["event"] == "ended" and r["complete"]), None)


def predicted_rows(events: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows of the comparison, in order of the stages, all together last.

    Each has ``stage``, ``predicted_node_hours`` (low, expected, high, or null), ``node_hours`` that
    it took, their ``ratio`` to the expected, ``within`` whether they lie between low and high,
    ``basis`` and ``note``.
    """
    launches = [launch for launch in _launches(events) if launch.predicted or launch.seconds]
    stages = {stage for launch in launches for stage in launch.seconds}
    rows = [_of_stage(stage, launches) for stage in STAGES if stage in stages]
    return [*rows, *_together(launches)]


def _launches(events: Iterable[Row]) -> Iterator[_Launch]:
    launch, efforts = _Launch(), dict[str, Row]()
    for row in events:
        event = row.get("event")
        if event == "launched":
            yield launch
            launch = _Launch()
        launch.rows.append(row)
        if event == "predicted":
            launch.predicted = {stage["stage"]: stage for stage in row["stages"]}
            launch.total = None if row["unknown"] else Range(**row["total_node_hours"])
        elif event == "submitted" and "effort" in row:
            efforts[row["task"]] = row["effort"]
        elif event == "result":
            _count(launch, row, efforts.get(row["task"]))
    yield launch


def _count(launch: _Launch, row: Row, effort: Row | None) -> None:
    stage = row["stage"]
    if "resources" not in row:
        launch.untold[stage] += 1
        return
    launch.seconds[stage] += row["resources"]["wall_s"]
    unit = launch.predicted.get(stage, {}).get("unit")
    if row["outcome"] == "done" and effort is not None and effort["unit"] == unit:
        launch.units[stage] += effort["amount"]


def _of_stage(stage: str, launches: Sequence[_Launch]) -> dict[str, Any]:
    """One stage over all launches that predicted it; what others did is noted."""
    told = [launch for launch in launches if _hours(launch, stage) is not None]
    without = [launch for launch in launches if launch.seconds[stage] and launch not in told]
    shares = [launch.predicted[stage]["share"] for launch in told]
    taken = sum(
        launch.seconds[stage] * share / _HOUR_S for launch, share in zip(told, shares, strict=True)
    )
    ranges = [
        hours.times(min(1.0, launch.units[stage] / launch.predicted[stage]["units"]))
        for launch in told
        if (hours := _hours(launch, stage)) is not None
    ]
    bases = dict.fromkeys(basis for launch in told for basis in launch.predicted[stage]["basis"])
    notes = []
    if without:
        notes.append(f"no prediction in {len(without)} of {len(without) + len(told)} launches")
    untold = sum(launch.untold[stage] for launch in launches)
    if untold:
        notes.append(f"attempts that did not tell what they took: {untold}")
    return _row(stage, total(ranges) if told else None, taken if told else None, bases, notes)


def _hours(launch: _Launch, stage: str) -> Range | None:
    found = launch.predicted.get(stage, {}).get("node_hours")
    return None if found is None else Range(**found)


def _together(launches: Sequence[_Launch]) -> Iterator[dict[str, Any]]:
    """All stages of launches that came to their end, as machine or cluster counts it."""
    whole = [(one.total, _taken(one)) for one in launches if one.total and one.ended]
    if whole:
        notes = ["with blocks that start and workers without work"]
        if len(whole) < len(launches):
            notes.append(f"{len(whole)} of {len(launches)} launches, which made all they meant to")
        predicted = total(predicted for predicted, _ in whole)
        yield _row(ALL, predicted, sum(taken for _, taken in whole), {}, notes)


def _taken(launch: _Launch) -> float:
    """Node-hours of its blocks, or of the machine while it ran."""
    blocks = blocks_of_ledger(launch.rows)
    if blocks or launch.ended is None:
        return sum(block.node_hours for block in blocks)
    return float(launch.ended["wall_s"]) / _HOUR_S


def _row(
    stage: str, predicted: Range | None, taken: float | None, basis: Iterable[str], notes: list[str]
) -> dict[str, Any]:
    ratio = within = None
    if predicted is not None and taken is not None and predicted.expected > 0.0:
        ratio, within = float(f"{taken / predicted.expected:.4g}"), predicted.holds(taken)
    return {
        "stage": stage,
        "predicted_node_hours": predicted.to_json() if predicted else None,
        "node_hours": None if taken is None else float(f"{taken:.6g}"),
        "ratio": ratio,
        "within": within,
        "basis": list(basis),
        "note": "; ".join(notes),
    }
