"""`Company`: which tasks are handed to a worker together, to be worked at in one batch.

Blocks of replicas of one model at one temperature fill a GPU together where one alone leaves most
of it idle (`apps.dynamics.ensemble`). They stay tasks of their own, each with its part, mark and
checkpoints; only their way to the worker is one. On a core nothing would be gained, and workers
would be idle. All workers of the pool are given some before one gets many. What came back from a
company by a loss or a failure goes alone from then on, so that it harms none but itself. Blocks
with a bias of their own cannot share a batch, and go alone.
"""

from __future__ import annotations

from campaign.execution.parsl_config import capacity_of
from campaign.execution.tasks import Task
from campaign.plan.stages import STAGES
from campaign.sites.site import Site
from data_store.fingerprints import canonical_json

__all__ = ["Company"]


class Company:
    """Who goes with whom, on a site.

    Parameters
    ----------
    site : Site
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._alone: set[str] = set()

    def most(self, leader: Task, left: int) -> int:
        """Tasks that may go together, itself included, while so many of its stage are left."""
        name = self._site.pool_of(leader.part.role)
        pool = self._site.pools[name]
        biased = "metadynamics" in leader.part.settings.get("dynamics", {})
        can = STAGES[leader.part.stage].together and pool.gpus_per_node and not biased
        if not can or leader.name in self._alone:
            return 1
        return max(1, -(-left // capacity_of(pool, name)))

    def admits(self, leader: Task, other: Task) -> bool:
        """Whether another task may go with it: a block of the same model and temperature."""
        return other.name not in self._alone and _kind(leader) == _kind(other)

    def ended_badly(self, task: Task) -> None:
        """Let a task go alone from now on."""
        self._alone.add(task.name)


def _kind(task: Task) -> tuple[str, str]:
    """Function, and all of the part that must agree."""
    part = task.part
    settings = {k: v for k, v in part.settings.items() if k != "replicas_in_block"}
    key = {k: v for k, v in part.key.items() if k != "block"}
    same = {"settings": settings, "seed": part.seed, "key": key, "inputs": part.inputs}
    return task.function, canonical_json(same)
