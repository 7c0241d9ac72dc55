"""Two ranks against one on two cores, the same global batch: training steps, paired in one run.

Usage, from the root of the repository, on two cores that nobody else uses::

    OMP_NUM_THREADS=1 python -m benchmarks.ranks [SIZE] [BATCH …]

Two ranks are started as pre-training starts them (`apps.training.mpi.run_ranks`), each with one
thread and bound to a core of its own. A round times as many whole steps of the trainer in three
ways, in an order that turns from round to round: by one rank while the other sleeps, by both, and
by both without the sum over ranks, which is what these two cores could give at best. Ratios are
taken round by round. Wall time, which is what a user waits; processor time of the slowest rank is
printed beside it, since of it others on the cores take nothing. The time in the sum includes
waiting for the other rank; the time of bare sums, of ranks that have nothing else to do, does not.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
from torch import Tensor

from apps.contract import Request, Result
from apps.training.distributed import World, joined_world, launch_from
from apps.training.flat_model import FlatModel
from apps.training.gradient import compiled_gradient
from apps.training.loop import _fresh, _step, _validate
from apps.training.mpi import run_ranks
from benchmarks.workloads import LOSS, labelled_of, potential_of, training_of
from data_store.work import write_atomic

_ROUNDS, _BLOCK_STRUCTURES, _BARE_SUMS = 15, 1024, 200
_HELD_OUT, _VALIDATE_EVERY = 640, 500
"""Of pre-training, by default."""

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class _Timed(World):
    """A world that notes how long its sums take."""

    sums_s: list[float] = field(default_factory=list)

    def sum_(self, values: Tensor) -> None:
        began = time.perf_counter()
        super().sum_(values)
        self.sums_s.append(time.perf_counter() - began)


@dataclass(frozen=True)
class _Unsummed(World):
    """A world whose ranks share the batch and nothing else."""

    def sum_(self, values: Tensor) -> None:
        """Leave them as they are."""


def main() -> None:
    sizes = [word for word in sys.argv[1:] if not word.isdigit()] or ["small"]
    batches = [int(word) for word in sys.argv[1:] if word.isdigit()] or [32, 256]
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit(f"two cores are needed, and only {cores} may be used")
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            settings = {"size": size, "batches": batches, "cores": cores[:2]}
            req = Request(folder, folder, "ranks", "f" * 64, settings, 0)
            found = run_ranks(req, "benchmarks.ranks", 2)
        print(found.message, found.detail)


def _as_rank(request_file: str) -> None:
    req = Request.from_json(json.loads(Path(request_file).read_text(encoding="utf-8")))
    torch.set_num_threads(1)
    cores, launch = req.settings["cores"], launch_from(os.environ)
    if launch.size != 2:
        raise SystemExit(f"one of {launch.size} ranks, where two were to meet")
    os.sched_setaffinity(0, {cores[launch.rank]})  # before any thread is started
    with joined_world() as world:
        lines = [_measured(req.settings["size"], batch, world) for batch in req.settings["batches"]]
        if world.rank == 0:
            result = Result("done", message="\n".join(lines))
            write_atomic(req.work_dir / "result.json", json.dumps(result.to_json()).encode())


def _measured(size: str, batch: int, world: World) -> str:
    timed = _Timed(world.rank, world.size, _CPU)
    worlds = {"one": World(0, 1, _CPU), "two": timed, "unsummed": _Unsummed(world.rank, 2, _CPU)}
    steps = {name: _steps(size, batch, of) for name, of in worlds.items()}
    for step, _ in steps.values():
        step()
    timed.sums_s.clear()
    count = max(2, _BLOCK_STRUCTURES // batch)
    walls: dict[str, list[float]] = {name: [] for name in worlds}
    processor: dict[str, list[float]] = {name: [] for name in worlds}
    for turn in range(_ROUNDS):
        for name in _turned(list(worlds), turn):
            wall, cpu = _of_ranks(steps[name][0], count, worlds[name], world)
            walls[name].append(wall)
            processor[name].append(cpu)
    looks = {name: _of_ranks(steps[name][1], 2, worlds[name], world)[0] for name in ("one", "two")}
    return _told(size, batch, walls, processor, looks, timed.sums_s, _bare_sum_s(size, timed))


def _turned(names: Sequence[str], turn: int) -> list[str]:
    turn %= len(names)
    return [*names[turn:], *names[:turn]]


def _steps(size: str, batch: int, world: World) -> tuple[Callable[[], object], Callable[[], None]]:
    """A step of training by the ranks of a world; and a look at the held-out structures."""
    labelled, model = labelled_of(1000, _CPU), FlatModel(potential_of(size, _CPU))
    gradient = compiled_gradient(model.potential, LOSS, -(-batch // world.size))
    settings, state = training_of(batch), _fresh(model.weights)
    held_out, logged = labelled_of(_HELD_OUT, _CPU), torch.zeros(3)
    return (
        partial(_step, model, gradient, state, settings, labelled, world, lambda: False),
        partial(_validate, model, state, held_out, logged, 0.0, world),
    )


def _of_ranks(
    way: Callable[[], object], count: int, doing: World, both: World
) -> tuple[float, float]:
    """Wall and processor time of a call, of so many, by the slowest rank of those that do it."""
    dist.barrier()
    mine = (0.0, 0.0) if both.rank >= doing.size else _time_of(way, count)
    found = torch.tensor(mine, dtype=torch.float64)
    dist.all_reduce(found, dist.ReduceOp.MAX)  # whoever does nothing sleeps here
    wall, cpu = (found / count).tolist()
    return wall, cpu


def _time_of(way: Callable[[], object], count: int) -> tuple[float, float]:
    """Wall and processor time of so many calls."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        way()
    return time.perf_counter() - wall, time.process_time() - cpu


def _bare_sum_s(size: str, world: _Timed) -> float:
    values = torch.zeros(sum(p.numel() for p in potential_of(size, _CPU).parameters()) + 3)
    dist.barrier()
    return median(_time_of(partial(World.sum_, world, values), 1)[0] for _ in range(_BARE_SUMS))


def _told(
    size: str,
    batch: int,
    walls: dict[str, list[float]],
    processor: dict[str, list[float]],
    looks: dict[str, float],
    sums_s: list[float],
    bare_sum_s: float,
) -> str:
    one, two = (1e3 * median(walls[name]) for name in ("one", "two"))
    cpu_one, cpu_two = (1e3 * median(processor[name]) for name in ("one", "two"))
    looked = [
        (_VALIDATE_EVERY * a + looks["one"]) / (_VALIDATE_EVERY * b + looks["two"])
        for a, b in zip(walls["one"], walls["two"], strict=True)
    ]
    in_sum = 1e3 * sum(sums_s) / len(sums_s)
    return "\n".join(
        [
            f"painn {size}, batch {batch}, {len(walls['one'])} rounds:",
            f"  one rank   {one:8.2f} ms a step, {1e3 * batch / one:6.0f} structures/s",
            f"  two ranks  {two:8.2f} ms a step, {1e3 * batch / two:6.0f} structures/s; "
            f"ratio {_spread(walls['one'], walls['two'])}",
            f"  without the sum, ratio {_spread(walls['one'], walls['unsummed'])}",
            f"  with a look at {_HELD_OUT} held-out structures every {_VALIDATE_EVERY} steps "
            f"({looks['one']:.2f} s and {looks['two']:.2f} s): {median(looked):.2f}",
            f"  in the sum {in_sum:.2f} ms a step ({100 * in_sum / two:.1f} %), waiting included; "
            f"a bare sum {1e3 * bare_sum_s:.2f} ms",
            f"  processor time {cpu_one:.2f} ms against {cpu_two:.2f} ms of the slowest rank; "
            f"ratio {_spread(processor['one'], processor['two'])}, "
            f"without the sum {_spread(processor['one'], processor['unsummed'])}",
        ]
    )


def _spread(over: Sequence[float], under: Sequence[float]) -> str:
    """Ratios of pairs: median, least and largest."""
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].endswith("request.json"):
        _as_rank(sys.argv[1])
    else:
        main()
