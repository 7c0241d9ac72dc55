"""What every worker executes: one task function on a few requests, measured and classed.

`run_requests` is the only function that the conductor sends to workers. It finds the task function
by its name, leaves a mark that the item is in flight (process, host, start), measures time and
memory, and turns exceptions into outcomes, so that only the loss of the worker itself arrives as an
exception. A block of a cluster says in the environment
when it ends; that becomes the deadline of every request that has none. It decides nothing: retries
and quarantine are the conductor's.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import platform
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from apps.contract import Result
from data_store.errors import WorkspaceError

__all__ = ["DEADLINE_VARIABLE", "run_requests"]

DEADLINE_VARIABLE = "CAMPAIGN_DEADLINE_UNIX"
"""Environment variable of workers in a block: when tasks are to write their checkpoints."""

TaskFunction = Callable[[Any], Any]


def run_requests(
    function: str,
    requests: list[dict[str, Any]],
    marks: list[str],
    *,
    together: bool = False,
    **_placement: Any,
) -> list[dict[str, Any]]:
    """Run a task function on each request in order, or on all of them at once.

    Parameters
    ----------
    function : str
        ``module:name`` of a plain function from a request to a result, both JSON; where they run
        together, from a list of requests to their results.
    requests : list of dict
        `apps.contract.Request` as plain data.
    marks : list of str
        Files that say, while this runs, which process is at it, one for each task.
    together : bool
    _placement
        What says where this runs travels with it, and is not read here.

    Returns
    -------
    list of dict
        For each request `apps.contract.Result` as plain data, with ``resources`` (``wall_s``,
        ``cpu_s`` of this process and its children, ``peak_rss_MB``, and where it ran: ``host``,
        ``pid``, and in a batch job ``node`` (as the scheduler calls it) and ``job``). Times of
        requests that ran together are shared evenly among them.
    """
    with contextlib.ExitStack() as stack:
        for mark in marks:
            stack.enter_context(_marked(Path(mark)))
        task, due = _find(function), [_due(request) for request in requests]
        if together:
            return _run(task, due)
        return [_run(lambda batch: [task(batch[0])], [request])[0] for request in due]


def _due(request: dict[str, Any]) -> dict[str, Any]:
    """The request with the deadline of the block that this worker is in."""
    due_unix = os.environ.get(DEADLINE_VARIABLE)
    if due_unix is None or request.get("deadline_unix") is not None:
        return request
    return {**request, "deadline_unix": float(due_unix)}


def _find(function: str) -> TaskFunction:
    module, _, name = function.partition(":")
    task: TaskFunction = getattr(importlib.import_module(module), name)
    return task


@contextlib.contextmanager
def _marked(path: Path) -> Iterator[None]:
    said = {**_whereabouts(), "started_unix": time.time()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as handle:
            handle.write(json.dumps(said))
            if DEADLINE_VARIABLE in os.environ:
                # A node that dies is to leave it behind; on one machine nobody would be left to
                # read it, and a sync takes as long as a small task.
                handle.flush()
                os.fsync(handle.fileno())
    except OSError as error:
        raise WorkspaceError(
            f"cannot write {path}: {error.strerror}",
            "free space or permissions are needed; what is finished is kept, launch again after",
        ) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _run(
    task: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], requests: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    before, started, count = _cpu_seconds(), time.perf_counter(), len(requests)
    _forget_peak_memory()
    try:
        results = task(requests)
    except Exception as error:
        results = [Result.failed(error).to_json() for _ in requests]
    resources = {
        "wall_s": (time.perf_counter() - started) / count,
        "cpu_s": (_cpu_seconds() - before) / count,
        "peak_rss_MB": _peak_memory_MB(),
        **_whereabouts(),
    }
    return [{**result, "resources": resources} for result in results]


def _whereabouts() -> dict[str, Any]:
    """Where this process is; the names that a scheduler has for node and job, where it has any."""
    found = {
        "host": platform.node(),
        "pid": os.getpid(),
        "node": os.environ.get("SLURMD_NODENAME", ""),
        "job": os.environ.get("SLURM_JOB_ID") or os.environ.get("PBS_JOBID", ""),
    }
    return {name: value for name, value in found.items() if value != ""}


def _cpu_seconds() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _forget_peak_memory() -> None:
    """Reset the high-water mark of this process where Linux allows it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_memory_MB() -> float:
    """High-water mark of this process, or the largest child it has waited for."""
    child_MB = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        own_kB = next(line.split()[1] for line in status.splitlines() if "VmHWM" in line)
    except (OSError, StopIteration):
        own_kB = str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return max(int(own_kB) / 1024, child_MB)
