"""Seeded faults of a cluster, thrown into a campaign that runs on it.

A *fault* strikes a task that is in flight in a block: its worker, manager, rank or node, its job,
the scheduler, or the driver of all. When, and which kind comes next, is drawn beforehand from a
stream. A fault *hits* if the task was still in flight when it struck, and else is thrown again.
Between two faults the campaign makes some progress, so that each meets work. Walltimes are short,
so that blocks also end by themselves meanwhile.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from data_store.streams import stream
from tests.e2e.kills import processes_of
from tests.e2e.tiny import environment, events, start
from tests.slurm.cluster import Cluster

__all__ = ["FAULTS", "Storm", "weather"]

ROOT = Path(__file__).parents[2]
PATIENCE_S = 240.0
_TICK_S = 0.02


@dataclass(frozen=True)
class Victim:
    """A task in flight, and where.

    Parameters
    ----------
    mark : Path
        Lies there for as long as it is in flight.
    worker : psutil.Process
    job, node : str
        Of its block; the node that the worker is on.
    """

    mark: Path
    worker: psutil.Process
    job: str
    node: str


def victims(cluster: Cluster, folder: Path, stage: str = "") -> Iterator[Victim]:
    """Tasks in flight in blocks, of one stage or all."""
    for mark in sorted((folder / "workspace" / "running").glob(f"{stage}*.json")):
        try:
            pid = json.loads(mark.read_text())["pid"]
            found = _environment_of(pid)
            yield Victim(mark, psutil.Process(pid), found["SLURM_JOB_ID"], found["SLURMD_NODENAME"])
        except (OSError, ValueError, KeyError, psutil.Error):
            continue  # it ended while we looked


def _environment_of(pid: int) -> dict[str, str]:
    """What a process was started with; psutil stops at the first empty entry."""
    raw = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    pairs = (entry.decode(errors="replace").partition("=") for entry in raw if b"=" in entry)
    return {name: value for name, _, value in pairs}


Strike = Callable[[Cluster, Victim], None]


def _kill_manager(cluster: Cluster, victim: Victim) -> None:
    """Kill the pool of workers that the task's worker belongs to, and with it the block."""
    for parent in victim.worker.parents():
        if "process_worker_pool.py" in " ".join(parent.cmdline()):
            parent.kill()
            return
    raise LookupError(f"{victim.worker} has no manager")


def _kill_rank(cluster: Cluster, victim: Victim) -> None:
    """Kill a rank that the task has started."""
    ranks = [p for p in cluster.processes_of(victim.job) if "apps.training.rank" in _words(p)]
    pythons = [p for p in ranks if p.name().startswith("python")]
    if not pythons:
        raise LookupError("no rank yet")
    pythons[-1].kill()


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _lose_node_silently(cluster: Cluster, victim: Victim) -> None:
    """Kill a node's daemon; its processes run on, and it comes back."""
    cluster.kill_slurmd(victim.node)
    time.sleep(3.0)
    cluster.start_slurmd(victim.node)


def _hang_scheduler(cluster: Cluster, victim: Victim) -> None:
    """Let the scheduler answer nobody for a while."""
    controller = cluster.slurmctld()
    controller.suspend()
    time.sleep(8.0)
    controller.resume()


def _preempt(cluster: Cluster, victim: Victim) -> None:
    """Let a job of higher priority take a node of the block."""
    cluster.preempt(victim.job)
    if cluster.job(victim.job).state != "PREEMPTED":
        raise LookupError("the block had ended by itself")


def _keep_from_starting(cluster: Cluster, victim: Victim) -> None:
    """End a block; the one asked for in its place does not start until an operator lets it.

    Other blocks work on meanwhile, if there are any.
    """
    before = {job.id for job in cluster.jobs()}
    cluster.drain()
    try:
        cluster.cancel(victim.job)
        held = _asked_for(cluster, before)
        cluster.hold(held)
    finally:
        for node in cluster.names:
            cluster.resume(node)
    time.sleep(5.0)
    if cluster.job(held).state != "PENDING":
        raise LookupError("it was not waited for")
    cluster.release(held)


def _asked_for(cluster: Cluster, before: set[str]) -> str:
    """A block that waits, and was not there before."""

    def new() -> list[str]:
        return [j.id for j in cluster.jobs() if j.state == "PENDING" and j.id not in before]

    deadline = time.monotonic() + 30.0
    while not new():
        if time.monotonic() > deadline:
            raise LookupError("no other block was asked for")
        time.sleep(_TICK_S)
    return new()[0]


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Parameters
    ----------
    strike : callable
    stage : str
        Whose tasks it strikes; any by default.
    """

    strike: Strike
    stage: str = ""


FAULTS: dict[str, Fault] = {
    "worker killed": Fault(lambda cluster, victim: victim.worker.kill()),
    "manager killed": Fault(_kill_manager),
    "rank killed": Fault(_kill_rank, "pretrain"),
    "node down": Fault(lambda cluster, victim: cluster.down(victim.node)),
    "daemon of a node killed": Fault(_lose_node_silently),
    "preempted": Fault(_preempt),
    "block that never starts": Fault(_keep_from_starting),
    "block cancelled": Fault(lambda cluster, victim: cluster.cancel(victim.job)),
    "scheduler hangs": Fault(_hang_scheduler),
    "driver killed": Fault(lambda cluster, victim: None),
    "campaign cancelled": Fault(lambda cluster, victim: None),
}
"""The last two strike the driver, which the storm knows."""


@dataclass
class Storm:
    """Faults that are still to be thrown, and what became of the others.

    Parameters
    ----------
    kinds : list of str
        In the order in which they are thrown.
    seed : int
    """

    kinds: list[str]
    seed: int
    hits: Counter[str] = field(default_factory=Counter)
    misses: int = 0

    def delay_s(self) -> float:
        """How long the next victim is left alone."""
        rng = stream(self.seed, "fault", sum(self.hits.values()) + self.misses)
        return float(rng.uniform(0.0, 1.0))


def weather(cluster: Cluster, folder: Path, site: Path, storm: Storm) -> str:
    """Run a campaign to its end under a storm, as far as that gets in it; what it wrote at its end.

    A driver that was killed or cancelled is launched again.
    """
    arguments = ("--site", str(site))
    driver = start(folder, *arguments, PYTHONPATH=str(ROOT))
    try:
        while driver.poll() is None:
            if storm.kinds and _strike(cluster, folder, storm, driver):
                storm.hits[storm.kinds.pop(0)] += 1
                if driver.poll() is not None:
                    driver = start(folder, *arguments, PYTHONPATH=str(ROOT))
                _wait_for_progress(cluster, folder, storm, driver)
            time.sleep(_TICK_S)
    finally:
        driver.kill()
        driver.wait()
    output = (folder / "output.txt").read_text()
    assert driver.returncode == 0, output
    return output


def _strike(cluster: Cluster, folder: Path, storm: Storm, driver: subprocess.Popen[bytes]) -> bool:
    """Throw the next fault at a task in flight, if there is one; whether it hit."""
    kind = storm.kinds[0]
    victim = next(victims(cluster, folder, FAULTS[kind].stage), None)
    if victim is None:
        return False
    time.sleep(storm.delay_s())
    if not victim.mark.exists() or driver.poll() is not None:
        storm.misses += 1
        return False
    try:
        FAULTS[kind].strike(cluster, victim)
    except (LookupError, psutil.Error, subprocess.CalledProcessError):
        storm.misses += 1
        return False
    if kind == "driver killed":
        driver.kill()
        driver.wait()
    elif kind == "campaign cancelled":
        _cancel(folder)
        driver.wait(timeout=PATIENCE_S)
    return True


def _cancel(folder: Path) -> None:
    command = [sys.executable, "-c", "from campaign.cli.main import main; main()"]
    subprocess.run(
        [*command, "cancel", str(folder)], check=True, timeout=PATIENCE_S,
        env=environment() | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def _wait_for_progress(
    cluster: Cluster, folder: Path, storm: Storm, driver: subprocess.Popen[bytes]
) -> None:
    """Wait until something more was finished, or the campaign has ended."""
    before, deadline = _finished(folder), time.monotonic() + PATIENCE_S
    while driver.poll() is None and _finished(folder) <= before:
        assert time.monotonic() < deadline, _standstill(cluster, folder, storm)
        time.sleep(_TICK_S)


def _standstill(cluster: Cluster, folder: Path, storm: Storm) -> str:
    """All that is known of a campaign in which nothing moves."""
    running = [path.read_text() for path in (folder / "workspace" / "running").glob("*.json")]
    said = [json.dumps(row) for row in events(folder)[-80:]]
    return "\n".join([
        f"hits: {dict(storm.hits)}, to come: {storm.kinds}", (folder / "output.txt").read_text(),
        *said, "jobs:", *map(str, cluster.jobs()), "nodes:", str(cluster.states()),
        "in flight:", *running,
    ])  # fmt: skip


def _finished(folder: Path) -> int:
    workspace = folder / "workspace"
    parts = len(list((workspace / "parts").glob("*/[!.]*/manifest.json")))
    return parts + len(list((workspace / "work").glob("*/0*.npz")))


def order_of(kinds: Sequence[str], each: int, seed: int) -> list[str]:
    """Every kind so many times, shuffled."""
    rng = stream(seed, "order")
    thrown = [kind for kind in kinds for _ in range(each)]
    return [thrown[place] for place in rng.permutation(len(thrown))]


def nobody_left(cluster: Cluster, folder: Path) -> bool:
    """Whether neither a process nor a job of the campaign is left."""
    jobs = [job for job in cluster.jobs() if job.state in {"PENDING", "RUNNING"}]
    return not jobs and not processes_of(folder)
