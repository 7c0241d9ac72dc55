"""What ``squeue`` says of our jobs: the one question that is asked of Slurm, and its answer read.

``sacct`` is not asked: many clusters have none, and what it says lags. An answer that cannot be
read is no answer, never a job that has ended.
"""

from __future__ import annotations

import getpass
import re
from collections.abc import Mapping
from dataclasses import dataclass

from campaign.execution.blocks import State

__all__ = ["Job", "command", "hosts_in", "read_squeue"]

_FIELDS = ("%i", "%j", "%T", "%M", "%D", "%N", "%r")
_MARK = "\x1f"

STATES: Mapping[str, State] = {
    "PENDING": "pending",
    "CONFIGURING": "pending",
    "REQUEUED": "pending",
    "REQUEUE_HOLD": "pending",
    "REQUEUE_FED": "pending",
    "SPECIAL_EXIT": "failed",
    "RESV_DEL_HOLD": "pending",
    "RUNNING": "running",
    "COMPLETING": "running",
    "STAGE_OUT": "running",
    "SIGNALING": "running",
    "STOPPED": "running",
    "SUSPENDED": "running",
    "RESIZING": "running",
    "COMPLETED": "completed",
    "FAILED": "failed",
    "BOOT_FAIL": "node_fail",
    "NODE_FAIL": "node_fail",
    "OUT_OF_MEMORY": "out_of_memory",
    "TIMEOUT": "timeout",
    "DEADLINE": "timeout",
    "PREEMPTED": "preempted",
    "CANCELLED": "cancelled",
    "REVOKED": "cancelled",
}
"""Slurm's job states (https://slurm.schedmd.com/squeue.html, "Job state codes") as ours."""


@dataclass(frozen=True)
class Job:
    """One job as squeue shows it.

    Parameters
    ----------
    job, name : str
    state : str
        One of `State`.
    elapsed_s : float
    nodes : int
    hosts, reason : str
    """

    job: str
    name: str
    state: State
    elapsed_s: float
    nodes: int
    hosts: str
    reason: str


def command(user: str | None = None) -> str:
    """Shell command that lists all jobs of a user, those that ended lately too."""
    fields = _MARK.join(_FIELDS)
    return f"squeue --noheader --states=all --user={user or getpass.getuser()} --format='{fields}'"


def read_squeue(text: str) -> dict[str, Job]:
    """Jobs of an answer, by id.

    Raises
    ------
    ValueError
        If a line is not what was asked for.
    """
    jobs = [_job(line) for line in text.splitlines() if line.strip()]
    return {job.job: job for job in jobs}


def hosts_in(text: str) -> list[str]:
    """Hosts in a list as Slurm writes it: ``a[01-03,7],b`` is a01, a02, a03, a7 and b."""
    names = []
    for match in re.finditer(r"([^,\[\]]+)(?:\[([^\]]*)\])?([^,\[\]]*)", text):
        head, inside, tail = match.groups()
        names += [f"{head}{number}{tail}" for number in _numbers(inside)]
    return names


def _numbers(inside: str | None) -> list[str]:
    if inside is None:
        return [""]
    numbers = []
    for span in inside.split(","):
        first, _, last = span.partition("-")
        width = len(first)
        numbers += [f"{n:0{width}d}" for n in range(int(first), int(last or first) + 1)]
    return numbers


def _job(line: str) -> Job:
    fields = line.split(_MARK)
    if len(fields) != len(_FIELDS):
        raise ValueError(f"squeue said {line[:200]!r}: {len(_FIELDS)} fields were asked for")
    number, name, state, elapsed, nodes, hosts, reason = (field.strip() for field in fields)
    if state not in STATES:
        raise ValueError(f"squeue said state {state!r} of job {number}: none of Slurm's")
    return Job(
        number, name, STATES[state], _seconds(elapsed), int(nodes), hosts,
        "" if reason == "None" else reason,
    )  # fmt: skip


def _seconds(elapsed: str) -> float:
    """Seconds of ``days-hours:minutes:seconds``, of which the front may lack."""
    if elapsed in {"INVALID", "N/A"}:  # of a job that has not begun, or ended by a clock set back
        return 0.0
    days, _, rest = elapsed.rpartition("-")
    seconds = 0
    for step in rest.split(":"):
        seconds = 60 * seconds + int(step)
    return float(int(days or 0) * 86_400 + seconds)
