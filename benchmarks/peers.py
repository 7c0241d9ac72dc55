"""The project against its peers on one core, pair by pair: training steps and ensemble dynamics.

Usage, from the root of the repository, with the peers' harness and environment at hand::

    OMP_NUM_THREADS=1 PEERS_BENCH=../shared/bench PEERS_DIR=~/.cache/mlip-peers \
        python -m benchmarks.peers [nequip …]

A round runs the peer's harness (`peer_bench.py`: cutoff 5 Å, float32; a batch of 32 aspirins with
an Adam step, Langevin dynamics of 32 aspirins by TorchSim, and of the 64-water box, of 1 and of 8,
of which the faster counts) and then the same work here, each in a process of its own on one thread:
a whole step of the trainer, a whole block of dynamics of 64 aspirins with noise, failure criteria
and saved frames, and one of 8 boxes that watches bonds alone; PaiNN `small`. Both count processor
time. Ratios are taken round by round; medians, least and largest. Weights are fresh on both sides:
this says what a step costs, and nothing of what it is worth.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from apps.dynamics.engine import Block, start_block
from apps.dynamics.ensemble import simulate_block
from apps.training.distributed import World
from apps.training.flat_model import FlatModel
from apps.training.gradient import compiled_gradient
from apps.training.loop import _fresh, _step
from benchmarks.aspirin import shaken
from benchmarks.water import water_box
from benchmarks.workloads import (
    LOSS,
    block_of,
    box_block_of,
    labelled_of,
    potential_of,
    processor_s,
    training_of,
)

_ROUNDS = 5
_CPU = torch.device("cpu")
_BOX = ("--task", "water64_md", "--engine", "torchsim", "--replicas")
_WORK = {
    "training": ("structures_per_s", [("--task", "aspirin_train", "--batch", "32")]),
    "dynamics": (
        "replica_steps_per_s",
        [("--task", "aspirin_md", "--engine", "torchsim", "--replicas", "32")],
    ),
    "boxes": ("replica_steps_per_s", [(*_BOX, "1"), (*_BOX, "8")]),
}


def main() -> None:
    if sys.argv[1:2] == ["ours"]:
        torch.set_num_threads(1)
        print({"training": _training, "dynamics": _dynamics, "boxes": _boxes}[sys.argv[2]]())
        return
    for peer in sys.argv[1:] or ["nequip"]:
        for what in _WORK:
            pairs = [(_ours(what), _theirs(peer, what)) for _ in range(_ROUNDS)]
            ratios = [ours / theirs for ours, theirs in pairs]
            ours, theirs = (median(side) for side in zip(*pairs, strict=True))
            print(
                f"{what}, painn small against {peer}: {ours:.0f}/s against {theirs:.1f}/s; ratio "
                f"{median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})",
                flush=True,
            )


def _ours(what: str) -> float:
    command = [sys.executable, "-m", "benchmarks.peers", "ours", what]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _theirs(peer: str, what: str) -> float:
    rate, ways = _WORK[what]
    return max(told(peer, arguments, rate) for arguments in ways)


def told(peer: str, arguments: tuple[str, ...], rate: str) -> float:
    """A rate that a peer's harness tells."""
    python = Path(os.environ["PEERS_DIR"]).expanduser() / "venv/bin/python"
    command = [str(python), "peer_bench.py", "--peer", peer, *arguments]
    told = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=os.environ["PEERS_BENCH"]
    ).stdout
    return float(json.loads(told.strip().splitlines()[-1])[rate])


def _training() -> float:
    batch, labelled = 32, labelled_of(1000, _CPU)
    model = FlatModel(potential_of("small", _CPU))
    gradient = compiled_gradient(model.potential, LOSS, batch)
    settings, state = training_of(batch), _fresh(model.weights)
    world = World(0, 1, _CPU)
    step = partial(_step, model, gradient, state, settings, labelled, world, lambda: False)
    step()
    return batch / median([processor_s(step) for _ in range(100)])


def _dynamics() -> float:
    return replica_steps_per_s(block_of("small", 64, 1000, _CPU), shaken(64, 0.0))


def _boxes() -> float:
    return replica_steps_per_s(box_block_of("small", 8, 500, _CPU), water_box()[0].repeat(8, 1, 1))


def replica_steps_per_s(block: Block, starts: Tensor) -> float:
    """Of a whole block of dynamics, by the median of its segments."""
    state, ends = start_block(block, starts), [time.process_time()]

    def end_of_segment() -> bool:
        ends.append(time.process_time())
        return False

    simulate_block(block, state, lambda _: None, 1e9, end_of_segment)
    if state.failures:
        raise RuntimeError("replicas failed: the benchmark does not measure what it says")
    segments = [end - begin for begin, end in itertools.pairwise(ends)]
    return block.replicas * block.settings.compact_every_steps / median(segments)


if __name__ == "__main__":
    main()
