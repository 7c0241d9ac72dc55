"""Parsl's providers of blocks, watched: what is submitted is guarded and recorded.

Parsl decides how many blocks the work needs and when to give them back; through `max_blocks`, which
it asks before each submission, our `BlockWatch` says how many it may have. Slurm's states are read
here by one ``squeue`` of our own: Parsl's takes any block that is not in an answer for completed,
and an answer that makes no sense for an exception that ends its thread.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

from parsl.jobs.states import JobState, JobStatus
from parsl.launchers import SimpleLauncher, SrunLauncher
from parsl.launchers.base import Launcher
from parsl.providers import PBSProProvider, SlurmProvider
from parsl.providers.errors import SubmitException

from campaign.execution.blocks import BlockWatch, State
from campaign.execution.scheduler import is_for_good
from campaign.execution.shell import answer_of
from campaign.execution.squeue import command, read_squeue
from campaign.sites.site import BatchPool, BatchSite
from campaign.sites.walltime import walltime_of_seconds

__all__ = ["WatchedPbs", "WatchedSlurm", "batch_provider"]

_OF_PARSL: dict[JobState, State] = {
    JobState.PENDING: "pending",
    JobState.HELD: "pending",
    JobState.RUNNING: "running",
    JobState.COMPLETED: "completed",
    JobState.FAILED: "failed",
    JobState.TIMEOUT: "timeout",
    JobState.CANCELLED: "cancelled",
    JobState.SCALED_IN: "cancelled",
}
_TO_PARSL: dict[State, JobState] = {
    "pending": JobState.PENDING,
    "running": JobState.RUNNING,
    "completed": JobState.COMPLETED,
    "cancelled": JobState.CANCELLED,
    "timeout": JobState.TIMEOUT,
    "preempted": JobState.TIMEOUT,
    # A lost node says nothing against the site: only what fails by itself counts as failure.
    "node_fail": JobState.TIMEOUT,
    "gone": JobState.COMPLETED,
    "failed": JobState.FAILED,
    "out_of_memory": JobState.FAILED,
}

_EXCLUDES = re.compile(r"\s*(?:--exclude[=\s]\s*|-x\s*)([^\s#]+)")
"""An option of sbatch that excludes hosts."""


class _Watched:
    """What both providers share: the watch's word on how many blocks there may be."""

    resources: dict[Any, dict[str, Any]]
    _watch: BlockWatch
    _pool: str
    _batch: BatchPool
    _poll_s: float
    cmd_timeout: int
    scheduler_options: str

    @property
    def max_blocks(self) -> int:
        """Blocks that Parsl may have now, those that it has included."""
        active = sum(not job["status"].terminal for job in self.resources.values())
        allowed: int = self._watch.allowance(self._batch.block_node_hours)
        return min(self._batch.max_blocks, active + allowed)

    @max_blocks.setter
    def max_blocks(self, value: int) -> None:
        """Parsl's constructor sets it; the pool's own number is what counts."""

    @property
    def status_polling_interval(self) -> float:
        """Seconds between two questions to the scheduler."""
        return self._poll_s

    def execute_wait(self, cmd: str, timeout: int | None = None) -> tuple[int, str, str]:
        """Run a command of the scheduler; one that hangs gives an exit code too."""
        return answer_of(cmd, self.cmd_timeout if timeout is None else timeout)

    def _submitted(self, submit: Any, command: str, tasks_per_node: int) -> str:
        try:
            job = submit(command, tasks_per_node, f"{self._watch.prefix}-{self._pool}")
            if not job:
                raise SubmitException(self._pool, "the scheduler named no job")
        except Exception as error:
            self._watch.refused(self._pool, _said(error))
            raise
        batch, log = self._batch, self.resources[job]["job_stderr_path"]
        self._watch.submitted(job, self._pool, batch.nodes_per_block, batch.walltime_s, log)
        return str(job)


def _said(error: Exception) -> str:
    """What the scheduler said when it refused a block."""
    said = getattr(error, "stderr", "") or getattr(error, "stdout", "") or str(error)
    return str(said).strip()


class WatchedSlurm(_Watched, SlurmProvider):  # type: ignore[misc]
    """Slurm's provider for one pool of a site.

    Parameters
    ----------
    site : BatchSite
    pool : str
    launcher : Launcher
    worker_init : str
    watch : BlockWatch
    """

    def __init__(
        self, site: BatchSite, pool: str, launcher: Launcher, worker_init: str, watch: BlockWatch
    ) -> None:
        batch = site.pools[pool]  # type: ignore[index]
        self._watch, self._pool, self._batch = watch, pool, batch
        self._poll_s = site.site.poll_s
        self._absent: set[str] = set()
        SlurmProvider.__init__(
            self,
            partition=batch.partition or None,
            account=batch.account or None,
            qos=batch.qos or None,
            constraint=batch.constraint or None,
            nodes_per_block=batch.nodes_per_block,
            cores_per_node=None if pool == "mpi" else batch.cores_per_node,
            mem_per_node=batch.memory_per_node_GB,
            gpus_per_node=batch.gpus_per_node or None,
            init_blocks=0,
            min_blocks=0,
            max_blocks=batch.max_blocks,
            walltime=walltime_of_seconds(batch.walltime_s),
            scheduler_options="\n".join(_options(site, pool)),
            worker_init=worker_init,
            cmd_timeout=site.site.command_timeout_s,
            exclusive=batch.exclusive,
            launcher=launcher,
        )
        self._options = str(self.scheduler_options)

    def execute_wait(self, cmd: str, timeout: int | None = None) -> tuple[int, str, str]:
        """Run a command of the scheduler."""
        if cmd.startswith("sacct"):  # Parsl's constructor asks whether there is one
            return 1, "", "sacct is not used"
        return super().execute_wait(cmd, timeout)

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl.slurm") -> str:
        """Submit a block under a name that says whose it is, without the hosts left out."""
        return self._submitted(self._handed_over, command, tasks_per_node)

    def _handed_over(self, command: str, tasks_per_node: int, job_name: str) -> str | None:
        """Submit; with the hosts left out, too, where Slurm has no block without them."""
        hosts = self._watch.left_out_of(self._pool)
        self.scheduler_options = self._options + _without(hosts, self._batch.scheduler_options)
        try:
            job: str | None = super().submit(command, tasks_per_node, job_name)
        except SubmitException as error:
            if not hosts or not is_for_good(_said(error)):
                raise
            self._watch.cannot_do_without(self._pool, hosts, _said(error))
            return self._handed_over(command, tasks_per_node, job_name)
        return job

    def cancel(self, job_ids: list[str]) -> list[bool]:
        """Cancel blocks."""
        return self._cancelled(job_ids, "no longer needed")

    def give_up(self, job: str, reason: str) -> None:
        """Cancel a block for a reason of our own."""
        self._cancelled([job], reason)

    def _cancelled(self, job_ids: list[str], reason: str) -> list[bool]:
        done: list[bool] = super().cancel(job_ids)
        for job, ended in zip(job_ids, done, strict=True):
            if ended:
                self._watch.seen(job, "cancelled", reason=reason)
        return done

    def _status(self) -> None:
        """Ask for all jobs at once; keep what is known where the answer cannot be read."""
        known = [j for j, about in self.resources.items() if not about["status"].terminal]
        if not known:
            return
        code, out, err = self.execute_wait(command())
        try:
            if code != 0:
                raise ValueError(err.strip() or f"squeue ended with {code}")
            jobs = read_squeue(out)
        except ValueError as error:
            self._watch.unanswered(str(error))
            return
        for job in known:
            if job in jobs:
                found = jobs[job]
                self._absent.discard(job)
                self._update(job, found.state, found.elapsed_s, found.reason, found.hosts)
            elif job in self._absent:
                self._update(job, "gone")
            else:  # an empty answer is not believed at once
                self._absent.add(job)

    def _update(self, job: str, state: State, elapsed_s: float | None = None, *words: str) -> None:
        self._watch.seen(job, state, elapsed_s, *words)
        about = self.resources[job]
        about["status"] = JobStatus(
            _TO_PARSL[state],
            stdout_path=about["job_stdout_path"],
            stderr_path=about["job_stderr_path"],
        )


class WatchedPbs(_Watched, PBSProProvider):  # type: ignore[misc]
    """PBS Pro's provider for one pool of a site; what it takes, as `WatchedSlurm`."""

    def __init__(
        self, site: BatchSite, pool: str, launcher: Launcher, worker_init: str, watch: BlockWatch
    ) -> None:
        batch = site.pools[pool]  # type: ignore[index]
        self._watch, self._pool, self._batch = watch, pool, batch
        self._poll_s = site.site.poll_s
        gpus = f"ngpus={batch.gpus_per_node}" if batch.gpus_per_node else ""
        memory = f"mem={batch.memory_per_node_GB}gb" if batch.memory_per_node_GB else ""
        PBSProProvider.__init__(
            self,
            account=batch.account or None,
            queue=batch.partition or None,
            scheduler_options="\n".join(_options(site, pool)),
            select_options=":".join(filter(None, (gpus, memory))),
            worker_init=worker_init,
            nodes_per_block=batch.nodes_per_block,
            cpus_per_node=batch.cores_per_node or 1,
            init_blocks=0,
            min_blocks=0,
            max_blocks=batch.max_blocks,
            launcher=launcher,
            walltime=walltime_of_seconds(batch.walltime_s),
            cmd_timeout=site.site.command_timeout_s,
        )

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl") -> str:
        """Submit a block under a name that says whose it is."""
        return self._submitted(super().submit, command, tasks_per_node)

    def _status(self) -> None:
        """Ask for all jobs; keep what is known where the answer cannot be read."""
        try:
            super()._status()
        except (ValueError, KeyError) as error:
            self._watch.unanswered(f"qstat: {error}")
        for job, about in self.resources.items():
            self._watch.seen(job, _OF_PARSL.get(about["status"].state, "pending"))


def _options(site: BatchSite, pool: str) -> list[str]:
    """Lines of options of the batch script that Parsl has no argument for."""
    batch = site.pools[pool]  # type: ignore[index]
    lines = list(batch.scheduler_options)
    # A job that the scheduler starts again would run beside the block that took its place.
    lines.append("-r n" if site.site.scheduler == "pbs" else "--no-requeue")
    if site.site.scheduler == "slurm" and pool == "mpi" and batch.ranks_per_node > 1:
        lines.append(f"--ntasks-per-node={batch.ranks_per_node}")
    return [f"{site.directive} {line}" for line in lines]


def _without(hosts: Sequence[str], given: Sequence[str]) -> str:
    """The line of a batch script that excludes hosts, beside those that the site excludes.

    Slurm heeds the last such option alone.
    """
    if not hosts:
        return ""
    excluded = [found[1] for found in map(_EXCLUDES.match, given) if found]
    return f"#SBATCH --exclude={','.join([*excluded, *hosts])}\n"


def batch_provider(
    site: BatchSite, pool: str, worker_init: str, watch: BlockWatch
) -> WatchedSlurm | WatchedPbs:
    """Provider of the blocks of one pool.

    Parameters
    ----------
    site : BatchSite
    pool : str
        ``mpi`` gets one manager a block, on its first node; the others one on each node.
    worker_init : str
        Shell lines before the workers.
    watch : BlockWatch
    """
    kind = WatchedPbs if site.site.scheduler == "pbs" else WatchedSlurm
    return kind(site, pool, _launcher(site.pools[pool], pool), worker_init, watch)  # type: ignore[index]


def _launcher(batch: BatchPool, pool: str) -> Launcher:
    if pool == "mpi" or batch.nodes_per_block == 1:
        return SimpleLauncher()
    if batch.launcher == "mpiexec":
        from parsl.launchers import MpiExecLauncher

        return MpiExecLauncher()
    return SrunLauncher(overrides=shlex.join(shlex.split(batch.launcher_options)))
