"""`DriverJob`: the driver itself as a small job, for login nodes that end what runs for days.

Here are the ``[driver]`` table of a site and the batch script made from it. The job runs the same
`campaign launch` as a user would; before its walltime it is asked to stop, and a job that goes on
is submitted to start when it has ended. Stopping ends its blocks, so that tasks go on from their
last checkpoints; a long walltime is worth asking for.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from campaign.sites.walltime import seconds_of_walltime, walltime_of_seconds

__all__ = ["DriverJob", "driver_script"]

_AGAIN = {
    "slurm": "sbatch --dependency=afterany:$SLURM_JOB_ID",
    "pbs": "qsub -W depend=afterany:$PBS_JOBID",
}


def _long_enough(text: str) -> str:
    if seconds_of_walltime(text) < 120:
        raise ValueError(f"a walltime of at least two minutes, not {text!r}")
    return text


class DriverJob(BaseModel):
    """The ``[driver]`` table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    partition: str = ""
    """Slurm partition, or PBS queue; one whose jobs may submit others."""

    account: str = ""
    """Whom to charge."""

    qos: str = ""
    """Slurm's quality of service."""

    walltime: Annotated[str, AfterValidator(_long_enough)] = "1-00:00:00"
    """Time limit of a driver's job, in any form of Slurm's; another goes on after it."""

    stop_before_s: int = Field(default=120, ge=30)
    """So long before its walltime it is asked to stop: time to end blocks and write the report."""

    cores: int = Field(default=2, ge=1)
    """Cores of the job."""

    memory_GB: int | None = Field(default=None, ge=1)
    """Memory of the job; unset, the scheduler's default."""

    scheduler_options: tuple[str, ...] = ()
    """More options of the batch script, a line each, without ``#SBATCH``."""


def driver_script(
    scheduler: str, job: DriverJob, name: str, command: Sequence[str], log: str, script: str
) -> str:
    """Batch script of a driver's job.

    Parameters
    ----------
    scheduler : {"slurm", "pbs"}
    job : DriverJob
    name : str
        Of the job.
    command : sequence of str
        The launch to run.
    log : str
        File that standard output and error are appended to.
    script : str
        Where the script will lie: it submits itself.
    """
    lines = _slurm_options(job, name, log) if scheduler == "slurm" else _pbs_options(job, name, log)
    seconds = seconds_of_walltime(job.walltime) - job.stop_before_s
    run = shlex.join(command)
    # The shell keeps the time itself: not every scheduler sends a signal before the end.
    return "\n".join(
        [
            "#!/bin/bash",
            *lines,
            "",
            f"timeout --signal=TERM {seconds} {run} >> {shlex.quote(log)} 2>&1",
            "code=$?",
            'if [ "$code" -eq 124 ]; then',
            f"    {_AGAIN[scheduler]} {shlex.quote(script)}",
            "fi",
            'exit "$code"',
            "",
        ]
    )


def _slurm_options(job: DriverJob, name: str, log: str) -> list[str]:
    given = {
        "job-name": name,
        "partition": job.partition,
        "account": job.account,
        "qos": job.qos,
        "time": walltime_of_seconds(seconds_of_walltime(job.walltime)),
        "nodes": "1",
        "ntasks": "1",
        "cpus-per-task": str(job.cores),
        "mem": f"{job.memory_GB}G" if job.memory_GB else "",
        "output": log,
    }
    options = [f"--{key}={value}" for key, value in given.items() if value]
    options += ["--open-mode=append", "--no-requeue", *job.scheduler_options]
    return [f"#SBATCH {option}" for option in options]


def _pbs_options(job: DriverJob, name: str, log: str) -> list[str]:
    memory = f":mem={job.memory_GB}gb" if job.memory_GB else ""
    options = [
        f"-N {name}",
        f"-l walltime={walltime_of_seconds(seconds_of_walltime(job.walltime))}",
        f"-l select=1:ncpus={job.cores}{memory}",
        f"-o {log}",
        "-j oe",
        *([f"-q {job.partition}"] if job.partition else []),
        *([f"-A {job.account}"] if job.account else []),
        *job.scheduler_options,
    ]
    return [f"#PBS {option}" for option in options]
