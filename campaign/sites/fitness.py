"""Whether a site can serve a campaign: found out before anything is spent, all problems at once.

What a site file alone shows to be wrong is refused when it is read; here it meets the campaign.
"""

from __future__ import annotations

from collections.abc import Iterator

from campaign.plan.stages import STAGES
from campaign.sites.partitions import known_partitions, misfits
from campaign.sites.site import BatchSite, LocalSite, Role, Site
from campaign.spec.model import CampaignSpec
from campaign.spec.problems import Problem, refuse
from data_store.errors import InputError

__all__ = ["problems_with", "refuse_unfit"]


def refuse_unfit(site: Site, spec: CampaignSpec, budget_node_hours: float | None = None) -> None:
    """Refuse a site that cannot serve a campaign.

    Raises
    ------
    InputError
        With everything that does not fit, at once.
    """
    if budget_node_hours is not None and isinstance(site, LocalSite):
        raise InputError(
            f"--budget {budget_node_hours:g}: site {site.site.name} has no batch system whose "
            "blocks could be counted",
            "leave --budget away, or give a cluster's site with --site",
        )
    problems = list(problems_with(site, spec))
    if problems:
        raise refuse(f"site {site.site.name} for this campaign", problems)


def problems_with(site: Site, spec: CampaignSpec) -> Iterator[Problem]:
    """All that keeps a site from serving a campaign."""
    yield from _unused_pools(site, spec)
    if isinstance(site, BatchSite):
        yield from _ranks(site, spec)
        yield from _jobs(site)
        yield from _limits_of_tasks(site, spec)
        partitions = known_partitions(site)
        yield from misfits(site, partitions) if partitions is not None else ()


def _roles(spec: CampaignSpec) -> set[str]:
    """Roles that the stages of a campaign ask for."""
    roles = {stage.role for stage in STAGES.values()}
    trains_over_ranks = "pretrained" in spec.finetuning.arms
    return roles if trains_over_ranks else roles - {"mpi"}


def _unused_pools(site: Site, spec: CampaignSpec) -> Iterator[Problem]:
    roles = _roles(spec)
    used = {site.pool_of(role) for role in roles}
    for name in site.pools:
        if name not in used:
            yield Problem(
                f"pools.{name}", "a pool", "no stage of this campaign uses it; leave it out"
            )


def _ranks(site: BatchSite, spec: CampaignSpec) -> Iterator[Problem]:
    ranks = spec.pretraining.ranks
    if "mpi" not in site.pools or "pretrained" not in spec.finetuning.arms:
        return
    role: Role = "mpi"
    pool = site.pools[role]
    places = pool.nodes_per_block * pool.ranks_per_node
    if ranks > places:
        yield Problem(
            "pretraining.ranks",
            str(ranks),
            f"a block of pool mpi has {pool.nodes_per_block} nodes of {pool.ranks_per_node} ranks: "
            f"at most {places}; raise nodes_per_block or ranks_per_node",
        )
    nodes = -(-ranks // pool.ranks_per_node)
    if ranks <= places and ranks % nodes:
        yield Problem(
            "pretraining.ranks", str(ranks), f"not the same number on each of {nodes} nodes"
        )


def _limits_of_tasks(site: BatchSite, spec: CampaignSpec) -> Iterator[Problem]:
    """Limits of tasks that no block of their pool is long enough for.

    What a task does between two checkpoints is the least of its work that is of use: a block that
    ends before the first is, to a task whose worker is lost in it, as if it had not been.
    """
    limits: tuple[tuple[str, float, Role], ...] = (
        ("finetuning.checkpoint_every_s", spec.finetuning.checkpoint_every_s, "gpu"),
        ("dynamics.checkpoint_every_s", spec.dynamics.checkpoint_every_s, "gpu"),
    )
    if "pretrained" in spec.finetuning.arms:
        pretraining: Role = "mpi"
        every_s = spec.pretraining.checkpoint_every_s
        limits = (("pretraining.checkpoint_every_s", every_s, pretraining), *limits)
    for key, limit_s, role in limits:
        name = site.pool_of(role)
        pool, usable_s = site.pools[name], site.usable_s(site.pools[name])
        if limit_s > usable_s:
            yield Problem(
                key,
                f"{limit_s:g}",
                f"a block of pool {name} gives a task {usable_s} s (walltime {pool.walltime} less "
                f"start_up_s and grace_s); lower it, or raise pools.{name}.walltime",
            )


def _jobs(site: BatchSite) -> Iterator[Problem]:
    wanted = sum(pool.max_blocks for pool in site.pools.values())
    if site.site.max_jobs and wanted > site.site.max_jobs:
        counts = ", ".join(f"{name} {pool.max_blocks}" for name, pool in site.pools.items())
        yield Problem(
            "pools.*.max_blocks",
            str(wanted),
            f"together more than site.max_jobs = {site.site.max_jobs} ({counts}); lower them",
        )
