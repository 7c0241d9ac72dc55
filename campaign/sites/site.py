"""`Site`: pools of workers on a machine or cluster, as a site file describes them.

A pool serves a role: ``cpu`` (sampling, labelling), ``gpu`` (dynamics, fine-tuning on one device),
``mpi`` (training over ranks). A role without a pool of its own is served by ``cpu``. A site says
nothing about the science, and nothing of it enters a fingerprint. How files are found and laid over
each other is `campaign.sites.layers`' business, whether a site can serve a campaign is
`campaign.sites.fitness`', and how a pool becomes a Parsl executor `campaign.execution`'s.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from campaign.sites.driver_job import DriverJob
from campaign.sites.walltime import seconds_of_walltime

__all__ = [
    "SITES",
    "BatchPool",
    "BatchSite",
    "LocalSite",
    "Pool",
    "Role",
    "Site",
    "available_cores",
    "is_blank",
    "workers_of",
]

Role = Literal["cpu", "gpu", "mpi"]


def is_blank(value: Any) -> bool:
    """Whether a value is a blank, ``<like this>``, that the user has to fill."""
    return isinstance(value, str) and value.startswith("<") and value.endswith(">")


def _walltime(text: str) -> str:
    if not is_blank(text):
        seconds_of_walltime(text)
    return text


def _shell_words(text: str) -> str:
    shlex.split(text)  # raises ValueError: "No closing quotation"
    return text


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Pool(_Strict):
    """Workers of one kind."""

    workers_per_node: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Worker processes on a node; "auto" is one per GPU, else one per `threads_per_worker` cores of
    the node."""

    threads_per_worker: int = Field(default=1, ge=1)
    """Threads of each worker. Bitwise reproduction is claimed for one."""

    worker_init: str = ""
    """Shell lines run before the workers start (modules, activating an environment)."""

    environment: dict[str, str] = {}
    """Environment variables of the workers."""

    command_prefix: Annotated[str, AfterValidator(_shell_words)] = ""
    """Put before the workers' command: ``apptainer exec --nv image.sif``, a wrapper that binds."""

    interpreter: str = ""
    """Python of the workers; by default the driver's own, with which its versions must agree."""

    gpus_per_node: int = Field(default=0, ge=0)
    """GPUs that a block gets on each node; workers are bound to them in turn."""

    def workers(self, cores: int) -> int:
        """Worker processes on a node of so many cores."""
        if self.workers_per_node != "auto":
            return self.workers_per_node
        return self.gpus_per_node or max(1, cores // self.threads_per_worker)


class BatchPool(Pool):
    """Workers of one kind in blocks that a batch system starts: a block is one job."""

    partition: str = ""
    """Slurm partition, or PBS queue."""

    account: str = ""
    """Whom to charge."""

    qos: str = ""
    """Slurm's quality of service."""

    constraint: str = ""
    """Slurm's node features."""

    nodes_per_block: int = Field(default=1, ge=1)
    """Nodes of a block."""

    max_blocks: int = Field(default=1, ge=1)
    """Blocks queued or running at once."""

    walltime: Annotated[str, AfterValidator(_walltime)]
    """Time limit of a block, in any form of Slurm's. Tasks checkpoint before it and go on in
    another block."""

    cores_per_node: int | None = Field(default=None, ge=1)
    """Cores that a block gets on each node; a whole node's where it is exclusive."""

    memory_per_node_GB: int | None = Field(default=None, ge=1)
    """Memory that a block gets on each node; unset, the scheduler's default."""

    exclusive: bool = True
    """Whether a block has its nodes to itself. Say false on shared partitions. For Slurm: a PBS
    queue says so itself."""

    scheduler_options: tuple[str, ...] = ()
    """More options of the batch script, a line each, without ``#SBATCH``: ``--mail-type=NONE``."""

    ranks_per_node: int = Field(default=1, ge=1)
    """Ranks on each node of a job of the pool ``mpi``."""

    launcher: Literal["srun", "mpiexec"] = "srun"
    """What starts ranks, and the managers of a block of several nodes."""

    launcher_options: Annotated[str, AfterValidator(_shell_words)] = ""
    """More options of the launcher of ranks: ``--mpi=pmi2 --overlap``."""

    @property
    def walltime_s(self) -> int:
        """The time limit of a block in seconds, rounded down to a minute as it is asked for."""
        return seconds_of_walltime(self.walltime) // 60 * 60

    @property
    def block_node_hours(self) -> float:
        """Node-hours of a block that runs to its end."""
        return self.nodes_per_block * self.walltime_s / 3600.0

    @model_validator(mode="after")
    def _workers_are_known(self) -> BatchPool:
        known = self.workers_per_node != "auto" or self.gpus_per_node or self.cores_per_node
        if not known:
            raise ValueError("give workers_per_node, or cores_per_node (or gpus_per_node) for it")
        return self


class SiteHeader(_Strict):
    """The ``[site]`` table."""

    name: str = Field(min_length=1)
    """What the site is called in ledgers and reports."""

    scheduler: Literal["local", "slurm", "pbs"] = "local"
    """Who starts workers."""

    description: str = ""
    """What it is, in a line."""

    source: str = ""
    """Where its values are from."""

    source_date: str = ""
    """When they were read there."""

    tested: bool = False
    """Whether this file was tried on the machine."""

    python: str = Field(default="", pattern=r"^$|^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """``module:function``: called with the site and the run folder, gives the ``parsl.Config``
    instead of ours. It is code, and the tool says that it runs it."""


class BatchHeader(SiteHeader):
    """The ``[site]`` table of a cluster."""

    address: str = ""
    """Host name or address at which nodes reach the driver; by default all of its addresses are
    tried."""

    worker_ports: tuple[int, int] = (54_000, 55_000)
    """Ports of the driver's host that nodes connect to."""

    interchange_ports: tuple[int, int] = (55_000, 56_000)
    """Ports that the driver and its interchange use among themselves."""

    scratch: str = ""
    """Fast folder of a node for temporary files, as the shell writes it: ``$SLURM_TMPDIR``."""

    start_up_s: int = Field(default=60, ge=0)
    """Allowance for the start of a block: modules, the interpreter from a shared disk."""

    grace_s: int = Field(default=60, ge=1)
    """So long before a block's end its tasks are to write their checkpoints."""

    least_useful_s: int = Field(default=60, ge=1)
    """What must be left of a block, up to its checkpoints, for a task to be placed on it."""

    poll_s: float = Field(default=20.0, ge=1.0)
    """How often the scheduler is asked for the state of blocks."""

    command_timeout_s: int = Field(default=60, ge=1)
    """How long a command of the scheduler may take."""

    silence_s: int = Field(default=300, ge=10)
    """After how long without a sign of life a block's tasks are taken to be lost."""

    idle_s: float = Field(default=120.0, ge=1.0)
    """After how long without work blocks are given back."""

    max_jobs: int = Field(default=0, ge=0)
    """Jobs that a user may have queued and running; 0 where that is not known."""

    submissions_per_hour: int = Field(default=60, ge=1)
    """At most so many blocks are submitted in an hour, over all pools."""


class Site(_Strict):
    """A site file."""

    site: SiteHeader
    """Name and scheduler."""

    pools: Mapping[Role, Pool]
    """Pools by role; ``cpu`` is required."""

    @field_validator("pools")
    @classmethod
    def _one_for_all(cls, pools: Mapping[Role, Pool]) -> Mapping[Role, Pool]:
        if "cpu" not in pools:
            raise ValueError("a pool cpu is required: it serves every role without one of its own")
        return pools

    def pool_of(self, role: str) -> Role:
        """Name of the pool that serves a role."""
        return next((name for name in self.pools if name == role), "cpu")


class LocalSite(Site):
    """One machine: workers without a scheduler."""


class BatchSite(Site):
    """A cluster with a batch system."""

    site: BatchHeader
    """Name, scheduler, and how driver and nodes meet."""

    pools: Mapping[Role, BatchPool]
    """Pools by role; ``cpu`` is required."""

    driver: DriverJob = DriverJob()
    """The driver's own job, where it is asked to run as one."""

    @property
    def directive(self) -> str:
        """How a line of options begins in a batch script."""
        return "#PBS" if self.site.scheduler == "pbs" else "#SBATCH"

    def usable_s(self, pool: BatchPool) -> int:
        """The longest that a task can work in a block, from its start to its deadline."""
        return pool.walltime_s - self.site.start_up_s - self.site.grace_s

    def drain_s(self, pool: BatchPool) -> int:
        """For how long after its start a block takes tasks: then too little of it is left."""
        return self.usable_s(pool) - self.site.least_useful_s

    @model_validator(mode="after")
    def _walltimes_are_usable(self) -> BatchSite:
        short = [
            f"pools.{name}.walltime = {pool.walltime!r}"
            for name, pool in self.pools.items()
            if not is_blank(pool.walltime) and self.drain_s(pool) <= 0
        ]
        if short:
            head = self.site
            least_s = head.start_up_s + head.grace_s + head.least_useful_s
            raise ValueError(
                f"{', '.join(short)}: more than {least_s} s are needed (start_up_s = "
                f"{head.start_up_s}, grace_s = {head.grace_s} for checkpoints, least_useful_s = "
                f"{head.least_useful_s})"
            )
        return self

    @model_validator(mode="after")
    def _keys_have_an_effect(self) -> BatchSite:
        if self.site.scheduler == "pbs":
            idle = [
                f"pools.{name}.{key}"
                for name, pool in self.pools.items()
                for key in ("qos", "constraint")
                if getattr(pool, key)
            ]
            if idle:
                raise ValueError(
                    f"{', '.join(idle)}: Slurm's alone; for PBS write it in scheduler_options"
                )
        return self


SITES: Mapping[str, type[Site]] = {"local": LocalSite, "slurm": BatchSite, "pbs": BatchSite}
"""Model of a site file by its scheduler."""


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers_of(pool: Pool) -> int:
    """Worker processes that a pool keeps on a node."""
    cores = pool.cores_per_node if isinstance(pool, BatchPool) else None
    return pool.workers(cores or available_cores())
