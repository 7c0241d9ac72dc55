"""A site against the partitions that Slurm says there are: what a block could never be given.

Asked where Slurm is at hand, before anything is submitted. Elsewhere (a plan made on a laptop, a
Slurm that does not answer now) nothing is known of partitions, and Slurm's own refusal of the first
block says it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence

from campaign.sites.detect import Partition, ask_slurm, partitions_up
from campaign.sites.site import BatchPool, BatchSite
from campaign.sites.walltime import walltime_of_seconds
from campaign.spec.problems import Problem
from data_store.errors import InputError

__all__ = ["known_partitions", "misfits"]


def known_partitions(site: BatchSite) -> list[Partition] | None:
    """Partitions that Slurm tells of here; None where there is no Slurm to ask, or no answer."""
    if site.site.scheduler != "slurm" or shutil.which("scontrol") is None:
        return None
    try:
        return partitions_up(ask_slurm())
    except InputError:
        return None


def misfits(site: BatchSite, partitions: Sequence[Partition]) -> Iterator[Problem]:
    """What the pools of a site ask for and the partitions do not have."""
    by_name = {partition.name: partition for partition in partitions}
    default = next((p.name for p in partitions if p.default), "")
    for name, pool in site.pools.items():
        wanted = pool.partition or default
        found = by_name.get(wanted)
        if found is None:
            valid = f"partitions here that are up: {', '.join(by_name) or 'none'}"
            yield Problem(f"pools.{name}.partition", repr(pool.partition), valid)
        else:
            yield from _of_pool(f"pools.{name}", pool, found)


def _of_pool(key: str, pool: BatchPool, found: Partition) -> Iterator[Problem]:
    if found.limit_s is not None and pool.walltime_s > found.limit_s:
        most = walltime_of_seconds(found.limit_s)
        yield Problem(
            f"{key}.walltime", repr(pool.walltime), f"partition {found.name} allows {most} at most"
        )
    if found.kinds > 1:
        return  # some of its nodes may have what others lack
    asked: Mapping[str, tuple[int | None, int]] = {
        "nodes_per_block": (pool.nodes_per_block, found.nodes),
        "cores_per_node": (pool.cores_per_node, found.cpus),
        "gpus_per_node": (pool.gpus_per_node, found.gpus),
    }
    for name, (wanted, there) in asked.items():
        if wanted is not None and wanted > there:
            yield Problem(f"{key}.{name}", str(wanted), f"partition {found.name} has {there}")
