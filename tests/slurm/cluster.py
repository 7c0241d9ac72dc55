"""A private Slurm cluster of several virtual nodes with fake GPUs, on this machine.

Tests start it by themselves, as root or as an ordinary user, beside any other Slurm: it has its
own munge key, ports, configuration and folder, and touches no process but its own. Every client
needs `SLURM_CONF` of `Cluster.environment()`; jobs inherit it.

By hand, from the root of the repository::

    python -m tests.slurm.cluster start /tmp/cluster --nodes 4    # prints the export line to use
    python -m tests.slurm.cluster stop /tmp/cluster

Paths of unix sockets are limited to about 100 characters, so munge's socket and the spools of the
nodes (each step of a job listens there) lie in a short folder in /tmp whose name follows from that
of the cluster's folder. It is no benchmark of Slurm, and has no accounting: `sacct` only says so.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tests.slurm.configuration import GPU_DEVICES, free_ports, gres_conf, slurm_conf, user_name
from tests.slurm.installation import program
from tests.slurm.processes import daemon, daemons, end, job_processes, kill, wait_for_death
from tests.slurm.waiting import PATIENCE_S, wait_until

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Job:
    """A job as squeue tells it.

    Parameters
    ----------
    id, name : str
    state : str
        In full, such as PENDING, RUNNING, COMPLETING, COMPLETED, NODE_FAIL, TIMEOUT.
    nodes : tuple of str
        That it has or had.
    reason : str
        Why it waits or how it ended.
    """

    id: str
    name: str
    state: str
    nodes: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Cluster:
    """A cluster that lives as long as the `with` block; if its process is killed, it ends too.

    Partitions: `debug` (the default, no time limit), `shared` (four jobs on each core), `short`,
    and `urgent`, whose jobs preempt those of the others.

    Parameters
    ----------
    folder : Path
        Its state, logs and the output of jobs; may exist.
    nodes : int
        Named n1, n2, ...
    cpus, gpus : int
        Of each node; the machine need not have them.
    short_minutes : int
        Time limit of the partition `short`. Slurm counts minutes, and may look half a minute late.
    """

    folder: Path
    nodes: int = 4
    cpus: int = 8
    gpus: int = 4
    short_minutes: int = 2
    _ending: ExitStack = field(default_factory=ExitStack, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.folder.is_absolute():
            raise ValueError(f"a cluster's folder is an absolute path, not {self.folder}")
        if self.gpus > len(GPU_DEVICES):
            raise ValueError(f"a node has at most {len(GPU_DEVICES)} fake GPUs, not {self.gpus}")

    def __enter__(self) -> Self:
        with ExitStack() as ending:
            ending.enter_context(_guarded(self.folder))
            ending.callback(self.stop)
            self.start()
            self._ending.enter_context(ending.pop_all())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._ending.close()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the nodes."""
        return tuple(f"n{number + 1}" for number in range(self.nodes))

    @property
    def conf(self) -> Path:
        """Its slurm.conf."""
        return self.folder / "etc" / "slurm.conf"

    @property
    def sockets(self) -> Path:
        """Short folder of all unix sockets; there while the cluster runs."""
        return Path("/tmp") / f"slurm-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]}"

    def environment(self) -> dict[str, str]:
        """What a client of this cluster has in its environment."""
        return {"SLURM_CONF": str(self.conf)}

    def start(self) -> None:
        """Start all daemons and wait until all nodes are idle.

        What a killed process left running in this folder is ended first.
        """
        self.stop()
        self._write()
        self._start_munged()
        self._start("slurmctld", "-i")
        for node in self.names:
            self.start_slurmd(node)
        self.wait_until_idle()

    def stop(self) -> None:
        """End all jobs and daemons, however many of them still live."""
        if daemons(self.conf, "slurmctld") and daemons(self.conf, "munged"):
            with suppress(subprocess.SubprocessError, TimeoutError):
                self.ask("scancel", "--user", user_name(), patience_s=10.0)
                wait_for_death(job_processes(self.conf), 10.0)
        # Steps would go on telling a lost controller that they have ended.
        kill([*job_processes(self.conf), *daemons(self.conf, "slurmstepd")])
        end(daemons(self.conf, "slurmd", "slurmctld"))
        end(daemons(self.conf))
        shutil.rmtree(self.sockets, ignore_errors=True)

    def clear(self) -> None:
        """As new, whatever was done to it: no job, no process of one, all nodes idle."""
        for node in self.names:
            if self.slurmd(node) is None:
                self.start_slurmd(node)
        self.ask("scancel", "--user", user_name())
        wait_until(lambda: not self.jobs(), "without a job", self.jobs)
        kill(job_processes(self.conf))
        for node, state in self.states().items():
            if state != "idle":
                self.resume(node)
        self.wait_until_idle()

    def states(self) -> dict[str, str]:
        """State of each node, such as idle, mixed, allocated, down; * where it does not answer."""
        return dict(line.split() for line in self.ask("sinfo", "-h", "-N", "-o", "%N %T"))

    def wait_until_idle(self, patience_s: float = PATIENCE_S) -> None:
        """Wait until every node is idle."""
        idle = dict.fromkeys(self.names, "idle")
        wait_until(
            lambda: self.states() == idle, f"all idle ({self.folder})", self.states, patience_s
        )

    def submit(self, command: str, *options: str) -> str:
        """Submit a batch job of one shell command; its id."""
        output = f"--output={self.folder}/jobs/%A.txt"
        return self.ask("sbatch", "--parsable", output, *options, "--wrap", command)[0]

    def output(self, job: str) -> str:
        """What a job of `submit` wrote so far."""
        path = self.folder / "jobs" / f"{job}.txt"
        return path.read_text() if path.exists() else ""

    def jobs(self) -> list[Job]:
        """Jobs that wait, run or are just ending."""
        return self._squeue()

    def job(self, job: str) -> Job:
        """A job, also one that ended within the last five minutes."""
        return self._squeue("--states=all", f"--jobs={job}")[0]

    def wait_for(self, job: str, *states: str) -> Job:
        """Wait until a job is in one of the states."""
        wait_until(
            lambda: self.job(job).state in states, " or ".join(states), lambda: self.job(job)
        )
        return self.job(job)

    def processes_of(self, job: str, node: str | None = None) -> list[psutil.Process]:
        """Processes of a job, on all nodes or one."""
        return job_processes(self.conf, job, node)

    def slurmd(self, node: str) -> psutil.Process | None:
        """Daemon of a node, if it lives."""
        return daemon(self.conf, self.folder / "run" / f"slurmd.{node}.pid")

    def slurmctld(self) -> psutil.Process:
        """The scheduler's daemon; what is done to it must be undone before the test ends."""
        (found,) = daemons(self.conf, "slurmctld")
        return found

    def down(self, node: str) -> None:
        """Lose a node at once: its jobs end NODE_FAIL or wait for two minutes; it comes back."""
        self.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def resume(self, node: str) -> None:
        """Take a node back; one that is well stays as it is."""
        with suppress(subprocess.CalledProcessError):  # "Invalid node state": it was well
            self.ask("scontrol", "update", f"nodename={node}", "state=resume")

    def kill_slurmd(self, node: str) -> None:
        """Lose a node silently: seen after half a minute, and its processes run on."""
        process = self.slurmd(node)
        if process is None:
            raise LookupError(f"no slurmd of {node} runs")
        kill([process])

    def start_slurmd(self, node: str) -> None:
        """Start the daemon of a node."""
        self._start("slurmd", "-N", node)

    def cancel(self, job: str) -> None:
        """As an operator or user does it."""
        self.ask("scancel", job)

    def preempt(self, job: str) -> None:
        """Let an urgent job take the first node of a running one, and wait until it has."""
        node = self.job(job).nodes[0]
        urgent = self.submit("true", "--partition=urgent", f"--nodelist={node}", "--exclusive")
        self.wait_for(urgent, "COMPLETED")

    def hold(self, job: str) -> None:
        """Keep a job that waits from starting, as an operator does it."""
        self.ask("scontrol", "hold", job)

    def release(self, job: str) -> None:
        """Let a held job start."""
        self.ask("scontrol", "release", job)

    def drain(self) -> None:
        """Let no node begin a job any more; `resume` takes each back."""
        nodes = ",".join(self.names)
        self.ask("scontrol", "update", f"nodename={nodes}", "state=drain", "reason=test")

    def requeue(self, job: str) -> None:
        """End a running job and let it wait for two minutes before it runs again."""
        self.ask("scontrol", "requeue", job)

    def begin_now(self, job: str) -> None:
        """Let a requeued job wait no longer."""
        self.ask("scontrol", "update", f"jobid={job}", "StartTime=now")

    def ask(self, *command: str, patience_s: float = PATIENCE_S) -> list[str]:
        """Lines that one of Slurm's commands answers.

        Raises
        ------
        subprocess.CalledProcessError
            If it refuses; a note says why.
        subprocess.TimeoutExpired
            If it does not answer.
        """
        answer = subprocess.run(
            command, env=self._environment(), capture_output=True, text=True, timeout=patience_s
        )
        try:
            answer.check_returncode()
        except subprocess.CalledProcessError as error:
            error.add_note(answer.stderr)
            raise
        return answer.stdout.splitlines()

    def _squeue(self, *options: str) -> list[Job]:
        lines = self.ask("squeue", "-h", "--array", "-o", "%A|%T|%N|%r|%j", *options)
        return [
            Job(number, name, state, _expanded(nodes), reason)
            for number, state, nodes, reason, name in (line.split("|", 4) for line in lines)
        ]

    def _environment(self) -> dict[str, str]:
        """Of another Slurm, in whose job the tests may run, nothing."""
        ours = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
        return ours | self.environment()

    def _write(self) -> None:
        shutil.rmtree(self.folder / "state", ignore_errors=True)
        inside = [self.folder / name for name in ("etc", "run", "log", "state", "jobs")]
        for path in (*inside, *(self.sockets / node for node in self.names)):
            path.mkdir(parents=True, exist_ok=True)
        self.sockets.chmod(0o755)
        key = self.folder / "etc" / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(1024))
        found = free_ports(self.folder, self.nodes + 1)
        ports = dict(zip(("slurmctld", *self.names), found, strict=True))
        text = slurm_conf(
            self.folder, self.sockets, ports, self.cpus, self.gpus, self.short_minutes
        )
        self.conf.write_text(text)
        self.conf.with_name("gres.conf").write_text(gres_conf(self.gpus))

    def _start_munged(self) -> None:
        self._start(
            "munged", "--force", "--num-threads=2",
            f"--key-file={self.folder}/etc/munge.key",
            f"--socket={self.sockets}/munge.sock",
            f"--pid-file={self.folder}/run/munged.pid",
            f"--log-file={self.folder}/log/munged.log",
            f"--seed-file={self.folder}/run/munge.seed",
        )  # fmt: skip

    def _start(self, name: str, *options: str) -> None:
        """Start a daemon, which goes into the background when it is ready."""
        log = self.folder / "log" / f"{name}.start.log"
        with log.open("ab") as output:
            subprocess.run(
                [program(name) or name, *options],
                env=self._environment(), cwd=self.folder, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, timeout=PATIENCE_S, check=True,
            )  # fmt: skip


@contextmanager
def _guarded(folder: Path) -> Iterator[None]:
    """Beside this process one that waits for its end, and stops the cluster if it is killed.

    However this process ends, the pipe between them closes.
    """
    stop = 'read -r _; exec "$0" -m tests.slurm.cluster stop "$1"'
    guard = subprocess.Popen(
        ["/bin/sh", "-c", stop, sys.executable, str(folder)],
        cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield
    finally:
        guard.kill()
        guard.communicate()


def _expanded(nodes: str) -> tuple[str, ...]:
    """Names in a list of Slurm's, such as n1 or n[1-2,4]."""
    names: list[str] = []
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", nodes):
        names += [f"n{number}" for number in range(int(first), int(last or first) + 1)]
    return tuple(names)


def main() -> None:
    """Start or stop a cluster by hand."""
    parser = argparse.ArgumentParser(prog="python -m tests.slurm.cluster", description=__doc__)
    parser.add_argument("action", choices=["start", "stop"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nodes", type=int, default=4)
    chosen = parser.parse_args()
    cluster = Cluster(chosen.folder.resolve(), chosen.nodes)
    if chosen.action == "stop":
        cluster.stop()
        return
    cluster.start()
    for key, value in cluster.environment().items():
        print(f"export {key}={value}")


if __name__ == "__main__":
    main()
