"""A training that is killed from outside and started again: training_victim.py FOLDER STEPS."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from apps.potential.weights import save_bytes
from apps.training.distributed import World
from apps.training.loop import train
from tests.laws.training_toys import toy_potential, toy_set, toy_training


def main(folder: str, pause_s: float) -> None:
    torch.set_num_threads(1)
    labelled, world = toy_set(23), World(0, 1, torch.device("cpu"))
    potential = toy_potential(labelled)

    def slow() -> bool:
        time.sleep(pause_s)
        return False

    work = Path(folder)
    train(
        potential, toy_training(60), labelled, toy_set(5, 9), world, (work, "checkpoint"), 0.0, slow
    )
    (work / "final").write_bytes(save_bytes(potential))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
