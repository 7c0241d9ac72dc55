"""`Cost`: node-hours that are left to do, by stage and by pool: low, expected, high.

The time of a worker for each kind of work comes from the ledger where it tells of such, else from
the benchmark, else, for what takes seconds at most, from an assumption; each stage says from what.
A task takes the share of a node that its worker is: a job over ranks the nodes of its block, every
other one of a node's workers. On one machine the machine is the node.

Stages count the work alone. What a pool takes beside it is the pool's: blocks that start, and
workers that have nothing to do while a stage's last tasks run, if stages came one after another
(some overlap, and it is less). All ranges of a sum err to the same
side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from campaign.costs.benchmark import Benchmark
from campaign.costs.effort import priced_stage
from campaign.costs.ranges import Range, total
from campaign.costs.rates import Rates
from campaign.costs.todo import ToDo
from campaign.plan.stages import STAGES
from campaign.sites.site import BatchPool, BatchSite, Role, Site, workers_of

__all__ = ["Cost", "PoolCost", "StageCost", "cost_of", "node_share", "unpriced"]

_HOUR_S = 3600.0

_ASSUMED_S = Range(0.05, 0.5, 5.0)
_ASSUMED = (
    "prepare", "select", "label", "test", "split", "starts", "probe_structures", "explore_starts",
    "pick", "acquire",
)  # fmt: skip
"""Stages, or their merging, whose tasks take moments; labels themselves are not among them."""

_MACHINE_STARTS_S = Range(0.0, 5.0, 60.0)
"""Until the workers of one machine are there, and after the last task until all has ended."""

_MAY_END_AT_ONCE = 10.0
"""Of dynamics of which only other arms were seen."""

_LOADED = Range(0.0, 0.5, 2.0)
"""How often a worker loads its libraries for a kind of work, in loads of those of training."""

_REFERENCE_PROBE = "apps.probing.task:probe_method"
_REFERENCE_PROBE_S = Range(20.0, 90.0, 900.0)
"""Some thousands of energies by a semiempirical method."""


@dataclass(frozen=True)
class StageCost:
    """Node-hours of one stage.

    Parameters
    ----------
    stage, pool : str
    tasks : int
    unit : str
        What its work is counted in, and how many of them are to do.
    units : float
    share : float
        Of a node, that one of its tasks takes: more than 1 where it takes several nodes.
    node_hours : Range or None
        None where nothing is known.
    basis : tuple of str
        From what that is known.
    """

    stage: str
    pool: str
    tasks: int
    unit: str
    units: float
    share: float
    node_hours: Range | None
    basis: tuple[str, ...]

    @property
    def title(self) -> str:
        """What displays call it."""
        return STAGES[self.stage].title

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        hours = self.node_hours.to_json() if self.node_hours else None
        return {**vars(self), "node_hours": hours, "basis": list(self.basis)}


@dataclass(frozen=True)
class PoolCost:
    """What a pool takes beside its tasks.

    Parameters
    ----------
    pool : str
    blocks : int or None
        Expected; None on one machine.
    start_up, idle : Range
        Node-hours of blocks and workers that start, and of workers that have nothing to do.
    """

    pool: str
    blocks: int | None
    start_up: Range
    idle: Range

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "pool": self.pool,
            "blocks": self.blocks,
            "start_up_node_hours": self.start_up.to_json(),
            "idle_node_hours": self.idle.to_json(),
        }


@dataclass(frozen=True)
class Cost:
    """What is left to do.

    Parameters
    ----------
    site : str
    stages : tuple of StageCost
        In order of precedence; those of which nothing is left are not among them.
    pools : tuple of PoolCost
    """

    site: str
    stages: tuple[StageCost, ...]
    pools: tuple[PoolCost, ...]

    @property
    def unknown(self) -> tuple[str, ...]:
        """Stages of which nothing is known: the total is without them."""
        return tuple(stage.stage for stage in self.stages if stage.node_hours is None)

    @property
    def node_hours(self) -> Range:
        """All together, what is known of."""
        work = [stage.node_hours for stage in self.stages if stage.node_hours is not None]
        return total([*work, *(p.start_up for p in self.pools), *(p.idle for p in self.pools)])

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "site": self.site,
            "stages": [stage.to_json() for stage in self.stages],
            "pools": [pool.to_json() for pool in self.pools],
            "total_node_hours": self.node_hours.to_json(),
            "unknown": list(self.unknown),
        }


@dataclass(frozen=True)
class _Priced:
    """Work of one kind with the seconds that all its tasks take together."""

    todo: ToDo
    seconds: Range | None
    basis: str


def unpriced(todo: Iterable[ToDo], rates: Rates) -> list[ToDo]:
    """Work of which neither a ledger nor an assumption says what it takes."""
    return [one for one in todo if rates.of(one.kind, one.tasks) is None and _assumed(one) is None]


def cost_of(
    todo: Sequence[ToDo], site: Site, rates: Rates, benchmark: Benchmark | None = None
) -> Cost:
    """Node-hours of what is to be done.

    Parameters
    ----------
    todo : sequence of ToDo
    site : Site
    rates : Rates
        Of the workspace's ledger.
    benchmark : Benchmark, optional
        For what the ledger does not tell.
    """
    priced = [_priced(one, rates, benchmark, site) for one in todo]
    stages = [
        _stage(name, mine, site)
        for name in STAGES
        if (mine := [one for one in priced if one.todo.example.stage == name])
    ]
    pools = [
        _pool(name, mine, site)
        for name in site.pools
        if (mine := [p for p in priced if site.pool_of(p.todo.example.role) == name])
    ]
    return Cost(site.site.name, tuple(stages), tuple(pools))


def node_share(stage: str, cores: int, site: Site) -> float:
    """Share of a node that a task of a stage takes; the nodes of its block for a job of ranks."""
    name = site.pool_of(STAGES[stage].role)
    pool = site.pools[name]
    if isinstance(pool, BatchPool):
        return float(pool.nodes_per_block) if name == "mpi" else 1.0 / workers_of(pool)
    return min(1.0, cores / workers_of(pool))


def _assumed(one: ToDo) -> tuple[Range, str] | None:
    """Seconds of a task of which nobody asks, and in words."""
    if one.function == _REFERENCE_PROBE:
        return _REFERENCE_PROBE_S, "assumed: a minute or two"
    if one.example.stage in _ASSUMED and one.unit == "parts":
        return _ASSUMED_S, "assumed: moments"
    return None


def _priced(one: ToDo, rates: Rates, benchmark: Benchmark | None, site: Site) -> _Priced:
    workers = _workers(site, site.pool_of(one.example.role))
    rate = rates.of(one.kind, one.tasks)
    if rate is not None:
        seconds, basis = rate.seconds.times(one.units), rate.basis
        if priced_stage(one.example.stage) == "simulate" and not rate.same_kind:
            seconds = Range(seconds.low / _MAY_END_AT_ONCE, seconds.expected, seconds.high)
        return _Priced(one, seconds, basis)
    measured = benchmark.seconds_of(one.effort, one.function) if benchmark else None
    if measured is not None and benchmark is not None:
        # A worker's first task of a kind loads libraries, where none before it has.
        loads = _LOADED.times(benchmark.imports_s * min(one.tasks, workers))
        return _Priced(one, measured.times(one.tasks) + loads, benchmark.basis(one.function))
    assumed = _assumed(one)
    if assumed is not None:
        return _Priced(one, assumed[0].times(one.tasks), assumed[1])
    return _Priced(one, None, _why_not(one, benchmark))


def _why_not(one: ToDo, benchmark: Benchmark | None) -> str:
    if benchmark is None:
        return "unknown: no ledger tells it, and nothing was measured"
    return f"unknown: no ledger tells it; benchmark: {benchmark.why_not(one.function)}"


def _stage(name: str, priced: Sequence[_Priced], site: Site) -> StageCost:
    main = max(priced, key=lambda one: (one.todo.unit != "parts", one.todo.units)).todo
    share = node_share(name, main.example.cores, site)
    known = [one.seconds for one in priced if one.seconds is not None]
    hours = total(known).times(share / _HOUR_S) if len(known) == len(priced) else None
    return StageCost(
        stage=name,
        pool=site.pool_of(STAGES[name].role),
        tasks=sum(one.todo.tasks for one in priced),
        unit=main.unit,
        units=sum(one.todo.units for one in priced if one.todo.unit == main.unit),
        share=share,
        node_hours=hours,
        basis=tuple(dict.fromkeys(one.basis for one in priced)),
    )


def _workers(site: Site, name: Role) -> int:
    """Workers of a pool with all the blocks that it may have."""
    pool = site.pools[name]
    nodes = pool.max_blocks * pool.nodes_per_block if isinstance(pool, BatchPool) else 1
    return nodes * workers_of(pool)


def _pool(name: Role, priced: Sequence[_Priced], site: Site) -> PoolCost:
    """Start-up and idle workers of a pool."""
    pool = site.pools[name]
    idle = total(_idle(one, site) for one in priced if one.seconds is not None)
    if not isinstance(pool, BatchPool) or not isinstance(site, BatchSite):
        return PoolCost(name, None, _MACHINE_STARTS_S.times(1.0 / _HOUR_S), idle)
    blocks = _blocks(name, priced, site, pool)
    allowed = site.site.start_up_s
    each = Range(0.0, allowed, 2.0 * allowed) + Range(0.0, 0.0, site.site.idle_s)
    started = each.times(blocks * pool.nodes_per_block / _HOUR_S)
    return PoolCost(name, blocks, started, idle)


def _blocks(name: str, priced: Sequence[_Priced], site: BatchSite, pool: BatchPool) -> int:
    """Blocks that the work of a pool needs: for its time, and for its tasks at once."""
    seconds = sum(
        one.seconds.expected * node_share(one.todo.example.stage, 1, site)
        for one in priced
        if one.seconds is not None
    )
    for_time = math.ceil(seconds / (pool.nodes_per_block * max(1, site.usable_s(pool))))
    at_once = 1 if name == "mpi" else pool.nodes_per_block * workers_of(pool)
    for_tasks = math.ceil(max(one.todo.tasks for one in priced) / at_once)
    return max(1, for_time, min(pool.max_blocks, for_tasks))


def _idle(one: _Priced, site: Site) -> Range:
    """Node-hours of workers without work while one kind's last tasks run, if nothing else does."""
    if one.seconds is None:
        return Range(0.0, 0.0, 0.0)
    stage, tasks = one.todo.example.stage, one.todo.tasks
    share = node_share(stage, one.todo.example.cores, site)
    pool = site.pools[site.pool_of(STAGES[stage].role)]
    per_node = max(1, round(1.0 / share))
    most = pool.max_blocks * pool.nodes_per_block if isinstance(pool, BatchPool) else 1
    if share >= 1.0:
        return Range(0.0, 0.0, 0.0)
    nodes = min(most, math.ceil(tasks / per_node))
    waves = math.ceil(tasks / (nodes * per_node))
    unused = nodes * waves - tasks * share
    each = one.seconds.times(unused / tasks / _HOUR_S)
    return Range(0.0, each.expected, each.high)
