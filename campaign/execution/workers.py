"""`Workers`: the running Parsl executors of one launch.

A thin door: start them, hand over requests, stop them. What runs is always
`apps.runner.run_requests`, sent by reference. Also here: which losses are the infrastructure's, and
the ending of processes that a killed driver left on this machine.
"""

from __future__ import annotations

import logging
import os
import sys
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

from apps.runner import run_requests
from campaign.execution.parsl_config import parsl_config
from campaign.sites.site import Site

__all__ = ["Workers", "end_orphans", "is_infrastructure_loss"]

_MARK = "CAMPAIGN_WORKSPACE"
"""Environment variable that every process of a launch inherits."""


class Workers:
    """Executors of a site, from entering to leaving the ``with`` block.

    Parameters
    ----------
    site : Site
    workspace : Path
        Named in the environment of all processes, so that orphans are found.
    run_dir : Path
        Parsl's logs and scripts.
    """

    def __init__(self, site: Site, workspace: Path, run_dir: Path) -> None:
        self._site, self._workspace, self._run_dir = site, workspace, run_dir
        self._kernel: Any = None

    def __enter__(self) -> Workers:
        os.environ[_MARK] = str(self._workspace.resolve())
        _put_interpreter_first_on_path()
        self._kernel = DataFlowKernel(parsl_config(self._site, self._run_dir))
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
        self._kernel.cleanup()
        for handler in handlers:  # Parsl forgets its log file without closing it
            logger.removeHandler(handler)
            handler.close()
        end_orphans(self._workspace)

    def submit(
        self, pool: str, function: str, requests: list[dict[str, Any]], mark: str
    ) -> Future[list[dict[str, Any]]]:
        """Hand requests to a pool; the future gives `apps.runner.run_requests`'s answer."""
        future: Future[list[dict[str, Any]]] = self._kernel.submit(
            run_requests,
            app_args=(function, requests, mark),
            executors=[pool],
            cache=False,
            ignore_for_cache=None,
            app_kwargs={},
        )
        return future


def _put_interpreter_first_on_path() -> None:
    """Let Parsl, which starts its interchange by name, find the one of this environment."""
    folder = str(Path(sys.executable).parent)
    entries = os.environ.get("PATH", "").split(os.pathsep)
    if entries[0] != folder:
        os.environ["PATH"] = os.pathsep.join([folder, *entries])


def is_infrastructure_loss(error: BaseException) -> bool:
    """Whether a task was lost with its worker, node or memory, through no fault of its own."""
    return isinstance(error, WorkerLost | ManagerLost | MemoryError)


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
