"""A site compiled to one `parsl.config.Config`: each pool an executor of its own.

Built anew for each launch, since Parsl's objects cannot be used twice. Memoisation is off (parts
are the only record of completion), retries are the driver's, and usage tracking is off.
"""

from __future__ import annotations

import logging
import shlex
from pathlib import Path

from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.executors.high_throughput.executor import (
    DEFAULT_INTERCHANGE_LAUNCH_CMD,
    DEFAULT_LAUNCH_CMD,
)
from parsl.jobs.error_handlers import windowed_error_handler
from parsl.launchers import SimpleLauncher
from parsl.logconfigs.file import FileLogging
from parsl.providers import LocalProvider

from campaign.execution import even_clock
from campaign.sites.site import Pool, Site, available_cores

__all__ = ["THREAD_VARIABLES", "parsl_config", "workers_of"]

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENMM_CPU_THREADS",
    "NUMEXPR_NUM_THREADS",
)
"""What numerical libraries read before they start threads."""

SILENCE_S = 30
"""After how long without a sign of life a block's tasks are taken to be lost."""


def workers_of(pool: Pool) -> int:
    """Worker processes that a pool keeps on this machine."""
    cores = max(1, available_cores() // pool.threads_per_worker)
    return cores if pool.workers_per_node == "auto" else pool.workers_per_node


def parsl_config(site: Site, run_dir: Path) -> Config:
    """Parsl's configuration of a site.

    Parameters
    ----------
    site : Site
    run_dir : Path
        Where Parsl keeps its logs and scripts.
    """
    return Config(
        executors=[_executor(name, pool) for name, pool in site.pools.items()],
        run_dir=str(run_dir),
        strategy="simple",
        strategy_period=0.5,
        usage_tracking=0,
        retries=0,
        # Parsl's default, debug level, writes 38 MB per 10,000 tasks.
        initialize_logging=FileLogging(level=logging.WARNING),
    )


def _executor(name: str, pool: Pool) -> HighThroughputExecutor:
    return HighThroughputExecutor(
        label=name,
        address="127.0.0.1",
        max_workers_per_node=workers_of(pool),
        cores_per_worker=1e-6,  # the number of workers is ours to say
        heartbeat_period=2,
        heartbeat_threshold=SILENCE_S,
        prefetch_capacity=0,
        encrypted=True,
        launch_cmd=f"{shlex.join(even_clock.START)} {DEFAULT_LAUNCH_CMD}",
        interchange_launch_cmd=[*even_clock.START, *DEFAULT_INTERCHANGE_LAUNCH_CMD],
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


def _worker_init(pool: Pool) -> str:
    threads = [f"export {name}={pool.threads_per_worker}" for name in THREAD_VARIABLES]
    return "\n".join([*threads, pool.worker_init])
