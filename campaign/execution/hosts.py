"""`Hosts`: the hosts of one launch as the driver sees them, and those that it leaves out.

What is lost and what comes back is judged by `campaign.execution.losses`; here the verdict on a
host is carried out: kept in the workspace for later launches, written into the ledger, and told to
the `BlockWatch`, by which new blocks are asked for without it. Blocks that sit on that host alone
are given up by `Workers`; one that has other hosts too goes on, and that is written down. A host
on which blocks end before any worker of theirs is reached, while other hosts give answers, is left
out as well: always free, it would be given to us again and again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
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
        self._suspected: dict[str, tuple[str, str]] = {}

    @property
    def left_out(self) -> list[LeftOut]:
        """Hosts that eat tasks, of this launch and earlier ones; whether avoided, as it is now."""
        avoided = self._watch.left_out
        return [replace(entry, avoided=entry.host in avoided) for entry in self._found]

    def answered(self, task: Task, host: str) -> None:
        """A task came back from a host."""
        pool = self._site.pool_of(task.part.role)
        for suspected, (where, said) in list(self._suspected.items()):
            if where == pool and suspected != host:
                del self._suspected[suspected]
                self._leave_out(suspected, said)
        self._losses.answered(task.part.stage, host)
        self._leave_out_eaters()

    def lost(self, task: Task, host: str, *, with_block: bool) -> str:
        """A task was lost: why it is to be given up, or nothing; see `Losses.lost`.

        What runs on several nodes is held against none of them: which one it was is not known.

        Parameters
        ----------
        task : Task
        host : str
            Whose worker died; empty where the task came back and said itself that it was lost.
        with_block : bool
        """
        host = host if task.part.cores == 1 else ""
        said = self._losses.lost(task.name, task.part.stage, host, with_block=with_block)
        self._leave_out_eaters()
        return said

    def blocks_died(self, pool: str, hosts: str, jobs: Sequence[str]) -> bool:
        """Blocks of a pool ended in a row, on the same hosts, before a worker reached us.

        Returns
        -------
        bool
            Whether the launch can go on: they had one host alone, which new blocks do not get any
            more, and other blocks of the pool run elsewhere. It is left out for good when one of
            those gives an answer; until then it may be as wrong everywhere.
        """
        running = (b for b in self._watch.blocks if b.state == "running" and b.pool == pool)
        known = {*self._suspected, *(entry.host for entry in self._found)}
        one_alone = hosts_in(hosts) == [hosts] and hosts not in known
        if not (self._can_leave_out and one_alone and any(b.hosts != hosts for b in running)):
            return False
        said = (
            f"{len(jobs)} blocks in a row (jobs {', '.join(jobs)}) ended there before a worker "
            "reached the driver, while other hosts gave answers"
        )
        self._suspected[hosts] = pool, said
        self._watch.leave_out(hosts)
        self._ledger.write("host_suspected", host=hosts, pool=pool, jobs=list(jobs))
        return True

    def _leave_out_eaters(self) -> None:
        for eater in self._losses.eaters():
            self._leave_out(eater.host, eater.in_words, eater.tasks)

    def _leave_out(self, host: str, message: str, tasks: Sequence[str] = ()) -> None:
        avoided = self._can_leave_out
        alone, shared = self._blocks_on(host)
        going_on = shared if avoided else [*alone, *shared]
        more = f"; blocks {', '.join(going_on)} go on with it" if going_on else ""
        entry = LeftOut(host, self._site.site.name, message + more, time.time(), avoided)
        self._ledger.sync()
        leave_out(self._workspace, entry)
        self._found.append(entry)
        self._ledger.write(
            "host_left_out", host=host, site=entry.site, avoided=avoided, message=entry.message,
            tasks=list(tasks), given_up=alone if avoided else [], going_on=going_on,
        )  # fmt: skip
        if avoided:
            self._watch.leave_out(host)

    def _blocks_on(self, host: str) -> tuple[list[str], list[str]]:
        """Running jobs that have this host alone, and those that have others too."""
        on_it = {b.job: hosts_in(b.hosts) for b in self._watch.blocks if b.state == "running"}
        alone = [job for job, hosts in on_it.items() if hosts == [host]]
        return alone, [job for job, hosts in on_it.items() if host in hosts and job not in alone]
