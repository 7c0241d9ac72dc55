"""Whether what is in flight can still get blocks, by the budget of the launch."""

from __future__ import annotations

from campaign.execution.blocks import BlockWatch
from campaign.execution.flight import Flight
from campaign.sites.site import BatchSite, Site
from data_store.errors import Stopped

__all__ = ["refuse_to_wait_for_nothing"]


def refuse_to_wait_for_nothing(site: Site, watch: BlockWatch, flight: Flight, remains: int) -> None:
    """Stop when all that is in flight waits for blocks that the budget does not allow.

    Parameters
    ----------
    site : Site
    watch : BlockWatch
    flight : Flight
    remains : int
        Parts that are not made.

    Raises
    ------
    Stopped
        Saying what was spent and what remains.
    """
    if not isinstance(site, BatchSite) or not flight:
        return
    working = {block.pool for block in watch.blocks if block.open}
    pools = {site.pool_of(task.part.role) for task in flight}
    afford = any(watch.affordable(site.pools[pool].block_node_hours) for pool in pools)
    if not afford and not pools & working:
        raise Stopped(
            f"the budget is spent: {watch.spent_node_hours:.2f} node-hours were taken, "
            f"and another block of pool {', '.join(sorted(pools))} would pass it; {remains} "
            "parts remain, finished work is kept",
            "launch again with a larger --budget, or with blocks of shorter walltime or fewer "
            "nodes",
        )
