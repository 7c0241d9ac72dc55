"""Run by mpiexec: the gradient of one uneven batch, or errors on a set, dealt over ranks.

Usage: training_ranks.py OUTPUT MODE, MODE "right", "wrong" (means of ranks' own means) or "errors".
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from apps.training.distributed import joined_world
from tests.laws.training_toys import toy_errors, toy_gradient

COUNTS = (7, 1)
"""Structures of the sets that errors are taken on: of one, a rank has none."""


def main(output: str, mode: str) -> None:
    torch.set_num_threads(1)
    with joined_world() as world:
        if mode == "errors":
            found = np.array([(e.force_mae_eV_per_A, e.energy_mae_meV_per_atom) for e in
                              (toy_errors(world, count) for count in COUNTS)])  # fmt: skip
        else:
            found = toy_gradient(world, wrong=mode == "wrong").numpy()
        if world.rank == 0:
            np.save(Path(output), found)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
