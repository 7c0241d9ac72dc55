"""What the terminal shows: live progress per stage, and results as tables.

On a terminal progress is one table, redrawn; elsewhere (a log, CI) a line is written when a stage
moved, at most one every few seconds per stage. Nothing is computed here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from campaign.left_out import LeftOut
from campaign.plan.power import Power
from campaign.progress import Progress, StageProgress
from campaign.quarantine import Quarantined

__all__ = [
    "LineDisplay",
    "LiveDisplay",
    "console_for",
    "left_out_in_words",
    "power_in_words",
    "print_report",
    "progress_table",
    "progress_view",
]

_WIDTH_OF_LOGS = 120

_SECONDS_BETWEEN_LINES = 10.0

_SHOWN = 20


def console_for(*, stderr: bool = False) -> Console:
    """Console of this terminal; where there is none, lines are wide enough for the tables."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=_WIDTH_OF_LOGS)


def progress_table(progress: Progress) -> Table:
    """Table of all stages."""
    table = Table(box=None, pad_edge=False)
    for name, justify in (("stage", "left"), ("", "left"), ("done", "right"), ("running", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    table.add_column("failed", justify="right")
    for stage in progress.stages:
        failed = f"[red]{stage.failed}[/red]" if stage.failed else "0"
        table.add_row(
            stage.title, _bar(stage), f"{stage.done}/{stage.total}", str(stage.running), failed
        )
    return table


def progress_view(progress: Progress) -> Group:
    """Table of all stages, and below it what is in quarantine, and which hosts are left out."""
    lines = left_out_in_words(progress.quarantined) + _hosts_in_words(progress.hosts_left_out)
    return Group(progress_table(progress), *map(Text, lines))


def left_out_in_words(entries: Sequence[Quarantined], blocked: int = 0) -> list[str]:
    """Lines on what is in quarantine, how many parts need it, and how to have it tried again."""
    lines = [f"quarantined: {entry.in_words}" for entry in entries[:_SHOWN]]
    if len(entries) > _SHOWN:
        lines.append(f"quarantined: {len(entries) - _SHOWN} more; --json lists all")
    needing = f" and {blocked} that need those" if blocked else ""
    if entries:
        lines.append(
            f"left out: {len(entries)} in quarantine{needing}; `campaign why FOLDER ITEM` says "
            "more, `campaign retry FOLDER` has them tried again"
        )
    return lines


def _hosts_in_words(hosts: Sequence[LeftOut]) -> list[str]:
    lines = [entry.in_words for entry in hosts]
    if any(entry.avoided for entry in hosts):
        lines.append("`campaign retry FOLDER --host NAME` has a host used again")
    return lines


def _bar(stage: StageProgress, width: int = 24) -> str:
    filled = width * stage.done // stage.total if stage.total else width
    colour = "green" if stage.complete else "cyan"
    return f"[{colour}]{'━' * filled}[/{colour}][dim]{'━' * (width - filled)}[/dim]"


class LiveDisplay:
    """Progress redrawn in place, for a terminal."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=4)

    def __enter__(self) -> LiveDisplay:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def __call__(self, progress: Progress) -> None:
        """Show this state."""
        self._live.update(progress_view(progress))


class LineDisplay:
    """Progress as lines, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._shown: dict[str, tuple[float, StageProgress]] = {}
        self._quarantined: set[str] | None = None
        self._hosts: set[LeftOut] = set()

    def __enter__(self) -> LineDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __call__(self, progress: Progress) -> None:
        """Write a line for each stage that moved, finished ones at once."""
        self._say_quarantined(progress.quarantined)
        new = [entry for entry in progress.hosts_left_out if entry not in self._hosts]
        self._hosts.update(new)
        self._say(_hosts_in_words(new))
        now = time.monotonic()
        for stage in progress.stages:
            when, before = self._shown.get(stage.stage, (-math.inf, None))
            if stage == before or not (stage.done or stage.running or stage.failed):
                continue
            ended = stage.complete and (before is None or not before.complete)
            if ended or now - when >= _SECONDS_BETWEEN_LINES:
                self._shown[stage.stage] = (now, stage)
                self._console.print(_line(stage, now - self._started), highlight=False)

    def _say_quarantined(self, entries: Sequence[Quarantined]) -> None:
        """All that earlier launches left in quarantine, once; then what is new in it."""
        if self._quarantined is None:
            lines = left_out_in_words(entries)
        else:
            new = [entry for entry in entries if entry.fingerprint not in self._quarantined]
            lines = [f"quarantined: {entry.in_words}" for entry in new]
        self._quarantined = {entry.fingerprint for entry in entries}
        self._say(lines)

    def _say(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def _line(stage: StageProgress, elapsed_s: float) -> str:
    text = f"[{elapsed_s:6.0f} s] {stage.title:<20} {stage.done}/{stage.total} done"
    text += f", {stage.running} running" if stage.running else ""
    return text.replace("[", r"\[", 1) + (f", {stage.failed} failed" if stage.failed else "")


def power_in_words(power: Power) -> str:
    """What the replicas of a campaign can tell, in two lines."""
    high, low = power.failed_fractions
    return (
        f"to tell a rate ratio of {power.rate_ratio:g} (a failed fraction of {high:.2f} from "
        f"{low:.2f}; 80 % power) takes {power.replicas_needed} replicas over "
        f"{power.models_needed} models per arm,\npool and temperature; there are {power.replicas} "
        f"over {power.models}: {'enough' if power.enough else 'too few'}, under the guesses of "
        r"\[comparison]"
    )


def print_report(console: Console, report: dict[str, Any]) -> None:
    """Failure rates of all arms with their intervals, and the comparisons."""
    console.print(_rates_table(report))
    if report["comparisons"]:
        console.print(_comparison_table(report))


def _rates_table(report: dict[str, Any]) -> Table:
    table = Table(title="Failures of molecular dynamics", title_justify="left", box=None)
    for name in ("arm", "labels", "seed", "T (K)"):
        table.add_column(name)
    for name in ("failed", "fraction [95 %]", "rate per ns [95 %]", "force MAE (meV/Å)"):
        table.add_column(name, justify="right")
    for row in report["results"]:
        table.add_row(
            row["arm"],
            str(row["labels"]),
            str(row["seed"]),
            f"{row['temperature_K']:g}",
            f"{row['failures']}/{row['replicas']}",
            _with_interval(row["failed_fraction"], row["failed_fraction_interval"], "{:.2f}"),
            _with_interval(row["rate_per_ns"], row["rate_interval_per_ns"], "{:.3g}"),
            _number(_times(row["force_mae_eV_per_A"], 1000.0), "{:.0f}"),
        )
    table.caption = "Intervals of a row are conditional on its model."
    return table


def _comparison_table(report: dict[str, Any]) -> Table:
    table = Table(title="Arms compared", title_justify="left", box=None)
    for name in ("labels", "T (K)", "compared"):
        table.add_column(name)
    for name in ("seeds", "rate ratio [95 %]", "log-rank p", "adjusted p", "paired p"):
        table.add_column(name, justify="right")
    for row in report["comparisons"]:
        table.add_row(
            str(row["labels"]),
            f"{row['temperature_K']:g}",
            f"{row['against']} / pretrained",
            str(row["seeds"]),
            _ratio(row),
            _number(row["logrank_p"], "{:.2g}"),
            _number(row["logrank_p_adjusted"], "{:.2g}"),
            _number(row["paired_permutation_p"], "{:.2g}"),
        )
    table.caption = (
        "Adjusted: over all comparisons (Holm). Paired: flips over s seeds, never below 2^(1-s)."
    )
    return table


def _ratio(row: dict[str, Any]) -> str:
    if not any(row["failures"]):
        return "– (nothing failed)"
    return _with_interval(row["rate_ratio"], row["rate_ratio_interval"], "{:.3g}")


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _with_interval(value: float | None, interval: list[float | None] | None, form: str) -> str:
    if interval is None:
        return _number(value, form)
    low, high = interval
    bounds = f"{_number(low, form)}, {'∞' if high is None else form.format(high)}"
    return rf"{'∞' if value is None else form.format(value)} \[{bounds}]"
