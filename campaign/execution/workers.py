"""`Workers`: the running Parsl executors of one launch.

A thin door: start them, hand over requests, stop them. What runs is always
`apps.runner.run_requests`, sent by reference. Also here: which losses are the infrastructure's, and
the ending of processes that a killed driver left on this machine.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.errors import BadStateException
from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost
from parsl.jobs.errors import TooManyJobFailuresError
from parsl.jobs.states import JobState, JobStatus

from apps.runner import run_requests
from campaign.execution.blocks import BlockWatch
from campaign.execution.parsl_config import parsl_config, ranks_of
from campaign.execution.scheduler import is_for_good
from campaign.sites.site import BatchSite, Site
from data_store.errors import InputError, Stopped

__all__ = ["Workers", "end_orphans", "is_block_loss", "is_infrastructure_loss"]

_MARK = "CAMPAIGN_WORKSPACE"
"""Environment variable that every process of a launch inherits."""

_CLOSING_S, _CLOSING_DEAD_S = 60.0, 5.0
"""How long Parsl may take to clean up, and where a pool's interchange is dead."""

_ASKED_AGAIN_S = 60.0
"""How long a block that was given up may go on before that is asked for again."""

MAX_DEAD_BLOCKS = 3
"""Blocks in a row without a worker that ever reached the driver, after which a launch stops."""


class Workers:
    """Executors of a site, from entering to leaving the ``with`` block.

    Parameters
    ----------
    site : Site
    workspace : Path
        Named in the environment of all processes, so that orphans are found.
    run_dir : Path
        Parsl's logs and scripts.
    watch : BlockWatch
        Guards and records the blocks of a cluster.
    blocks_died : callable
        Told of a pool and hosts, on which its last blocks ended before a worker reached us, and of
        their jobs; whether new blocks do without that host now.
    """

    def __init__(
        self,
        site: Site,
        workspace: Path,
        run_dir: Path,
        watch: BlockWatch,
        blocks_died: Callable[[str, str, Sequence[str]], bool] = lambda pool, hosts, jobs: False,
    ) -> None:
        self._site, self._workspace, self._run_dir = site, workspace, run_dir
        self._watch, self._blocks_died = watch, blocks_died
        self._kernel: Any = None
        self._given_up: dict[str, float] = {}

    def __enter__(self) -> Workers:
        os.environ[_MARK] = str(self._workspace.resolve())
        # Parsl's interchange takes a title; this keeps its environment, and our mark, readable.
        os.environ["SPT_NOENV"] = "1"
        _put_interpreter_first_on_path()
        with _deaf_to_interrupts():
            config = parsl_config(self._site, self._run_dir, self._watch)
            self._kernel = DataFlowKernel(config)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.environ.pop(_MARK, None)
        logger = logging.getLogger("parsl")
        handlers = list(logger.handlers)
        self._close_kernel()
        for handler in handlers:  # Parsl forgets its log file without closing it
            logger.removeHandler(handler)
            handler.close()
        end_orphans(self._workspace)

    def check(self) -> None:
        """See whether every pool still has its interchange, and gets blocks.

        Raises
        ------
        Stopped
            If one has not: nothing would come back from that pool any more.
        InputError
            If the scheduler refuses blocks for good.
        """
        self._keep_asking_for_blocks()
        self._give_up_blocks_on_hosts_left_out()
        dead = self._dead_pools()
        if dead:
            raise Stopped(
                f"Parsl's interchange of pool {', '.join(sorted(dead))} has ended (killed, or out "
                "of memory); finished work is kept",
                "the same command goes on",
            )
        for label in self._site.pools:
            executor = self._kernel.executors[label]
            if executor.bad_state_is_set:
                raise Stopped(
                    f"pool {label} cannot be had: its last blocks all failed\n"
                    f"{executor.executor_exception}",
                    f"Parsl's logs in {self._run_dir} say more; the same command goes on",
                )
            if isinstance(self._site, BatchSite):
                self._refuse_blocks_that_fail(label, executor)
        if is_for_good(self._watch.refusal):
            raise InputError(
                f"site {self._site.site.name}: the scheduler refuses blocks: {self._watch.refusal}",
                "`campaign sites show --rendered` shows what is submitted; mend the site file",
            )

    def _refuse_blocks_that_fail(self, label: str, executor: Any) -> None:
        """Stop when the last blocks of a pool ended by themselves before any worker reached us.

        Not where that is one host's doing, which new blocks do not get any more. Blocks that an
        operator, the scheduler or a walltime ended say nothing against the pool.
        """
        by_itself = {"completed", "failed", "out_of_memory", "gone"}
        left_out = self._watch.left_out_of(label)
        there = (block for block in self._watch.blocks if block.hosts not in left_out)
        ended = {block.job: block for block in there if not block.open}
        blocks = list(executor.blocks_to_job_id.items())  # Parsl's threads add to it
        last = [(block, job) for block, job in blocks if job in ended][-MAX_DEAD_BLOCKS:]
        states = executor.status_facade
        dead = [j for b, j in last if ended[j].state in by_itself and _is_missing(states.get(b))]
        hosts = {ended[job].hosts for job in dead}
        if len(dead) == MAX_DEAD_BLOCKS:
            if len(hosts) == 1 and self._blocks_died(label, hosts.pop(), dead):
                return
            log = states[last[-1][0]].stderr_path
            raise Stopped(
                f"the last {MAX_DEAD_BLOCKS} blocks of pool {label} (jobs {', '.join(dead)}) ended "
                f"before a worker reached this host; the last one wrote:\n{_tail(log)}",
                f"its log is {log}; is the interpreter seen there, and may nodes reach this host "
                "(site.address, site.worker_ports)? The same command goes on",
            )

    def _keep_asking_for_blocks(self) -> None:
        """Let a clock that was set back not keep Parsl from looking after its blocks until then."""
        now = time.time()
        for label in self._site.pools:
            executor = self._kernel.executors[label]
            executor._last_poll_time = min(executor._last_poll_time, now)

    def _give_up_blocks_on_hosts_left_out(self) -> None:
        """End blocks that sit on one host alone, which is left out; others take their place."""
        now = time.monotonic()
        for block in self._watch.blocks:
            alone = block.hosts in self._watch.left_out_of(block.pool)
            asked_s = now - self._given_up.get(block.job, -math.inf)
            if block.state != "running" or not alone or asked_s < _ASKED_AGAIN_S:
                continue
            self._given_up[block.job] = now
            executor = self._kernel.executors[block.pool]
            number = executor.job_ids_to_block.get(block.job)
            if number is not None:
                executor._hold_block(number)
            executor.provider.give_up(block.job, f"host {block.hosts} is left out")

    def _dead_pools(self) -> dict[str, Any]:
        """Executors whose interchange process has ended, by label."""
        return {
            label: executor
            for label, executor in self._kernel.executors.items()
            if getattr(executor, "interchange_proc", None) is not None
            and executor.interchange_proc.poll() is not None
        }

    def _close_kernel(self) -> None:
        """Let Parsl clean up, for so long: it waits for ever for the answer of what has ended.

        It is told which pools are gone, but its own threads may be waiting for one already. Then
        its processes are ended by us, as orphans.
        """
        dead = self._dead_pools()
        for label, executor in dead.items():
            executor.set_bad_state_and_fail_all(Stopped(f"the interchange of {label} has ended"))
        closing = threading.Thread(target=self._kernel.cleanup, daemon=True)
        closing.start()
        closing.join(_CLOSING_DEAD_S if dead else _CLOSING_S)

    def submit(
        self,
        pool: str,
        function: str,
        requests: list[dict[str, Any]],
        marks: list[str],
        ranks: int = 1,
        *,
        together: bool = False,
    ) -> Future[list[dict[str, Any]]]:
        """Hand requests to a pool; the future gives `apps.runner.run_requests`'s answer.

        Parameters
        ----------
        pool, function : str
        requests : list of dict
        marks : list of str
            Files that say that its tasks are in flight.
        ranks : int
            Ranks that the task starts over the nodes of a block of the pool ``mpi``.
        together : bool
            Whether the function takes all requests at once.
        """
        batch = self._site.pools[pool] if isinstance(self._site, BatchSite) else None  # type: ignore[index]
        placed = {"parsl_resource_specification": ranks_of(batch, ranks)} if (
            batch is not None and pool == "mpi"
        ) else {}  # fmt: skip
        future: Future[list[dict[str, Any]]] = self._kernel.submit(
            run_requests,
            app_args=(function, requests, marks),
            executors=[pool],
            cache=False,
            ignore_for_cache=None,
            app_kwargs={**placed, **({"together": True} if together else {})},
        )
        return future


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Start threads and processes that Ctrl-C does not reach: the driver alone is to stop them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _put_interpreter_first_on_path() -> None:
    """Let Parsl, which starts its interchange by name, find the one of this environment."""
    folder = str(Path(sys.executable).parent)
    entries = os.environ.get("PATH", "").split(os.pathsep)
    if entries[0] != folder:
        os.environ["PATH"] = os.pathsep.join([folder, *entries])


def _is_missing(status: JobStatus | None) -> bool:
    return status is not None and status.state == JobState.MISSING


def _tail(path: str | None, size: int = 1500) -> str:
    """The end of a log, or that there is none."""
    if path is None or not Path(path).exists():
        return "(nothing)"
    return Path(path).read_text(encoding="utf-8", errors="replace")[-size:].strip() or "(nothing)"


def is_block_loss(error: BaseException) -> bool:
    """Whether a task was lost with its whole block or node."""
    return isinstance(error, ManagerLost | BadStateException | TooManyJobFailuresError)


def is_infrastructure_loss(error: BaseException) -> bool:
    """Whether a task was lost with its worker, node or memory, through no fault of its own."""
    lost = WorkerLost | ManagerLost | BadStateException | TooManyJobFailuresError | MemoryError
    return isinstance(error, lost)


def end_orphans(workspace: Path) -> list[int]:
    """End processes of an earlier launch of this workspace on this machine.

    A driver that is killed outright cannot stop its workers. They are recognised by the environment
    they inherited; this process and its ancestors are spared.

    Returns
    -------
    list of int
        Process ids that were ended.
    """
    target, me = str(workspace.resolve()), psutil.Process()
    spared = {me.pid, *(parent.pid for parent in me.parents())}
    orphans = [p for p in psutil.process_iter() if p.pid not in spared and _belongs(p, target)]
    for process in orphans:
        try:
            process.kill()
        except psutil.Error:
            continue  # gone already
    psutil.wait_procs(orphans, timeout=5)
    return [process.pid for process in orphans]


def _belongs(process: psutil.Process, target: str) -> bool:
    try:
        return bool(process.environ().get(_MARK) == target)
    except (psutil.Error, OSError):
        return False
