"""What Parsl makes of blocks that die, and what becomes of that here."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from parsl.executors.errors import BadStateException
from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost
from parsl.jobs.errors import TooManyJobFailuresError
from parsl.jobs.states import JobState, JobStatus

from campaign.execution import parsl_config as configured
from campaign.execution.driver import Driver
from campaign.execution.workers import Workers, is_infrastructure_loss
from campaign.ledger import Ledger, read_ledger
from campaign.plan.items import planned_part
from campaign.progress import Progress
from campaign.sites.site import LocalSite
from campaign.workspace import Workspace
from data_store.errors import Stopped
from tests.watch import UNWATCHED

SITE = LocalSite.model_validate(
    {"site": {"name": "test"}, "pools": {"cpu": {"workers_per_node": 1}}}
)


def workers_with(tmp_path: Path, **executor: Any) -> Workers:
    """Workers whose only pool is in a given state."""
    workers = Workers(SITE, tmp_path, tmp_path / "parsl", UNWATCHED)
    state = {"bad_state_is_set": False, "executor_exception": None, "_last_poll_time": 0.0}
    pool = SimpleNamespace(interchange_proc=SimpleNamespace(poll=lambda: None), **state | executor)
    workers._kernel = SimpleNamespace(executors={"cpu": pool})
    return workers


def test_a_pool_that_gets_no_blocks_stops_the_launch(tmp_path: Path) -> None:
    workers_with(tmp_path).check()
    failed = TooManyJobFailuresError("EXIT CODE: 137")
    lost = workers_with(tmp_path, bad_state_is_set=True, executor_exception=failed)
    with pytest.raises(Stopped, match=r"pool cpu cannot be had(?s:.*)EXIT CODE: 137"):
        lost.check()


@pytest.mark.parametrize("ahead_s", [-1.0, 86_400.0])
def test_blocks_are_looked_after_though_the_clock_was_set_back(
    tmp_path: Path, ahead_s: float
) -> None:
    before = time.time() + ahead_s
    workers = workers_with(tmp_path, _last_poll_time=before)
    workers.check()
    assert workers._kernel.executors["cpu"]._last_poll_time <= min(before, time.time())


def test_what_is_lost_with_a_block_is_no_failure_of_the_software() -> None:
    pool = SimpleNamespace(label="cpu")
    for error in (
        WorkerLost(0, "node7"), ManagerLost(b"0", "node7"), TooManyJobFailuresError("all"),
        BadStateException(pool, TooManyJobFailuresError("all")), MemoryError(),
    ):  # fmt: skip
        assert is_infrastructure_loss(error)
    assert not is_infrastructure_loss(RuntimeError("ours"))


@pytest.mark.parametrize(("failed", "given_up"), [(1, False), (2, False), (3, True)])
def test_a_pool_is_given_up_after_three_failed_blocks_not_one(
    tmp_path: Path, failed: int, given_up: bool
) -> None:
    (executor,) = configured.parsl_config(SITE, tmp_path, UNWATCHED).executors
    blocks = {str(n): JobStatus(JobState.FAILED, exit_code=137) for n in range(failed)}
    executor.block_error_handler(executor, blocks)
    assert executor.bad_state_is_set == given_up


def test_a_killed_block_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setattr(configured, "SILENCE_S", 5)
    workspace = Workspace(tmp_path / "workspace")
    workspace.prepare()
    part = planned_part(
        "sample", "long", {"value": 1, "seconds": 3.0}, 0,
        function="tests.integration.toy_tasks:make",
    )  # fmt: skip
    killed: list[int] = []

    def kill_the_block(progress: Progress) -> None:
        """Once, when the task has been handed out."""
        if progress.stages[0].running and not killed:
            killed.append(_block_of(workspace))

    with Ledger(workspace.ledger) as ledger:
        ending = Driver([part], workspace, SITE, ledger, kill_the_block, UNWATCHED).run()
    assert killed == [1]
    assert ending.complete
    rows = [row for row in read_ledger(workspace.ledger) if row["event"] == "result"]
    assert [row["outcome"] for row in rows] == ["lost", "done"]
    assert "ManagerLost" in rows[0]["message"]


def test_a_worker_killed_while_it_waits_does_not_keep_the_others_from_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    workspace = Workspace(tmp_path / "workspace")
    workspace.prepare()
    works = "tests.integration.toy_tasks:make"
    first = planned_part("sample", "long", {"value": 1, "seconds": 3.0}, 0, function=works)
    then = planned_part("pretrain", "then", {}, 0, inputs={"needs": [first]}, function=works)
    site = LocalSite.model_validate(
        {"site": {"name": "test"}, "pools": {"cpu": {"workers_per_node": 2}}}
    )
    killed: list[int] = []

    def kill_who_waits(progress: Progress) -> None:
        """Once, when one of two workers has the only task."""
        if progress.stages[0].running and not killed:
            killed.extend(_waiting_workers(workspace))

    with Ledger(workspace.ledger) as ledger:
        ending = Driver([first, then], workspace, site, ledger, kill_who_waits, UNWATCHED).run()
    assert len(killed) == 1
    assert ending.complete
    rows = [row for row in read_ledger(workspace.ledger) if row["event"] == "result"]
    assert [row["outcome"] for row in rows] == ["done", "done"]


def _waiting_workers(workspace: Workspace) -> list[int]:
    """Kill the workers that have no task, once one has; their process numbers."""
    while not (marks := list(workspace.running.glob("*.json"))):
        time.sleep(0.05)
    busy = {json.loads(mark.read_text())["pid"] for mark in marks}
    time.sleep(1.0)  # all workers are up, and one waits with the lock of the queue
    idle = [
        worker
        for manager in _managers(workspace)
        for worker in manager.children()
        if "spawn_main" in str(worker.cmdline()) and worker.pid not in busy | _servers(manager)
    ]
    for worker in idle:
        worker.kill()
    return [worker.pid for worker in idle]


def _servers(manager: psutil.Process) -> set[int]:
    """The process that holds what Parsl's manager and workers share: its first child by spawn."""
    spawned = [child for child in manager.children() if "spawn_main" in str(child.cmdline())]
    return {min(spawned, key=lambda child: child.create_time()).pid}


def _block_of(workspace: Workspace) -> int:
    """Wait until the task is in flight; kill the block's manager, that starts all its workers."""
    while not list(workspace.running.glob("*.json")):
        time.sleep(0.05)
    managers = _managers(workspace)
    for manager in managers:
        manager.kill()
    return len(managers)


def _managers(workspace: Workspace) -> list[psutil.Process]:
    """The processes that start all workers of their blocks."""
    return [
        process
        for process in psutil.process_iter(["environ", "cmdline"])
        if (process.info["environ"] or {}).get("CAMPAIGN_WORKSPACE") == str(workspace.root)
        and any(word.endswith("process_worker_pool.py") for word in process.info["cmdline"])
    ]
