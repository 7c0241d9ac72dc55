"""A site file from what Slurm tells of a cluster: text of ``sinfo`` and ``scontrol`` to text.

What it finds: partitions that are up, nodes, cores, memory, GPUs, time limits. What it cannot know
(whom to charge, which quality of service) becomes a blank, which a launch refuses. It decides
nothing that a comment in the file does not say, and it is no scheduler: the file is for its user to
read and change.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from campaign.sites.walltime import seconds_of_walltime, walltime_of_seconds
from data_store.errors import InputError

__all__ = [
    "Answers",
    "Partition",
    "ask_slurm",
    "partitions_of",
    "partitions_up",
    "records",
    "site_file",
]

_LONGEST_S, _SHORTEST_S = 24 * 3600, 600
_MOST_BLOCKS = 8
_TIMEOUT_S = 60
_COMMANDS = {
    "sinfo": ("sinfo", "--noheader", "--format=%R|%a"),
    "partitions": ("scontrol", "--oneliner", "show", "partition"),
    "nodes": ("scontrol", "--oneliner", "show", "node"),
    "config": ("scontrol", "show", "config"),
}


@dataclass(frozen=True)
class Answers:
    """What Slurm said.

    Parameters
    ----------
    sinfo : str
        Lines ``partition|up``.
    partitions, nodes, config : str
        Of ``scontrol show``.
    """

    sinfo: str
    partitions: str
    nodes: str
    config: str


@dataclass(frozen=True)
class Partition:
    """What can be had of a partition; of unlike nodes, what each of them has.

    Parameters
    ----------
    name : str
    default : bool
    limit_s : int or None
        Longest job; None without a limit.
    nodes : int
        That it has and a job may have.
    cpus : int
        Of a node, as Slurm counts them: hardware threads.
    cores : int
        Of a node, those set aside for the system left out.
    memory_GB : int
        Of a node, whole GiB; 0 where that is not told.
    gpus : int
        Of a node; 0 if none of its nodes has any, else the fewest of those that have some.
    kinds : int
        Kinds of nodes in it.
    shared : bool
        Whether a job cannot have a node to itself.
    names_accounts, names_qos : bool
        Whether only some may use it.
    """

    name: str
    default: bool
    limit_s: int | None
    nodes: int
    cpus: int
    cores: int
    memory_GB: int
    gpus: int
    kinds: int
    shared: bool
    names_accounts: bool
    names_qos: bool


def records(text: str) -> list[dict[str, str]]:
    """Records of ``scontrol show``, on one line each or on several.

    A value goes on to the next word that looks like ``Key=``: ``OS=Linux 6.1 x86``.
    """
    blocks = re.split(r"\n(?=PartitionName=|NodeName=)", text.strip())
    return [found for block in blocks if (found := _fields(block))]


def _fields(block: str) -> dict[str, str]:
    pairs = re.findall(r"(?:^|\s)([A-Za-z]\w*)=(.*?)(?=\s+[A-Za-z]\w*=|\s*$)", block, re.DOTALL)
    return {key: value.strip() for key, value in pairs}


def partitions_of(answers: Answers) -> list[Partition]:
    """Partitions that are of use: up, with nodes and time; the default first, then the longest."""
    found = partitions_up(answers)
    usable = [p for p in found if p.nodes and (p.limit_s is None or p.limit_s >= _SHORTEST_S)]
    return sorted(usable, key=lambda p: (not p.default, -(p.limit_s or 10**9)))


def partitions_up(answers: Answers) -> list[Partition]:
    """All partitions that are up."""
    lines = (line.strip().split("|") for line in answers.sinfo.splitlines())
    up = {line[0] for line in lines if len(line) == 2 and line[1] == "up"}
    nodes = records(answers.nodes)
    return [
        _partition(record, [node for node in nodes if _is_in(node, record["PartitionName"])])
        for record in records(answers.partitions)
        if record.get("PartitionName") in up
    ]


def _is_in(node: Mapping[str, str], partition: str) -> bool:
    return partition in node.get("Partitions", "").split(",")


def _partition(record: Mapping[str, str], nodes: Sequence[Mapping[str, str]]) -> Partition:
    with_gpus = [node for node in nodes if _gpus(node)]
    counted = with_gpus or nodes
    most = _number(record.get("MaxNodes", ""), len(nodes))
    return Partition(
        name=record["PartitionName"],
        default=record.get("Default") == "YES",
        limit_s=_limit_s(record.get("MaxTime", "")),
        nodes=min(len(counted), most),
        cpus=min(map(_cpus, counted), default=0),
        cores=min(map(_cores, counted), default=0),
        memory_GB=min(map(_memory_GB, counted), default=0),
        gpus=min(map(_gpus, with_gpus), default=0),
        kinds=len({(_cpus(node), _memory_GB(node), _gpus(node)) for node in nodes}),
        shared=record.get("OverSubscribe", "").startswith("FORCE"),
        names_accounts=record.get("AllowAccounts", "ALL") != "ALL",
        names_qos=record.get("AllowQos", "ALL") != "ALL",
    )


def _number(text: str, otherwise: int) -> int:
    return int(text) if text.isascii() and text.isdigit() else otherwise


def _limit_s(text: str) -> int | None:
    try:
        return seconds_of_walltime(text)
    except ValueError:  # UNLIMITED
        return None


def _gpus(node: Mapping[str, str]) -> int:
    """GPUs of ``Gres=gpu:a100:4(S:0-1),gpu:2,nvme:1``; a bare ``gpu`` is one."""
    gres = re.sub(r"\(.*?\)", "", node.get("Gres", "")).split(",")
    kinds = [entry.split(":") for entry in gres if entry.split(":")[0] == "gpu"]
    return sum(_number(kind[-1], 1) for kind in kinds)


def _cpus(node: Mapping[str, str]) -> int:
    return max(1, _number(node.get("CPUEfctv", ""), _number(node.get("CPUTot", ""), 1)))


def _cores(node: Mapping[str, str]) -> int:
    return max(1, _cpus(node) // max(1, _number(node.get("ThreadsPerCore", ""), 1)))


def _memory_GB(node: Mapping[str, str]) -> int:
    kept = _number(node.get("MemSpecLimit", ""), 0)
    return max(0, _number(node.get("RealMemory", ""), 0) - kept) // 1024


def site_file(name: str, answers: Answers, date: str = "") -> str:
    """Text of a site file.

    Parameters
    ----------
    name : str
    answers : Answers
    date : str
        When Slurm said so; by default today.

    Raises
    ------
    InputError
        If there is no partition that jobs could run in.
    """
    found = partitions_of(answers)
    if not found:
        raise InputError(
            "sinfo and scontrol tell of no partition that is up, has nodes and allows jobs of ten "
            "minutes",
            "ask for `sinfo` yourself; a site file can be written by hand (docs/sites.md)",
        )
    cpu = next((p for p in found if not p.gpus), found[0])
    gpu = next((p for p in found if p.gpus), None)
    mpi = next((p for p in (gpu, cpu) if p and p.nodes > 1), None)
    told = _Told(answers.config)
    pools = [_pool("cpu", cpu, told)]
    pools += [_pool("gpu", gpu, told)] if gpu else []
    pools += [_pool("mpi", mpi, told)] if mpi else []
    return "\n".join([*_head(name, told, date or time.strftime("%Y-%m-%d"), found), *pools])


class _Told:
    """What ``scontrol show config`` tells."""

    def __init__(self, config: str) -> None:
        self._fields: dict[str, str] = dict(
            re.findall(r"^(\w+)[ \t]*=[ \t]*(.*?)[ \t]*$", config, re.MULTILINE)
        )
        self.cluster = re.sub(r"[^\w.-]", "", self._fields.get("ClusterName", "")) or "unnamed"
        self._enforced = self._fields.get("AccountingStorageEnforce", "none").split(",")

    @property
    def account(self) -> bool:
        """Whether jobs need an account."""
        return self._enforced not in (["none"], ["(null)"], [""], ["0"])

    @property
    def qos(self) -> bool:
        """Whether qualities of service are enforced."""
        return "qos" in self._enforced

    @property
    def mpi(self) -> bool:
        """Whether srun starts MPI's ranks as ranks by default."""
        return self._fields.get("MpiDefault", "none") != "none"


def _head(name: str, told: _Told, date: str, found: Iterable[Partition]) -> list[str]:
    source = f"sinfo and scontrol of cluster {told.cluster}"
    return [
        f"# Written on {date} by `campaign sites new --detect` from {source}.",
        "# Values in <angle brackets> are for you to fill in; a launch refuses them.",
        "#",
        "# Partitions that are up:",
        *(f"#   {_in_words(partition)}" for partition in found),
        "",
        "[site]",
        f"name = {_text(name)}",
        'scheduler = "slurm"',
        f"description = {_text(f'cluster {told.cluster}')}",
        f"source = {_text(source)}",
        f"source_date = {_text(date)}",
        "tested = false",
        "",
    ]


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _in_words(partition: Partition) -> str:
    limit = walltime_of_seconds(partition.limit_s) if partition.limit_s else "no limit"
    kinds = f", {partition.kinds} kinds of nodes" if partition.kinds > 1 else ""
    return (
        f"{_text(partition.name)}: {partition.nodes} nodes of {partition.cores} cores, "
        f"{partition.memory_GB} GB, {partition.gpus} GPUs; {limit}{kinds}"
    )


def _pool(role: str, partition: Partition, told: _Told) -> str:
    nodes = 2 if role == "mpi" else 1
    blocks = 1 if role == "mpi" else min(_MOST_BLOCKS, partition.nodes)
    walltime_s = min(_LONGEST_S, partition.limit_s or _LONGEST_S)
    lines = [f"[pools.{role}]", f"partition = {_text(partition.name)}"]
    if told.account or partition.names_accounts:
        lines += ["# Whom to charge: `sacctmgr show associations user=$USER` tells.",
                  'account = "<account>"']  # fmt: skip
    if told.qos or partition.names_qos:
        lines += ["# Which are yours: the same command. Empty (\"\") takes your default.",
                  'qos = "<qos>"']  # fmt: skip
    lines += [
        f"nodes_per_block = {nodes}",
        f"max_blocks = {blocks}  # at once; as many as you want to occupy",
        f"walltime = {_text(walltime_of_seconds(walltime_s))}",
    ]
    lines += [f"memory_per_node_GB = {partition.memory_GB}"] if partition.memory_GB else []
    lines += [f"gpus_per_node = {partition.gpus}"] if partition.gpus and role != "cpu" else []
    lines += [f"exclusive = {str(not partition.shared).lower()}", *_workers(role, partition, told)]
    return "\n".join([*lines, ""])


def _workers(role: str, partition: Partition, told: _Told) -> list[str]:
    if role == "mpi":
        options = "--overlap" if told.mpi else "--mpi=pmi2 --overlap"
        return [
            "workers_per_node = 1",
            f"ranks_per_node = {partition.gpus or 1}",
            f"launcher_options = {_text(options)}  # `srun --mpi=list` tells what there is",
        ]
    workers = partition.gpus if role == "gpu" else partition.cores
    return [
        f"cores_per_node = {partition.cpus}  # as Slurm counts: hardware threads",
        f"workers_per_node = {workers}",
    ]


def ask_slurm() -> Answers:
    """Ask this machine's Slurm.

    Raises
    ------
    InputError
        If it is not there or does not answer.
    """
    return Answers(**{name: _asked(command) for name, command in _COMMANDS.items()})


def _asked(command: Sequence[str]) -> str:
    words = " ".join(command)
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
            errors="replace",
        )  # fmt: skip
    except FileNotFoundError as error:
        raise InputError(
            f"{command[0]} is not on PATH", "run this on a login node of a cluster with Slurm"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise InputError(f"`{words}` gave no answer in {_TIMEOUT_S} s", "try again") from error
    if ended.returncode != 0:
        raise InputError(f"`{words}` ended with {ended.returncode}", ended.stderr.strip()[-500:])
    return ended.stdout
