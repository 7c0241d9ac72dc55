"""`World`: which rank this process is among how many, and sums over all of them.

Whoever starts the processes says so in the environment: ``mpiexec`` (MPICH, Open MPI, by mpi4py),
``srun`` or ``torchrun``. MPI serves to meet; sums go through torch.distributed (gloo on CPUs, NCCL
on GPUs). A process that nobody started as one of several is a world of its own.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

from data_store.errors import InputError, LostError

__all__ = ["Launch", "World", "abort_all", "joined_world", "launch_from"]

_TIMEOUT = timedelta(minutes=30)
"""For all ranks to start and to make ready: one may compile while others have found it compiled."""

_SUM_TIMEOUT = timedelta(minutes=5)
"""For the others to come to a sum, once all train: time for a slow disk, not for a rank that is
stopped or whose host is gone without a word. One that dies closes its connection, and is missed at
once."""


@dataclass(frozen=True)
class Launch:
    """Who started this process, and as which rank.

    Parameters
    ----------
    starter : {"alone", "torchrun", "srun", "mpi"}
    rank, size, local_rank : int
    """

    starter: str
    rank: int = 0
    size: int = 1
    local_rank: int = 0


_VARIABLES = (
    # starter, rank, size, rank on this machine
    ("torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK"),
    ("mpi", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    ("mpi", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
    ("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
)


def launch_from(environment: Mapping[str, str]) -> Launch:
    """Read the launch from the environment.

    Raises
    ------
    InputError
        If the variables contradict each other.
    """
    for starter, rank, size, local in _VARIABLES:
        if rank not in environment or size not in environment:
            continue
        try:
            found = Launch(
                starter, int(environment[rank]), int(environment[size]),
                int(environment.get(local, environment[rank])),
            )  # fmt: skip
        except ValueError as error:
            raise InputError(f"{rank}, {size} or {local} is no number: {error}") from error
        if not 0 <= found.rank < found.size:
            raise InputError(
                f"{rank}={found.rank} with {size}={found.size}: expected 0 <= rank < size",
                "start all ranks by one mpiexec, srun or torchrun",
            )
        return found if found.size > 1 else Launch("alone")
    return Launch("alone")


@dataclass(frozen=True)
class World:
    """All ranks of a training.

    Parameters
    ----------
    rank, size : int
    device : torch.device
        Where this rank computes.
    """

    rank: int
    size: int
    device: torch.device

    def sum_(self, values: Tensor) -> None:
        """Replace `values` by their sum over all ranks.

        Raises
        ------
        LostError
            If another rank is gone, or does not come for minutes.
        """
        self._sum(values, _SUM_TIMEOUT)

    def meet(self) -> None:
        """Wait for all ranks, as long as making ready may take.

        Raises
        ------
        LostError
            If one is gone, or does not come.
        """
        self._sum(torch.zeros((), device=self.device), _TIMEOUT)

    def _sum(self, values: Tensor, timeout: timedelta) -> None:
        if self.size == 1:
            return
        try:
            dist.all_reduce(values, async_op=True).wait(timeout)
        except RuntimeError as error:  # all that gloo and NCCL say of a closed connection
            raise LostError(f"rank {self.rank} of {self.size} lost another: {error}") from error


@contextmanager
def joined_world(environment: Mapping[str, str] | None = None) -> Iterator[World]:
    """Meet the other ranks for as long as the block lasts.

    Raises
    ------
    InputError
        If the environment is contradictory.
    """
    launch = launch_from(os.environ if environment is None else environment)
    gpu = torch.cuda.is_available()
    device = torch.device("cuda", launch.local_rank % torch.cuda.device_count()) if gpu else (
        torch.device("cpu")
    )  # fmt: skip
    if launch.size == 1:
        yield World(0, 1, device)
        return
    _meet(launch, "nccl" if gpu else "gloo", device)
    yield World(launch.rank, launch.size, device)
    # Not after an error: the others would fail of a closed connection before the cause is told.
    dist.destroy_process_group()


def abort_all(code: int) -> NoReturn:
    """End this process with an exit code, and with it all ranks, whoever started them.

    MPI is told, since its own exit would wait for the others; srun and torchrun end a job of which
    a process failed.
    """
    if launch_from(os.environ).starter == "mpi":
        from mpi4py import MPI

        MPI.COMM_WORLD.Abort(code)
    os._exit(code)


def _meet(launch: Launch, backend: str, device: torch.device) -> None:
    kwargs: dict[str, Any] = {"device_id": device} if backend == "nccl" else {}
    if launch.starter == "mpi":
        kwargs["store"] = _store_by_mpi()
    else:
        if launch.starter == "srun":
            _address_from_slurm()
        kwargs["init_method"] = "env://"
    dist.init_process_group(
        backend, rank=launch.rank, world_size=launch.size, timeout=_TIMEOUT, **kwargs
    )


def _store_by_mpi() -> Any:
    """Store on rank 0, at a port that the system chose, its address told by MPI."""
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    hosts = world.allgather(socket.gethostname())
    if len(set(hosts)) == 1:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        hosts[0] = "127.0.0.1"
    if world.rank == 0:
        store = _tcp_store(hosts[0], 0, world.size, serve=True)
        world.bcast(store.port)
        return store
    return _tcp_store(hosts[0], world.bcast(None), world.size, serve=False)


def _tcp_store(host: str, port: int, size: int, *, serve: bool) -> Any:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    return TCPStore(host, port, size, is_master=serve, timeout=_TIMEOUT, wait_for_workers=False)


def _address_from_slurm() -> None:
    """Set what ``env://`` reads, from what srun sets; what the user set stays."""
    environment = os.environ
    environment["RANK"] = environment["SLURM_PROCID"]
    environment["WORLD_SIZE"] = environment["SLURM_STEP_NUM_TASKS"]
    environment.setdefault("MASTER_ADDR", environment.get("SLURM_LAUNCH_NODE_IPADDR", "127.0.0.1"))
    # A port that all ranks compute alike and two jobs of one node seldom share.
    job = int(environment.get("SLURM_JOB_ID", "0")) + int(environment.get("SLURM_STEP_ID", "0"))
    environment.setdefault("MASTER_PORT", str(20_000 + job % 20_000))
