"""What our driver adds to Parsl: the same empty tasks through both, in the same run.

Usage, from the root of the repository::

    python -m benchmarks.driver_overhead [TASKS] [PAIRS]

Bare Parsl gets all tasks at once and answers a dictionary for each; the driver makes a part for
each, with its ledger, marks and progress, so the difference is what a part costs beside its
science: a folder with a manifest, synced and renamed, two lines of ledger, and the driver's own
time. Both have two workers on this machine. Printed: seconds a task (median over pairs, spread),
their ratio, and the driver process's own CPU time and memory.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

from apps.runner import run_requests
from campaign.execution.blocks import BlockWatch
from campaign.execution.driver import Driver
from campaign.execution.workers import Workers
from campaign.ledger import Ledger
from campaign.plan.items import PlannedPart, planned_part
from campaign.sites.site import LocalSite
from campaign.workspace import Workspace

SITE = LocalSite.model_validate(
    {"site": {"name": "bench"}, "pools": {"cpu": {"workers_per_node": 2}}}
)
TASK = "benchmarks.driver_overhead:part"
EMPTY = "benchmarks.driver_overhead:empty"


def empty(request: dict[str, object]) -> dict[str, object]:
    """Do nothing."""
    return {"outcome": "done", "message": ""}


def part(request: dict[str, object]) -> dict[str, object]:
    """Make the smallest part."""
    from apps.checkup import write

    return write(request)


def _watch() -> BlockWatch:
    return BlockWatch(lambda event, **fields: None, "campaign-bench")


def bare(folder: Path, tasks: int) -> float:
    """Seconds a task of Parsl alone."""
    with Workers(SITE, folder, folder / "parsl", _watch()) as workers:
        kernel = workers._kernel
        mark = str(folder / "mark.json")
        kernel.submit(run_requests, app_args=(EMPTY, [{}], mark), executors=["cpu"], cache=False,
                      ignore_for_cache=None, app_kwargs={}).result()  # fmt: skip
        began = time.perf_counter()
        futures = [
            kernel.submit(
                run_requests, app_args=(EMPTY, [{}], f"{mark}{n}"), executors=["cpu"], cache=False,
                ignore_for_cache=None, app_kwargs={},
            )
            for n in range(tasks)
        ]  # fmt: skip
        for future in futures:
            future.result()
        return (time.perf_counter() - began) / tasks


def ours(folder: Path, tasks: int) -> tuple[float, float]:
    """Seconds a task of our driver, and of its own CPU time."""
    workspace = Workspace(folder / "workspace")
    workspace.prepare()
    plan: list[PlannedPart] = [
        planned_part("sample", f"part {n}", {"value": n}, 0, function=TASK) for n in range(tasks)
    ]
    with Ledger(workspace.ledger) as ledger:
        cpu, began = time.process_time(), time.perf_counter()
        ending = Driver(plan, workspace, SITE, ledger, lambda progress: None, _watch()).run()
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    if not ending.complete:
        raise RuntimeError("the plan was not made")
    return wall / tasks, cpu / tasks


def main(arguments: list[str]) -> None:
    """Time pairs and print them."""
    tasks, pairs = ([int(a) for a in arguments] + [2000, 3][len(arguments) :])[:2]
    rows = []
    for _ in range(pairs):
        with tempfile.TemporaryDirectory() as folder:
            alone = bare(Path(folder), tasks)
            wall, cpu = ours(Path(folder), tasks)
            rows.append((alone, wall, cpu, wall / alone))
    for name, values in zip(
        ("Parsl alone, ms a task", "driver, ms a task", "of it its own CPU, ms", "ratio"),
        zip(*rows, strict=True),
        strict=True,
    ):
        scale = 1.0 if name == "ratio" else 1000.0
        found = sorted(scale * value for value in values)
        print(f"{name}: {statistics.median(found):.2f} ({found[0]:.2f} to {found[-1]:.2f})")
    print(f"driver's memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
