"""Run by mpiexec: the gradient of one uneven batch, and a few steps, dealt over ranks.

Usage: training_ranks.py OUTPUT MODE, MODE "right" or "wrong" (means of ranks' own means).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from apps.training.distributed import joined_world
from tests.laws.training_toys import toy_gradient


def main(output: str, mode: str) -> None:
    torch.set_num_threads(1)
    with joined_world() as world:
        gradient = toy_gradient(world, wrong=mode == "wrong")
        if world.rank == 0:
            np.save(Path(output), gradient.numpy())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
