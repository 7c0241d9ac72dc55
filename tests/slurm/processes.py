"""The processes of one private Slurm cluster, and no others.

They are told by what they inherited: every daemon, step and process of a job has the path of the
cluster's own slurm.conf in its environment. A client, such as a shell with SLURM_CONF set, has it
too, and is not of the cluster: it is neither one of Slurm's daemons nor placed on one of the nodes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import psutil

from tests.slurm.waiting import wait_until

_DAEMONS = frozenset({"munged", "slurmctld", "slurmscriptd", "slurmd", "slurmstepd"})


def is_alive(process: psutil.Process) -> bool:
    """Whether anything more can come from it; what waits to be buried by its parent is dead."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def name_of(process: psutil.Process) -> str:
    """Name of the program that it runs; nothing if it is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return str(process.name())
    return ""


def daemons(conf: Path, *names: str) -> list[psutil.Process]:
    """Daemons of the cluster, of these names or all, with those of the steps of its jobs."""
    wanted = names or _DAEMONS
    return [process for process, _ in _inheriting(conf) if name_of(process) in wanted]


def job_processes(
    conf: Path, job: str | None = None, node: str | None = None
) -> list[psutil.Process]:
    """Processes that run on nodes of the cluster, of one job or all, on one node or all."""
    return [
        process
        for process, inherited in _inheriting(conf)
        if "SLURMD_NODENAME" in inherited
        and job in (None, inherited.get("SLURM_JOB_ID"))
        and node in (None, inherited["SLURMD_NODENAME"])
    ]


def daemon(conf: Path, pid_file: Path) -> psutil.Process | None:
    """The daemon that wrote a file with its number, if it lives."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(pid_file.read_text())
        return next((process for process in daemons(conf) if process.pid == pid), None)
    return None


def end(processes: Iterable[psutil.Process], grace_s: float = 10.0) -> None:
    """SIGTERM, and SIGKILL for what lives on after `grace_s`."""
    left = list(processes)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    with contextlib.suppress(TimeoutError):
        wait_for_death(left, grace_s)
    kill(left)


def kill(processes: Iterable[psutil.Process]) -> None:
    """SIGKILL, and wait until they are dead."""
    left = list(processes)
    for process in left:
        # psutil refuses if another process has got this number meanwhile.
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    wait_for_death(left)


def wait_for_death(processes: list[psutil.Process], patience_s: float = 60.0) -> None:
    """Wait until none of them lives."""

    def alive() -> list[psutil.Process]:
        return [process for process in processes if is_alive(process)]

    wait_until(lambda: not alive(), "dead", alive, patience_s)


def _inheriting(conf: Path) -> list[tuple[psutil.Process, dict[str, str]]]:
    mark = f"SLURM_CONF={conf}"
    began = {pid: _environment(pid) for pid in psutil.pids()}
    found = []
    for pid in (pid for pid, entries in began.items() if mark in entries):
        with contextlib.suppress(psutil.NoSuchProcess):
            pairs = (entry.partition("=") for entry in began[pid])
            found.append((psutil.Process(pid), {key: value for key, _, value in pairs}))
    return [(process, inherited) for process, inherited in found if is_alive(process)]


def _environment(pid: int) -> list[str]:
    """What a process began with.

    psutil stops at the first empty entry; Slurm's daemons make some where they set their title.
    """
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # it is gone, or another user's
        return []
