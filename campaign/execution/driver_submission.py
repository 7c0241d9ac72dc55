"""Starting a driver that is not this process: detached on this host, or as a job of the cluster.

Everything that can be refused is refused before, in the terminal of who asked. At most one driver
job of a workspace is queued or running.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from campaign.execution.scheduler import cancel_jobs, driver_job_name, jobs_of
from campaign.execution.shell import answer_of
from campaign.sites.driver_job import driver_script
from campaign.sites.site import BatchSite
from campaign.workspace import Workspace
from data_store.errors import InputError
from data_store.work import write_atomic

__all__ = ["cancel_driver_jobs", "detach", "submit_driver"]


def launch_command(arguments: Sequence[str]) -> list[str]:
    """Command of a launch by this very interpreter."""
    return [sys.executable, "-c", "from campaign.cli.main import main; main()", *arguments]


def detach(workspace: Workspace, arguments: Sequence[str]) -> tuple[int, Path]:
    """Start a launch that outlives this terminal.

    Returns
    -------
    int, Path
        Its process id, and the file that it writes to.
    """
    log = workspace.logs / "driver.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            launch_command(arguments), stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    return process.pid, log


def submit_driver(workspace: Workspace, site: BatchSite, arguments: Sequence[str]) -> str:
    """Submit a launch as a job; the job's id.

    Raises
    ------
    InputError
        If there is a driver job of this workspace already, or the scheduler refuses this one.
    Stopped
        If the scheduler does not answer.
    """
    head, name = site.site, driver_job_name(workspace.root)
    there = jobs_of(head.scheduler, name, head.command_timeout_s)
    if there:
        raise InputError(
            f"a driver of {workspace.root} is {there[0].state} as job {there[0].job}",
            "`campaign status` shows how far it is, `campaign cancel` stops it",
        )
    script = workspace.root / "driver.sh"
    log = workspace.logs / "driver.log"
    text = driver_script(
        head.scheduler, site.driver, name, launch_command(arguments), str(log), str(script)
    )
    write_atomic(script, text.encode())
    submit = "sbatch" if head.scheduler == "slurm" else "qsub"
    code, out, err = answer_of(f"{submit} {script}", head.command_timeout_s)
    found = re.search(r"\d\S*", out)
    if code != 0 or found is None:
        raise InputError(
            f"{submit} refused the driver's job: {(err or out).strip()}",
            f"the script is {script}; mend the table [driver] of the site",
        )
    return found.group()


def cancel_driver_jobs(workspace: Workspace, scheduler: str, timeout_s: float) -> list[str]:
    """End driver jobs of the workspace, but for the one that this process runs in.

    Raises
    ------
    Stopped
        If the scheduler does not answer.
    """
    if scheduler == "local":
        return []
    name, mine = (
        driver_job_name(workspace.root),
        os.environ.get("SLURM_JOB_ID") or os.environ.get("PBS_JOBID"),
    )
    jobs = [job.job for job in jobs_of(scheduler, name, timeout_s) if job.job != mine]
    cancel_jobs(scheduler, jobs, name, timeout_s)
    return jobs
