"""``campaign cancel``, ``retry`` and ``why``: looking after what was launched.

Words for a person; what is said is found out by `campaign.why` and `quarantine`.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from campaign.attempts import Attempt
from campaign.cli.options import (
    FolderArgument,
    JsonOption,
    WorkspaceOption,
    open_campaign,
    say,
)
from campaign.quarantine import CAUSES
from campaign.why import Explanation

__all__ = ["cancel", "retry", "why"]


def _console() -> Console:
    """Console for lines that hold anything: paths, messages of other programs."""
    return Console(highlight=False, markup=False, soft_wrap=True)


def cancel(
    folder: FolderArgument,
    drain: Annotated[
        bool, typer.Option("--drain", help="Let tasks in flight end first, however long it takes.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop a launch, on whatever host it runs, and end all its processes and jobs."""
    done = open_campaign(folder, workspace).cancel(drain=drain)
    if as_json:
        say(asdict(done))
        return
    console = _console()
    if done.driver:
        console.print(f"stopped: the driver, pid {done.driver['pid']} on {done.driver['host']}")
    if done.jobs or done.processes:
        console.print(
            f"ended what a dead driver had left: {len(done.processes)} processes, jobs "
            f"{', '.join(done.jobs) or 'none'}"
        )
    console.print(f"nothing of it is queued or running; `campaign launch {folder}` goes on")


def retry(
    folder: FolderArgument,
    items: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ITEM]...",
            help="Labels, stages or beginnings of fingerprints; by default all in quarantine.",
            show_default=False,
        ),
    ] = None,
    cause: Annotated[
        str | None, typer.Option(help=f"Only what is in quarantine by: {', '.join(CAUSES)}.")
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option(help="Use this host again, which was left out; repeatable."),
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lift quarantines: the next launch tries these items, or uses these hosts, again."""
    campaign = open_campaign(folder, workspace)
    taken_back = campaign.take_back_hosts(host) if host else []
    hosts_alone = bool(host) and not items and cause is None
    lifted = [] if hosts_alone else campaign.retry(items or [], cause)
    if as_json:
        hosts = [asdict(entry) for entry in taken_back]
        say({"lifted": [asdict(entry) for entry in lifted], "hosts_taken_back": hosts})
        return
    console = _console()
    for left_out in taken_back:
        console.print(f"taken back: host {left_out.host} of site {left_out.site}")
    if hosts_alone:
        return
    for entry in lifted:
        console.print(f"lifted: {entry.in_words}")
    next_step = f"next: `campaign launch {folder}` tries them again, with fresh tries"
    by_cause = f" by cause {cause}" if cause else ""
    console.print(next_step if lifted else f"nothing is in quarantine{by_cause}")


def why(
    folder: FolderArgument,
    item: Annotated[
        str, typer.Argument(help="Label, beginning of a fingerprint, or stage of one item.")
    ],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what an item is, what became of it, and what to do about it."""
    found = open_campaign(folder, workspace).why(item)
    if as_json:
        say(found.to_json())
        return
    _console().print(_in_words(found))


def _in_words(found: Explanation) -> str:
    lines = [
        f"{found.label}  ({found.stage}, fingerprint {found.fingerprint[:16]})",
        f"state: {found.state}",
        *(f"  {detail}" for detail in found.details),
        f"tries: {len(found.attempts) or 'none yet'}",
        *(f"  {_attempt_in_words(attempt)}" for attempt in found.attempts),
    ]
    if found.traceback:
        lines += ["last lines of its traceback:", *(f"  {line}" for line in found.traceback)]
    if found.block_log:
        lines += ["last lines of its block's log:", *(f"  {line}" for line in found.block_log)]
    return "\n".join([*lines, f"what to do: {found.advice}"])


def _attempt_in_words(attempt: Attempt) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(attempt.started_unix))
    told = [f"{when}  {attempt.outcome}"]
    told += [f"on {attempt.host}"] if attempt.host else []
    told += [f"job {attempt.job}"] if attempt.job else []
    told += [f"{attempt.wall_s:.1f} s"] if attempt.wall_s is not None else []
    told += [f"{attempt.peak_rss_MB:.0f} MB at most"] if attempt.peak_rss_MB is not None else []
    first_line = attempt.message.partition("\n")[0]
    line = ", ".join(told) + (f": {first_line}" if first_line else "")
    return f"{line}\n    why: {attempt.cause}" if attempt.cause else line
