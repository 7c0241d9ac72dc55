"""`Hosts`: the hosts of one launch as the driver sees them, and those that it leaves out.

What is lost and what comes back is judged by `campaign.execution.losses`; here the verdict on a
host is carried out: kept in the workspace for later launches, written into the ledger, and told to
the `BlockWatch`, by which new blocks are asked for without it. Blocks that sit on that host alone
are given up by `Workers`; one that has other hosts too goes on, and that is written down.
"""

from __future__ import annotations

import time
from dataclasses import replace

from campaign.execution.blocks import BlockWatch
from campaign.execution.losses import Losses
from campaign.execution.squeue import hosts_in
from campaign.execution.tasks import Task
from campaign.ledger import Ledger
from campaign.left_out import LeftOut, hosts_left_out, leave_out
from campaign.sites.site import Site
from campaign.workspace import Workspace

__all__ = ["Hosts"]


class Hosts:
    """Hosts of one launch.

    Parameters
    ----------
    workspace : Workspace
    site : Site
    ledger : Ledger
    watch : BlockWatch
    """

    def __init__(self, workspace: Workspace, site: Site, ledger: Ledger, watch: BlockWatch) -> None:
        self._workspace, self._site, self._ledger, self._watch = workspace, site, ledger, watch
        self._can_leave_out = site.site.scheduler == "slurm" and not site.site.python
        self._losses = Losses(lambda: watch.left_out, can_leave_out=self._can_leave_out)
        self._found = hosts_left_out(workspace, site.site.name)

    @property
    def left_out(self) -> list[LeftOut]:
        """Hosts that eat tasks, of this launch and earlier ones; whether avoided, as it is now."""
        avoided = self._watch.left_out
        return [replace(entry, avoided=entry.host in avoided) for entry in self._found]

    def answered(self, task: Task, host: str) -> None:
        """A task came back from a host."""
        self._losses.answered(task.part.stage, host)
        self._leave_out_eaters()

    def lost(self, task: Task, host: str, *, with_block: bool) -> str:
        """A task was lost: why it is to be given up, or nothing; see `Losses.lost`.

        What runs on several nodes is held against none of them: which one it was is not known.
        """
        host = host if task.part.cores == 1 else ""
        said = self._losses.lost(task.name, task.part.stage, host, with_block=with_block)
        self._leave_out_eaters()
        return said

    def _leave_out_eaters(self) -> None:
        for eater in self._losses.eaters():
            alone, shared = self._blocks_on(eater.host)
            going_on = shared if self._can_leave_out else [*alone, *shared]
            more = f"; blocks {', '.join(going_on)} go on with it" if going_on else ""
            entry = LeftOut(
                eater.host, self._site.site.name, eater.in_words + more, time.time(),
                self._can_leave_out,
            )  # fmt: skip
            leave_out(self._workspace, entry)
            self._found.append(entry)
            self._ledger.write(
                "host_left_out", host=entry.host, site=entry.site, avoided=entry.avoided,
                message=entry.message, tasks=list(eater.tasks),
                given_up=alone if entry.avoided else [], going_on=going_on,
            )  # fmt: skip
            if entry.avoided:
                self._watch.leave_out(eater.host)

    def _blocks_on(self, host: str) -> tuple[list[str], list[str]]:
        """Running jobs that have this host alone, and those that have others too."""
        on_it = {b.job: hosts_in(b.hosts) for b in self._watch.blocks if b.state == "running"}
        alone = [job for job, hosts in on_it.items() if hosts == [host]]
        return alone, [job for job, hosts in on_it.items() if host in hosts and job not in alone]
