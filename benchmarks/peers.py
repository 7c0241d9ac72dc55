"""The project against its peers on one core, pair by pair: training steps and ensemble dynamics.

Usage, from the root of the repository, with the peers' harness and environment at hand::

    OMP_NUM_THREADS=1 PEERS_BENCH=../shared/bench PEERS_DIR=~/.cache/mlip-peers \
        python -m benchmarks.peers [nequip …]

A round runs the peer's harness (`peer_bench.py`: aspirin, cutoff 5 Å, float32; a batch of 32 with
an Adam step, and Langevin dynamics of 32 replicas by TorchSim) and then the same work here, each in
a process of its own on one thread: a whole step of the trainer, and a whole block of dynamics of 64
replicas with noise, failure criteria and saved frames, PaiNN `small`. Both count processor time.
Ratios are taken round by round; medians, least and largest. Weights are fresh on both sides: this
says what a step costs, and nothing of what it is worth.
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

from apps.dynamics.engine import simulate_block, start_block
from apps.training.distributed import World
from apps.training.flat_model import FlatModel
from apps.training.gradient import compiled_gradient
from apps.training.loop import _fresh, _step
from benchmarks.aspirin import shaken
from benchmarks.workloads import LOSS, block_of, labelled_of, potential_of, processor_s, training_of

_ROUNDS = 5
_CPU = torch.device("cpu")
_WORK = {
    "training": (["--task", "aspirin_train", "--batch", "32"], "structures_per_s"),
    "dynamics": (
        ["--task", "aspirin_md", "--engine", "torchsim", "--replicas", "32"],
        "replica_steps_per_s",
    ),
}


def main() -> None:
    if sys.argv[1:2] == ["ours"]:
        torch.set_num_threads(1)
        print({"training": _training, "dynamics": _dynamics}[sys.argv[2]]())
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
    arguments, rate = _WORK[what]
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
    replicas, block = 64, block_of("small", 64, 1000, _CPU)
    state, ends = start_block(block, shaken(replicas, 0.0)), [time.process_time()]

    def end_of_segment() -> bool:
        ends.append(time.process_time())
        return False

    simulate_block(block, state, lambda _: None, 1e9, end_of_segment)
    if state.failures:
        raise RuntimeError("replicas failed: the benchmark does not measure what it says")
    segments = [end - begin for begin, end in itertools.pairwise(ends)]
    return replicas * block.settings.compact_every_steps / median(segments)


if __name__ == "__main__":
    main()
