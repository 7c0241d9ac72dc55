"""What our driver adds to Parsl: the same tasks through both, in alternating pairs of one run.

Usage, from the root of the repository::

    python -m benchmarks.driver_overhead [TASKS] [PAIRS]

Each task makes the smallest part: a folder with a manifest, synced and renamed. Bare Parsl gets all
tasks at once and calls the task's function itself; the driver has two lines of ledger for each, its
mark, its measures and its place in the plan. Both have the same executor with two workers, and each
side of each pair is a process and a folder of its own. Printed: seconds a task from the first
answer to the last (starting and stopping Parsl is in neither), difference and ratio, as median over
pairs and spread; the CPU time of the driver's process a task, starting and stopping included; and
its largest memory.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from apps.checkup import write
from campaign.execution.blocks import BlockWatch
from campaign.execution.driver import Driver
from campaign.execution.tasks import tasks_of
from campaign.execution.workers import Workers
from campaign.ledger import Ledger, read_ledger
from campaign.plan.items import PlannedPart, planned_part
from campaign.sites.site import LocalSite
from campaign.workspace import Workspace

SITE = LocalSite.model_validate(
    {"site": {"name": "bench"}, "pools": {"cpu": {"workers_per_node": 2}}}
)


def _planned(folder: Path, tasks: int) -> tuple[Workspace, list[PlannedPart]]:
    workspace, made = Workspace(folder), "apps.checkup:write"
    workspace.prepare()
    return workspace, [
        planned_part("sample", f"part {n}", {"value": n}, 0, function=made) for n in range(tasks)
    ]


def _watch() -> BlockWatch:
    return BlockWatch(lambda event, **fields: None, "campaign-bench")


def _spent(times: list[float]) -> dict[str, float]:
    """Seconds a task between answers, CPU seconds a task and memory of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "wall_s": (max(times) - min(times)) / (len(times) - 1),
        "cpu_s": (used.ru_utime + used.ru_stime) / len(times),
        "memory_MB": used.ru_maxrss / 1024,
    }


def bare(folder: Path, tasks: int) -> dict[str, float]:
    """Parsl alone: the task's function on the same requests."""
    workspace, plan = _planned(folder, tasks)
    times: list[float] = []
    with Workers(SITE, workspace.root, workspace.logs / "parsl", _watch()) as workers:
        kernel = workers._kernel
        futures = []
        for one in plan:
            (task,) = tasks_of(one, workspace, threads=1)
            future = kernel.submit(
                write, app_args=task.requests, executors=["cpu"], cache=False,
                ignore_for_cache=None, app_kwargs={},
            )  # fmt: skip
            future.add_done_callback(lambda _: times.append(time.time()))
            futures.append(future)
        for future in futures:
            if future.result()["outcome"] != "done":
                raise RuntimeError("a part was not made")
    return _spent(times)


def ours(folder: Path, tasks: int) -> dict[str, float]:
    """Our driver on a plan of the same parts."""
    workspace, plan = _planned(folder, tasks)
    with Ledger(workspace.ledger) as ledger:
        ending = Driver(plan, workspace, SITE, ledger, lambda progress: None, _watch()).run()
    if not ending.complete:
        raise RuntimeError("the plan was not made")
    return _spent([row["unix"] for row in read_ledger(workspace.ledger, ("result",))])


def _apart(side: str, tasks: int) -> dict[str, float]:
    """One side in a process and a folder of its own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        multiprocessing.get_context("spawn").Pool(1) as pool,
    ):
        found: dict[str, float] = pool.apply(globals()[side], (Path(folder), tasks))
        return found


def _row(name: str, values: list[float], scale: float = 1.0) -> None:
    found = sorted(scale * value for value in values)
    sys.stdout.write(
        f"{name}: {statistics.median(found):.2f} ({found[0]:.2f} to {found[-1]:.2f})\n"
    )


def main(arguments: list[str]) -> None:
    """Run pairs and print them."""
    tasks, pairs = ([int(a) for a in arguments] + [2000, 5][len(arguments) :])[:2]
    rows: list[dict[str, dict[str, Any]]] = []
    for pair in range(pairs):
        sides = ("bare", "ours") if pair % 2 == 0 else ("ours", "bare")
        rows.append({side: _apart(side, tasks) for side in sides})
        sys.stderr.write(json.dumps(rows[-1]) + "\n")
    _row("Parsl alone, ms a task", [row["bare"]["wall_s"] for row in rows], 1000.0)
    _row("driver, ms a task", [row["ours"]["wall_s"] for row in rows], 1000.0)
    added = [row["ours"]["wall_s"] - row["bare"]["wall_s"] for row in rows]
    _row("added, ms a task", added, 1000.0)
    _row("ratio", [row["ours"]["wall_s"] / row["bare"]["wall_s"] for row in rows])
    _row("Parsl alone, CPU ms a task", [row["bare"]["cpu_s"] for row in rows], 1000.0)
    _row("driver, CPU ms a task", [row["ours"]["cpu_s"] for row in rows], 1000.0)
    _row("driver, MB", [row["ours"]["memory_MB"] for row in rows])


if __name__ == "__main__":
    main(sys.argv[1:])
