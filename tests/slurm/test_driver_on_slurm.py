"""The driver on a real Slurm, with toy tasks: blocks, faults, budgets, refusals."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from campaign.attempts import attempts_of
from campaign.cancelling import cancel, withdraw
from campaign.execution.driver import Driver, Ending
from campaign.execution.leftovers import end_leftovers, watched
from campaign.execution.scheduler import job_prefix
from campaign.ledger import Ledger, read_ledger
from campaign.plan.items import PlannedPart, planned_part
from campaign.sites.layers import read_site
from campaign.spending import spending_of
from campaign.workspace import Workspace
from data_store.errors import InputError, Stopped
from tests.slurm.cluster import Cluster
from tests.slurm.sites import write_site
from tests.slurm.waiting import wait_until

pytestmark = pytest.mark.slurm

ROOT = str(Path(__file__).parents[2])


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("PYTHONPATH", ROOT)
    found = Workspace(tmp_path / "workspace")
    found.prepare()
    return found


def part(value: int, **settings: Any) -> PlannedPart:
    return planned_part(
        "sample", f"toy {value}", {"value": value, **settings}, seed=0,
        function="tests.integration.toy_tasks:make",
    )  # fmt: skip


def run(
    parts: list[PlannedPart], workspace: Workspace, site: Path, budget: float | None = None
) -> Ending:
    at = read_site(str(site))
    with workspace.locked(), Ledger(workspace.ledger) as ledger:
        end_leftovers(workspace, at, ledger)
        ledger.write("launched", scheduler=at.site.scheduler, budget_node_hours=budget)
        watch = watched(workspace, at, ledger, budget)
        return Driver(parts, workspace, at, ledger, lambda progress: None, watch).run()


def rows(workspace: Workspace, event: str) -> list[dict[str, Any]]:
    return [row for row in read_ledger(workspace.ledger) if row["event"] == event]


def meanwhile(act: Callable[[], None]) -> threading.Thread:
    """Do something beside the driver; what it raises fails the test by its own assertion."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def wait_for_work(cluster: Cluster, workspace: Workspace) -> str:
    """Wait until a task is in flight; the job of its block."""
    wait_until(lambda: any(workspace.running.glob("*.json")), "a task in flight", cluster.jobs)
    running = [job for job in cluster.jobs() if job.state == "RUNNING"]
    return running[0].id


def test_blocks_come_go_and_are_accounted_for(slurm: Cluster, workspace: Workspace) -> None:
    site = write_site(workspace.root)
    ending = run([part(n, seconds=0.5) for n in range(6)], workspace, site)
    assert ending.complete
    assert not slurm.jobs() or {job.state for job in slurm.jobs()} <= {"COMPLETING"}
    ended = rows(workspace, "block_ended")
    assert len(ended) == len(rows(workspace, "block_submitted")) >= 1
    assert sum(row["node_hours"] for row in ended) > 0
    assert all(row["node_hours"] <= row["nodes"] * 60.0 / 3600.0 for row in ended)


def test_workers_run_inside_the_command_that_is_put_before_them(
    slurm: Cluster, workspace: Workspace
) -> None:
    """As a container's command does: mounts of its own, and then the workers."""
    if subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("mounts of its own are not allowed to every user, nor in every container")
    seen = workspace.root / "namespaces"
    wrapper = workspace.root / "inside"
    note = f"readlink /proc/self/ns/mnt >> {seen}"
    wrapper.write_text(f'#!/bin/sh\nexec unshare --mount sh -c \'{note}; exec "$@"\' in "$@"\n')
    wrapper.chmod(0o755)
    site = write_site(workspace.root)
    text = site.read_text(encoding="utf-8")
    site.write_text(text.replace("[pools.cpu]", f'[pools.cpu]\ncommand_prefix = "{wrapper}"'))
    assert run([part(n) for n in range(3)], workspace, site).complete
    inside = set(seen.read_text().split())
    assert inside
    assert str(Path("/proc/self/ns/mnt").readlink()) not in inside


FAULTS: dict[str, Callable[[Cluster, str], None]] = {
    "cancelled by an operator": lambda cluster, job: cluster.cancel(job),
    "node down": lambda cluster, job: cluster.down(cluster.job(job).nodes[0]),
    "preempted": lambda cluster, job: cluster.preempt(job),
    "manager killed": lambda cluster, job: next(
        process
        for process in cluster.processes_of(job)
        if "process_worker_pool.py" in " ".join(process.cmdline())
    ).kill(),
}


CAUSES = {
    "cancelled by an operator": ("by an operator or by hand",),
    "node down": ("a node of its block failed",),
    "preempted": ("preempted",),
    # A worker that outlives its manager may end the task, and take its mark away.
    "manager killed": ("its block failed", "the manager of its workers was lost"),
}
"""What `campaign why` says of each."""


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_lost_block_held_is_done_in_another(
    slurm: Cluster, workspace: Workspace, fault: str
) -> None:
    hit: list[str] = []

    def strike() -> None:
        job = wait_for_work(slurm, workspace)
        FAULTS[fault](slurm, job)
        hit.append(job)

    striking = meanwhile(strike)
    ending = run([part(1, seconds=5.0)], workspace, write_site(workspace.root, blocks=1))
    striking.join()
    assert hit
    assert ending.complete
    outcomes = [row["outcome"] for row in rows(workspace, "result")]
    assert outcomes == ["lost", "done"]
    assert len(rows(workspace, "block_submitted")) == 2
    lost, _ = attempts_of(read_ledger(workspace.ledger), part(1, seconds=5.0).fingerprint, set())
    assert any(words in lost.cause for words in CAUSES[fault])
    assert lost.job == hit[0] or (fault == "manager killed" and not lost.job)
    assert not lost.job or (lost.host in slurm.names and Path(lost.log).exists())


def test_the_budget_is_never_passed(slurm: Cluster, workspace: Workspace) -> None:
    site = write_site(workspace.root, walltime="2", blocks=2)
    one_block = 2 / 60
    parts = [part(n, seconds=1.0, does="die", times=1) for n in range(2)]
    with pytest.raises(Stopped, match=r"the budget is spent: 0\.00 node-hours"):
        run(parts, workspace, site, budget=0.9 * one_block)
    assert not rows(workspace, "block_submitted")
    ending = run(parts, workspace, site, budget=1.9 * one_block)
    assert ending.complete
    assert len(rows(workspace, "block_submitted")) == 1


def test_a_block_that_does_not_start_is_told_of_and_waited_for(
    slurm: Cluster, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("campaign.execution.blocks.WAITS_S", 1.0)
    monkeypatch.setattr("campaign.execution.blocks.TOLD_EVERY_S", 0.0)
    slurm.drain()
    waited: dict[str, str] = {}

    def hold_for_a_while() -> None:
        wait_until(lambda: bool(slurm.jobs()), "a block in the queue")
        (job,) = (job.id for job in slurm.jobs())
        slurm.hold(job)
        for node in slurm.names:
            slurm.resume(node)
        wait_until(lambda: "JobHeld" in str(waiting()), "told why it waits", waiting)
        waited.update(waiting())
        slurm.release(job)

    def waiting() -> dict[str, str]:
        return spending_of(read_ledger(workspace.ledger)).waiting

    holding = meanwhile(hold_for_a_while)
    assert run([part(1)], workspace, write_site(workspace.root, blocks=1)).complete
    holding.join()
    (asked,) = rows(workspace, "block_submitted")
    assert list(waited) == [asked["job"]], "no second block was asked for meanwhile"
    assert waiting() == {}


def test_a_refusal_for_good_ends_the_launch_in_words(slurm: Cluster, workspace: Workspace) -> None:
    site = write_site(workspace.root)
    site.write_text(site.read_text().replace('"debug"', '"nowhere"', 1))
    with pytest.raises(InputError, match="invalid partition"):
        run([part(1)], workspace, site)


def test_blocks_whose_workers_never_come_end_the_launch(
    slurm: Cluster, workspace: Workspace
) -> None:
    site = write_site(workspace.root)
    text = site.read_text()
    site.write_text(
        text.replace("[pools.cpu]", '[pools.cpu]\nworker_init = "echo no module here >&2; exit 3"')
    )
    with pytest.raises(Stopped, match="no module here"):
        run([part(1)], workspace, site)
    assert 3 <= len(rows(workspace, "block_submitted")) <= 8


VICTIM = """
import sys
from pathlib import Path
from campaign.workspace import Workspace
from tests.slurm.test_driver_on_slurm import part, run
run([part(1, seconds=600.0)], Workspace(Path(sys.argv[1])), Path(sys.argv[2]))
"""


DRAIN = """
import sys
from pathlib import Path
from campaign.attempts import attempts_of
from campaign.cancelling import cancel
from campaign.workspace import Workspace
cancel(Workspace(Path(sys.argv[1])), drain=True)
"""


@contextmanager
def victim_of(workspace: Workspace, site: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A driver with a long task, as a process of its own."""
    command = [sys.executable, "-c", VICTIM, str(workspace.root), str(site)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as victim:
        yield victim
        victim.kill()


def test_cancel_ends_a_driver_and_its_blocks_and_a_launch_goes_on(
    slurm: Cluster, workspace: Workspace
) -> None:
    site = write_site(workspace.root, blocks=1)
    with victim_of(workspace, site) as victim:
        job = wait_for_work(slurm, workspace)
        spending = spending_of(read_ledger(workspace.ledger))
        assert (spending.running, spending.blocks) == ({"cpu": 1}, 1)
        cancelled = cancel(workspace)
        assert cancelled.driver is not None
        assert cancelled.driver["pid"] == victim.pid
        assert victim.wait(timeout=60) != 0
        assert victim.stderr is not None
        assert b"stopped; finished work is kept" in victim.stderr.read()
    assert slurm.job(job).state in {"CANCELLED", "COMPLETING"}
    assert not [job for job in slurm.jobs() if job.state in {"PENDING", "RUNNING"}]
    assert run([part(2)], workspace, site).complete


def test_cancel_ends_what_a_dead_driver_left(slurm: Cluster, workspace: Workspace) -> None:
    with victim_of(workspace, write_site(workspace.root, blocks=1)) as victim:
        job = wait_for_work(slurm, workspace)
        victim.kill()
        victim.wait()
        assert cancel(workspace).jobs == [job]
    assert slurm.job(job).state == "CANCELLED"
    assert not slurm.processes_of(job)
    assert spending_of(read_ledger(workspace.ledger)).running == {}


def test_drained_a_launch_ends_when_its_tasks_have(slurm: Cluster, workspace: Workspace) -> None:
    site = write_site(workspace.root, blocks=1)
    parts = [part(n, seconds=4.0) for n in range(4)]

    def ask() -> None:
        """From a process of its own, as the lock is the process's, and not one of the driver's."""
        wait_for_work(slurm, workspace)
        asker = {k: v for k, v in os.environ.items() if k != "CAMPAIGN_WORKSPACE"}
        command = [sys.executable, "-c", DRAIN, str(workspace.root)]
        subprocess.run(command, cwd=ROOT, env=asker, check=True)

    asking = meanwhile(ask)
    with pytest.raises(Stopped):
        run(parts, workspace, site)
    asking.join()
    done = [row for row in rows(workspace, "result") if row["outcome"] == "done"]
    assert 1 <= len(done) < 4
    assert len(done) == len(rows(workspace, "submitted"))
    withdraw(workspace)
    assert run(parts, workspace, site).complete


def test_what_a_killed_driver_left_is_ended_and_never_doubled(
    slurm: Cluster, workspace: Workspace
) -> None:
    site = write_site(workspace.root, blocks=1)
    with victim_of(workspace, site) as victim:
        left = wait_for_work(slurm, workspace)
        victim.kill()
        victim.wait()
    assert slurm.job(left).state == "RUNNING"
    ending = run([part(1)], workspace, site)
    assert ending.complete
    assert slurm.job(left).state == "CANCELLED"
    assert not slurm.processes_of(left)
    (told,) = (row for row in rows(workspace, "block_ended") if row["job"] == left)
    assert told["reason"] == "left by a driver that was killed"
    assert told["node_hours"] > 0
    marked = [p for p in psutil.process_iter(["environ"]) if _is_ours(p, workspace)]
    assert not [p for p in marked if p.pid != os.getpid()]


def _is_ours(process: psutil.Process, workspace: Workspace) -> bool:
    environment = process.info["environ"] or {}
    return bool(environment.get("CAMPAIGN_WORKSPACE") == str(workspace.root.resolve()))


def test_a_launch_on_one_machine_ends_what_was_left_on_the_cluster(
    slurm: Cluster, workspace: Workspace
) -> None:
    with victim_of(workspace, write_site(workspace.root, blocks=1)) as victim:
        left = wait_for_work(slurm, workspace)
        victim.kill()
        victim.wait()
    local = workspace.root / "here.toml"
    local.write_text('[site]\nname = "here"\n[pools.cpu]\nworkers_per_node = 1\n')
    assert run([part(1)], workspace, local).complete
    assert slurm.job(left).state == "CANCELLED"


def test_jobs_of_another_workspace_are_left_alone(slurm: Cluster, workspace: Workspace) -> None:
    other = slurm.submit("sleep 600", f"--job-name={job_prefix(workspace.root / 'other')}-cpu")
    slurm.wait_for(other, "RUNNING")
    assert run([part(1)], workspace, write_site(workspace.root)).complete
    assert slurm.job(other).state == "RUNNING"


@pytest.mark.slow
def test_a_task_that_outlasts_its_block_goes_on_in_another(
    slurm: Cluster, workspace: Workspace
) -> None:
    """One-minute blocks, a task of more than a minute that keeps what it has done."""
    began = time.monotonic()
    long = planned_part(
        "sample", "long", {"value": 1, "seconds": 75.0}, 0,
        function="tests.integration.toy_tasks:continued",
    )  # fmt: skip
    ending = run([long], workspace, write_site(workspace.root, walltime="1", blocks=1))
    assert ending.complete
    assert time.monotonic() - began > 75.0
    outcomes = [row["outcome"] for row in rows(workspace, "result")]
    assert outcomes[-1] == "done"
    assert "continue" in outcomes
    assert "lost" not in outcomes
    assert len(rows(workspace, "block_submitted")) >= 2
