"""A site compiled to one `parsl.config.Config`: each pool an executor of its own.

Built anew for each launch, since Parsl's objects cannot be used twice. Memoisation is off (parts
are the only record of completion), retries are the driver's, and usage tracking is off.

The pool ``mpi`` of a cluster becomes an `MPIExecutor`: its tasks start ranks over the nodes of
their block. Every other pool is a `HighThroughputExecutor`, whose workers are bound to GPUs in turn
where there are any.
"""

from __future__ import annotations

import importlib
import logging
import shlex
import sys
from pathlib import Path
from typing import Any

from parsl.config import Config
from parsl.executors import HighThroughputExecutor, MPIExecutor
from parsl.executors.high_throughput.executor import (
    DEFAULT_INTERCHANGE_LAUNCH_CMD,
    DEFAULT_LAUNCH_CMD,
)
from parsl.jobs.error_handlers import noop_error_handler, windowed_error_handler
from parsl.launchers import SimpleLauncher
from parsl.logconfigs.file import FileLogging
from parsl.providers import LocalProvider

from apps.runner import DEADLINE_VARIABLE
from campaign.execution import even_clock
from campaign.execution.blocks import BlockWatch
from campaign.execution.providers import batch_provider
from campaign.sites.site import BatchPool, BatchSite, Pool, Site, workers_of
from data_store.errors import InputError

__all__ = ["THREAD_VARIABLES", "capacity_of", "parsl_config", "ranks_of", "workers_of"]

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENMM_CPU_THREADS",
    "NUMEXPR_NUM_THREADS",
)
"""What numerical libraries read before they start threads."""

SILENCE_S = 30
"""After how long without a sign of life a block's tasks are taken to be lost, on one machine."""


def capacity_of(pool: Pool, name: str) -> int:
    """Tasks that a pool works at at once, with all the blocks that it may have."""
    if not isinstance(pool, BatchPool):
        return workers_of(pool)
    per_block = 1 if name == "mpi" else pool.nodes_per_block * workers_of(pool)
    return pool.max_blocks * per_block


def ranks_of(pool: BatchPool, ranks: int) -> dict[str, Any]:
    """Parsl's resource specification of a task that starts so many ranks.

    The fewest nodes that hold them; all three numbers as integers, for what Parsl derives itself it
    writes as ``2.0``.
    """
    nodes = -(-ranks // pool.ranks_per_node)
    return {
        "num_nodes": nodes,
        "ranks_per_node": -(-ranks // nodes),
        "num_ranks": ranks,
        "launcher_options": pool.launcher_options,
    }


def parsl_config(site: Site, run_dir: Path, watch: BlockWatch) -> Config:
    """Parsl's configuration of a site.

    Parameters
    ----------
    site : Site
    run_dir : Path
        Where Parsl keeps its logs and scripts.
    watch : BlockWatch
        Guards and records the blocks of a cluster; those of a function that the site names
        (``site.python``) are that function's business.

    Raises
    ------
    InputError
        If the site names a function that is not there, or that makes something else.
    """
    if site.site.python:
        return _given_config(site, run_dir)
    batch = isinstance(site, BatchSite)
    return Config(
        executors=[_executor(site, name, watch) for name in site.pools],
        run_dir=str(run_dir),
        strategy="htex_auto_scale" if batch else "simple",
        strategy_period=1.0 if batch else 0.5,
        max_idletime=site.site.idle_s if isinstance(site, BatchSite) else 120.0,
        usage_tracking=0,
        retries=0,
        # Parsl's default, debug level, writes 38 MB per 10,000 tasks.
        initialize_logging=FileLogging(level=logging.WARNING),
    )


def _given_config(site: Site, run_dir: Path) -> Config:
    """What the user's function makes: one executor for each pool, under the pool's name."""
    module, _, name = site.site.python.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"site.python = {site.site.python!r}: {error}",
            "install the module beside campaign, or put its folder on PYTHONPATH",
        ) from error
    sys.stderr.write(f"site {site.site.name}: running {site.site.python} for its executors\n")
    made = function(site, run_dir)
    labels = {each.label for each in made.executors} if isinstance(made, Config) else set()
    if not labels >= set(site.pools):
        raise InputError(
            f"site.python = {site.site.python!r} gave {type(made).__name__} with executors "
            f"{sorted(labels)}, not a parsl.Config with one for each of {sorted(site.pools)}",
            "label each executor as the pool that it serves",
        )
    return made


def _executor(site: Site, name: str, watch: BlockWatch) -> HighThroughputExecutor:
    if isinstance(site, BatchSite):
        return _batch_executor(site, name, watch)
    return _local_executor(name, site.pools[name])  # type: ignore[index]


def _local_executor(name: str, pool: Pool) -> HighThroughputExecutor:
    return HighThroughputExecutor(
        label=name,
        address="127.0.0.1",
        heartbeat_threshold=SILENCE_S,
        heartbeat_period=2,
        encrypted=True,
        **_common(pool),
        **_workers(pool),
        # Parsl's default gives a pool up when its first block fails; a block that was killed is
        # replaced, and only three in a row that fail say that blocks cannot be had.
        block_error_handler=windowed_error_handler,
        provider=LocalProvider(
            init_blocks=1,
            min_blocks=1,
            max_blocks=1,
            launcher=SimpleLauncher(),
            worker_init=_worker_init(pool),
        ),
    )


class _KeepsWaitingBlocks:
    """An executor that gives no block back where none is asked for.

    Parsl's strategy may ask for none, and its executor then ends all blocks that have no worker
    yet, those that wait in the queue among them.
    """

    def scale_in(self, blocks: int, max_idletime: float | None = None) -> list[str]:
        """Give blocks back; none where none is asked for."""
        if blocks < 1:
            return []
        given: list[str] = super().scale_in(blocks, max_idletime)  # type: ignore[misc]
        return given


class _Blocks(_KeepsWaitingBlocks, HighThroughputExecutor):  # type: ignore[misc]
    """Workers on every node of blocks."""


class _MpiBlocks(_KeepsWaitingBlocks, MPIExecutor):  # type: ignore[misc]
    """Tasks that start ranks over the nodes of blocks."""


def _batch_executor(site: BatchSite, name: str, watch: BlockWatch) -> HighThroughputExecutor:
    pool, head = site.pools[name], site.site  # type: ignore[index]
    worker_init = "\n".join([*_deadline(site, pool), *_scratch(head.scratch), _worker_init(pool)])
    given = {
        "label": name,
        "address": head.address or None,
        "worker_port_range": head.worker_ports,
        "interchange_port_range": head.interchange_ports,
        "heartbeat_threshold": head.silence_s,
        "heartbeat_period": max(1, min(30, head.silence_s // 4)),
        "drain_period": site.drain_s(pool),
        "encrypted": True,
        # What blocks fail of is told by the driver, from its own record of them.
        "block_error_handler": noop_error_handler,
        "provider": batch_provider(site, name, worker_init, watch),
        **_common(pool),
    }
    if name == "mpi":
        interchange = given.pop("interchange_launch_cmd")  # it is declared as text, and run as list
        executor = _MpiBlocks(max_workers_per_block=1, mpi_launcher=pool.launcher, **given)
        executor.interchange_launch_cmd = interchange
        return executor
    return _Blocks(**given, **_workers(pool))


def _common(pool: Pool) -> dict[str, Any]:
    python = (pool.interpreter or even_clock.START[0], *even_clock.START[1:])
    prefix = f"{pool.command_prefix} " if pool.command_prefix else ""
    return {
        "prefetch_capacity": 0,
        "launch_cmd": f"{prefix}{shlex.join(python)} {DEFAULT_LAUNCH_CMD}",
        "interchange_launch_cmd": [*even_clock.START, *DEFAULT_INTERCHANGE_LAUNCH_CMD],
    }


def _workers(pool: Pool) -> dict[str, Any]:
    workers, gpus = workers_of(pool), pool.gpus_per_node
    return {
        "max_workers_per_node": workers,
        "cores_per_worker": 1e-6,  # the number of workers is ours to say
        "available_accelerators": [str(worker % gpus) for worker in range(workers)] if gpus else [],
    }


def _deadline(site: BatchSite, pool: BatchPool) -> list[str]:
    """Shell lines that tell a block's tasks when to write their checkpoints."""
    end = f"${{SLURM_JOB_END_TIME:-$(( $(date +%s) + {pool.walltime_s} ))}}"
    return [f"export {DEADLINE_VARIABLE}=$(( {end} - {site.site.grace_s} ))"]


def _scratch(folder: str) -> list[str]:
    return [f'export TMPDIR="{folder}"'] if folder else []


def _worker_init(pool: Pool) -> str:
    threads = [f"export {name}={pool.threads_per_worker}" for name in THREAD_VARIABLES]
    given = [f"export {name}={shlex.quote(value)}" for name, value in pool.environment.items()]
    return "\n".join([*threads, *given, pool.worker_init])
