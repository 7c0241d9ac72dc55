"""What a private cluster's slurm.conf and gres.conf say: one machine that pretends to be several.

Every key is one that was tried with Slurm 22.05 in a container: no cgroups, no accounting, no
services of the machine's own. Jobs start within about a second, a silent node is given up after
about half a minute, and nodes that come back are taken back by themselves.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import socket
from collections.abc import Mapping
from pathlib import Path

GPU_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
"""Devices in /dev that every Linux has; slurmd drops a GPU that has no file of its own."""

_FIXED = {
    "ClusterName": "campaign",
    "AuthType": "auth/munge",
    "CredType": "cred/munge",
    "ProctrackType": "proctrack/linuxproc",
    "TaskPlugin": "task/none",
    "JobAcctGatherType": "jobacct_gather/none",
    "AccountingStorageType": "accounting_storage/none",
    "JobCompType": "jobcomp/none",
    "SwitchType": "switch/none",
    "MpiDefault": "none",
    "PreemptType": "preempt/partition_prio",
    "PreemptMode": "REQUEUE",
    "SelectType": "select/cons_tres",
    "SelectTypeParameters": "CR_Core",
    "SchedulerType": "sched/backfill",
    "SchedulerParameters": (
        "batch_sched_delay=0,sched_min_interval=10000,sched_interval=2,bf_interval=2"
    ),
    "ReturnToService": 2,
    "SlurmdTimeout": 10,
    "SlurmctldTimeout": 10,
    "KillWait": 3,
    "JobRequeue": 1,
    "MinJobAge": 300,
    "MessageTimeout": 10,
    "InactiveLimit": 0,
    "BatchStartTimeout": 60,
    "SlurmdParameters": "config_overrides",
    "TreeWidth": 65533,
    "GresTypes": "gpu",
}


def user_name() -> str:
    """Whose daemons and jobs they are: those of the user who runs the tests."""
    return pwd.getpwuid(os.getuid()).pw_name


def slurm_conf(
    folder: Path, sockets: Path, ports: Mapping[str, int], cpus: int, gpus: int, short_minutes: int
) -> str:
    """Text of slurm.conf.

    Parameters
    ----------
    folder : Path
        For the state and logs.
    sockets : Path
        For munge's socket and the nodes' spools, in which the steps' sockets are.
    ports : mapping of str to int
        Of "slurmctld" and of each node, by name.
    cpus, gpus : int
        Of each node; the machine need not have them.
    short_minutes : int
        Time limit of the partition `short`.
    """
    host = socket.gethostname().split(".")[0]
    own = {
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "SlurmctldPort": ports["slurmctld"],
        "SlurmUser": user_name(),
        "SlurmdUser": user_name(),
        "AuthInfo": f"socket={sockets}/munge.sock",
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": sockets / "%n",
        "SlurmctldPidFile": folder / "run" / "slurmctld.pid",
        "SlurmdPidFile": folder / "run" / "slurmd.%n.pid",
        "SlurmctldLogFile": folder / "log" / "slurmctld.log",
        "SlurmdLogFile": folder / "log" / "slurmd.%n.log",
    }
    hardware = (
        f"CPUs={cpus} Boards=1 SocketsPerBoard=1 CoresPerSocket={cpus} ThreadsPerCore=1"
        f" RealMemory=4000{f' Gres=gpu:fake:{gpus}' if gpus else ''}"
    )
    nodes = [
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} {hardware}"
        for node, port in ports.items()
        if node != "slurmctld"
    ]
    partitions = [
        "PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE",
        "PartitionName=shared Nodes=ALL MaxTime=INFINITE OverSubscribe=FORCE:4",
        f"PartitionName=short Nodes=ALL MaxTime={short_minutes}",
        "PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF",
    ]
    keys = [f"{key}={value}" for key, value in (_FIXED | own).items()]
    return "\n".join([*keys, *nodes, *partitions, ""])


def gres_conf(gpus: int) -> str:
    """Text of gres.conf: GPUs that are none."""
    files = ",".join(f"/dev/{device}" for device in GPU_DEVICES[:gpus])
    return f"Name=gpu Type=fake File={files}\n" if gpus else ""


def free_ports(folder: Path, count: int) -> list[int]:
    """Ports that nobody listens on, below those that the kernel gives to outgoing connections.

    The search begins at a place of the folder's own, so that two clusters that start at the same
    moment do not find the same ports.
    """
    first = 10_000 + int(hashlib.sha256(str(folder).encode()).hexdigest(), 16) % 20_000
    free = (port for port in range(first, 32_768) if _is_free(port))
    return [next(free) for _ in range(count)]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
