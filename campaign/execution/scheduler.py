"""Commands of a batch system that are not Parsl's to give: finding and ending jobs of a workspace.

What an earlier driver left behind is found by the ids in the ledger and by the names of jobs, which
begin with a prefix that belongs to the workspace: a driver may be killed between the submission of
a block and its record.
"""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Iterable
from pathlib import Path

from campaign.execution.shell import answer_of
from campaign.execution.squeue import Job, command, read_squeue
from data_store.errors import Stopped
from data_store.fingerprints import fingerprint

__all__ = ["cancel_jobs", "driver_job_name", "is_for_good", "job_prefix", "jobs_of"]

_FOR_GOOD = (
    "invalid account",
    "invalid partition",
    "invalid qos",
    "invalid feature",
    "invalid constraint",
    "invalid generic resource",
    "invalid node name",
    "node configuration is not available",
    "time limit is invalid",
    "unrecognized option",
    "unknown queue",
    "illegal attribute or resource value",
)
"""What sbatch and qsub say (in small letters) of a block that no waiting would let them take."""

_TRIES, _WAIT_S = 5, 3.0


def job_prefix(workspace: Path) -> str:
    """How the names of all jobs of a workspace begin, and no others."""
    return f"campaign-{fingerprint(str(workspace.resolve()))[:10]}"


def driver_job_name(workspace: Path) -> str:
    """Name of the job that is the workspace's driver; no block's name begins like it."""
    return f"driver-{fingerprint(str(workspace.resolve()))[:10]}"


def is_for_good(refusal: str) -> bool:
    """Whether a scheduler's refusal is one that waiting does not mend."""
    said = refusal.lower()
    return any(words in said for words in _FOR_GOOD)


def jobs_of(scheduler: str, prefix: str, timeout_s: float) -> list[Job]:
    """Jobs of the workspace that are queued or running.

    Raises
    ------
    Stopped
        If the scheduler does not answer: what is there must be known before more is submitted.
    """
    slurm = scheduler == "slurm"
    text = _asked(command() if slurm else _QSTAT, timeout_s)
    try:
        jobs = list(read_squeue(text).values()) if slurm else _read_qstat(text)
    except (ValueError, KeyError) as error:
        raise Stopped(
            f"the scheduler's list of jobs cannot be read: {error}",
            "the same command goes on when it answers again",
        ) from error
    return [j for j in jobs if j.name.startswith(prefix) and j.state in {"pending", "running"}]


_QSTAT = "qstat -f -F json"


def _read_qstat(text: str) -> list[Job]:
    """Our jobs of PBS Pro's answer in JSON."""
    found = json.loads(text or "{}").get("Jobs", {})
    mine = {k: j for k, j in found.items() if j["Job_Owner"].split("@")[0] == getpass.getuser()}
    return [
        Job(
            number, job["Job_Name"], "running" if job["job_state"] in "RE" else "pending", 0.0,
            int(job.get("Resource_List", {}).get("nodect", 1)), job.get("exec_host", ""),
            job.get("comment", ""),
        )
        for number, job in mine.items()
    ]  # fmt: skip


def cancel_jobs(scheduler: str, jobs: Iterable[str], prefix: str, timeout_s: float) -> None:
    """End jobs, and see that they are gone.

    Raises
    ------
    Stopped
        If the scheduler does not answer, or they are still there after several tries.
    """
    wanted = list(jobs)
    for _ in range(_TRIES):
        if not wanted:
            return
        _asked(f"{'scancel' if scheduler == 'slurm' else 'qdel'} {' '.join(wanted)}", timeout_s)
        time.sleep(_WAIT_S)
        here = {job.job for job in jobs_of(scheduler, prefix, timeout_s)}
        wanted = [job for job in wanted if job in here]
    raise Stopped(
        f"jobs {', '.join(wanted)} of this workspace could not be cancelled",
        "cancel them by hand, then launch again",
    )


def _asked(shell_command: str, timeout_s: float) -> str:
    """Answer of a command of the scheduler, which is tried again while it fails."""
    said = ""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_WAIT_S * attempt)
        code, out, err = answer_of(shell_command, timeout_s)
        if code == 0:
            return out
        said = (err or out).strip()[-500:]
    raise Stopped(
        f"the scheduler does not answer `{shell_command.split()[0]}`: {said}",
        "is this a host that may ask it? The same command goes on later",
    )
