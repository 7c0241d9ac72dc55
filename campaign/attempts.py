"""`Attempt`: one try of a part, from the ledger: when, where, what came of it, why it was lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from campaign.execution.blocks import Block, blocks_of_ledger
from campaign.loss_causes import cause_of

__all__ = ["Attempt", "attempts_of"]


@dataclass(frozen=True)
class Attempt:
    """One try.

    Parameters
    ----------
    task : str
    started_unix : float
        When it was handed out.
    outcome : str
        As in the ledger; "in flight", or "no answer" where its driver ended before it.
    host : str
    wall_s, peak_rss_MB : float or None
        None where nobody could measure it.
    message : str
    job : str
        Of the block that it was in, on a cluster.
    cause, advice : str
        Why it was lost, in words, and what to do; empty where it was not.
    log : str
        File that its block wrote its errors to, where it was lost in one.
    """

    task: str
    started_unix: float
    outcome: str
    host: str = ""
    wall_s: float | None = None
    peak_rss_MB: float | None = None
    message: str = ""
    job: str = ""
    cause: str = ""
    advice: str = ""
    log: str = ""


def attempts_of(
    rows: Iterable[dict[str, Any]], fingerprint: str, in_flight: set[str]
) -> Iterator[Attempt]:
    """Yield tries, each hand-out with its answer; a new launch ends those without one.

    Parameters
    ----------
    rows : iterable of dict
        The ledger.
    fingerprint : str
        Of the part.
    in_flight : set of str
        Tasks that are being worked at.
    """
    told = list(rows)
    blocks = {block.job: block for block in blocks_of_ledger(told)}
    handed_out: dict[str, float] = {}
    for row in told:
        event = row.get("event")
        if event == "launched":
            yield from (Attempt(task, when, "no answer") for task, when in handed_out.items())
            handed_out = {}
        if row.get("fingerprint") != fingerprint:
            continue
        if event == "submitted":
            handed_out[row["task"]] = row["unix"]
        elif event == "result":
            yield _attempt(row, handed_out.pop(row["task"], row["unix"]), blocks)
    for task, when in handed_out.items():
        yield Attempt(task, when, "in flight" if task in in_flight else "no answer")


def _attempt(row: Mapping[str, Any], started_unix: float, blocks: Mapping[str, Block]) -> Attempt:
    used = row.get("resources", {})
    job = row.get("job") or used.get("job", "")
    block, lost = blocks.get(job), row["outcome"] == "lost"
    cause, advice = cause_of(row, block) if lost else ("", "")
    return Attempt(
        row["task"], started_unix, row["outcome"],
        row.get("host") or used.get("node") or used.get("host", ""),
        used.get("wall_s"), used.get("peak_rss_MB"), row.get("message", ""),
        job, cause, advice, block.log if block is not None and lost else "",
    )  # fmt: skip
