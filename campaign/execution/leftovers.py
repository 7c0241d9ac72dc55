"""What an earlier driver of a workspace left behind, ended; and the watch over new blocks.

A driver that is killed outright leaves its interchange and workers on this machine, and its jobs in
the batch system, until their walltime. They are never doubled: all are ended before anything new is
submitted, and what the jobs took counts against the budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from campaign.execution.blocks import BLOCK_EVENTS, Block, BlockWatch, blocks_of_ledger
from campaign.execution.scheduler import cancel_jobs, job_prefix, jobs_of
from campaign.execution.workers import end_orphans
from campaign.ledger import Ledger, read_ledger
from campaign.left_out import hosts_left_out
from campaign.sites.site import BatchHeader, BatchSite, Site
from campaign.workspace import Workspace

__all__ = ["end_left_by", "end_leftovers", "watched"]


def watched(
    workspace: Workspace, site: Site, ledger: Ledger, budget_node_hours: float | None
) -> BlockWatch:
    """Watch over the blocks of a launch; what earlier ones took is spent already."""
    told = blocks_of_ledger(read_ledger(workspace.ledger, BLOCK_EVENTS))
    spent = sum(block.node_hours for block in told)
    prefix = job_prefix(workspace.root)
    if not isinstance(site, BatchSite):
        return BlockWatch(ledger.write, prefix)
    return BlockWatch(
        ledger.write,
        prefix,
        budget_node_hours=budget_node_hours,
        spent_node_hours=spent,
        submissions_per_hour=site.site.submissions_per_hour,
        max_jobs=site.site.max_jobs,
        left_out=[
            entry.host for entry in hosts_left_out(workspace, site.site.name) if entry.avoided
        ],
    )


def end_leftovers(workspace: Workspace, site: Site, ledger: Ledger) -> tuple[list[int], list[str]]:
    """End processes and jobs of an earlier launch; take away its marks.

    Returns
    -------
    list of int, list of str
        Process ids and jobs that were ended.

    Raises
    ------
    Stopped
        If the batch system does not answer.
    """
    head = site.site
    asked: dict[str, Any] = {"scheduler": head.scheduler}
    if isinstance(head, BatchHeader):
        asked["command_timeout_s"] = head.command_timeout_s
    rows = list(read_ledger(workspace.ledger, ("launched", *BLOCK_EVENTS)))
    launches = [row for row in rows if row["event"] == "launched"]
    if head.scheduler == "local" and any(block.open for block in blocks_of_ledger(rows)):
        # It ran on a cluster before: its jobs are not this site's, and go on all the same.
        asked = launches[-1] if launches else asked
    return end_left_by(workspace, asked, ledger)


def end_left_by(
    workspace: Workspace, launched: Mapping[str, Any], ledger: Ledger
) -> tuple[list[int], list[str]]:
    """End processes and jobs of a launch of which the ledger tells; see `end_leftovers`.

    Parameters
    ----------
    workspace : Workspace
    launched : mapping
        ``scheduler`` and ``command_timeout_s``, as the event ``launched`` has them.
    ledger : Ledger
    """
    scheduler = launched.get("scheduler", "local")
    timeout_s = launched.get("command_timeout_s", 60)
    jobs = [] if scheduler == "local" else _end_jobs(workspace, scheduler, timeout_s, ledger)
    processes = end_orphans(workspace.root)
    for mark in workspace.running.glob("*.json"):
        mark.unlink(missing_ok=True)
    return processes, jobs


def _end_jobs(workspace: Workspace, scheduler: str, timeout_s: float, ledger: Ledger) -> list[str]:
    prefix = job_prefix(workspace.root)
    found = {j.job: j for j in jobs_of(scheduler, prefix, timeout_s)}
    cancel_jobs(scheduler, found, prefix, timeout_s)
    told = {b.job: b for b in blocks_of_ledger(read_ledger(workspace.ledger, BLOCK_EVENTS))}
    for job in {*found, *(b.job for b in told.values() if b.open)}:
        block, seen = told.get(job), found.get(job)
        nodes = block.nodes if block else seen.nodes if seen else 0
        elapsed_s = seen.elapsed_s if seen else _at_most_s(block)
        ledger.write(
            "block_ended", job=job, pool=block.pool if block else "", state="cancelled",
            reason="left by a driver that was killed", nodes=nodes, elapsed_s=elapsed_s,
            node_hours=round(nodes * elapsed_s / 3600.0, 6),
        )  # fmt: skip
    return sorted(found)


def _at_most_s(block: Block | None) -> float:
    """How long a block can have run that nobody saw the end of: to its walltime, if it began."""
    return 0.0 if block is None or block.started_unix is None else block.walltime_s
