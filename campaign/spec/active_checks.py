"""What can be wrong with ``[active_learning]`` in the company of other tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from campaign.spec.problems import Problem

if TYPE_CHECKING:
    from apps.selection.settings import ActiveLearningSettings
    from campaign.spec.model import CampaignSpec

__all__ = ["active_checks"]


def active_checks(spec: CampaignSpec) -> Iterator[Problem]:
    """Yield what is wrong; nothing where there is no such table."""
    table = spec.active_learning
    if table is None:
        return
    if spec.system.kind != "molecule":
        yield Problem(
            "active_learning", "{…}", "of single molecules only: leave the table out of a campaign "
            f'of kind "{spec.system.kind}"',
        )  # fmt: skip
    yield from _label_checks(spec, table)
    yield from _dynamics_checks(spec, table)


def _label_checks(spec: CampaignSpec, table: ActiveLearningSettings) -> Iterator[Problem]:
    pools = spec.finetuning.pools
    first, last = table.initial_labels or min(pools), table.label_budget or max(pools)
    if first not in pools:
        yield Problem(
            "active_learning.initial_labels",
            str(first),
            f"one of finetuning.pools, {list(pools)}: a chain begins with labels of other arms",
        )
    if last <= first:
        given = "" if table.label_budget else " (the largest of finetuning.pools)"
        yield Problem(
            "active_learning.label_budget",
            f"{last}{given}",
            f"more than the initial labels, {first}: they are in the budget, and nothing is left "
            "to ask the expert for",
        )


def _dynamics_checks(spec: CampaignSpec, table: ActiveLearningSettings) -> Iterator[Problem]:
    from apps.selection.stopping import least_bound_per_ns

    dynamics = spec.dynamics
    if table.replicas > dynamics.block_replicas:
        yield Problem(
            "active_learning.replicas",
            str(table.replicas),
            f"at most dynamics.block_replicas = {dynamics.block_replicas}: exploration of a round "
            "is one block",
        )
    steps = table.length_ps * 1000.0 / dynamics.timestep_fs
    if round(steps) < 1 or abs(steps - round(steps)) > 1e-6 * steps:
        yield Problem(
            "active_learning.length_ps",
            str(table.length_ps),
            f"must be a whole number of time steps of {dynamics.timestep_fs} fs",
        )
    least = least_bound_per_ns(table.replicas * table.length_ps)
    if table.stop_rate_per_ns is not None and table.stop_rate_per_ns <= least:
        yield Problem(
            "active_learning.stop_rate_per_ns",
            f"{table.stop_rate_per_ns:g}",
            f"above {least:.3g}: {table.replicas} replicas of {table.length_ps:g} ps show no "
            "smaller rate even where none fails; explore more, or let the budget end the chain",
        )
