"""Neighbour lists: from structures, periodic or not, to a `GraphBatch`, by vesin.

For dynamics of molecules there is no need of one (`DenseBatch`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from vesin import NeighborList

from apps.potential.batch import GraphBatch

__all__ = ["graph_batch"]

Array = NDArray[Any]


def graph_batch(
    numbers: Sequence[Array],
    positions: Sequence[Array],
    cells: Sequence[Array],
    pbc: Sequence[Array],
    cutoff_A: float,
) -> GraphBatch:
    """Batch of structures with all pairs closer than the cutoff.

    Parameters
    ----------
    numbers : sequence of ndarray of int, shape (N,)
    positions : sequence of ndarray, shape (N, 3)
        In Å.
    cells : sequence of ndarray, shape (3, 3)
        In Å; ignored along directions that are not periodic.
    pbc : sequence of ndarray of bool, shape (3,)
    cutoff_A : float
    """
    calculator = NeighborList(cutoff=cutoff_A, full_list=True)
    pairs, shifts, first = [], [], 0
    for x, cell, periodic in zip(positions, cells, pbc, strict=True):
        box = np.asarray(cell, dtype=np.float64)
        i, j, images = calculator.compute(
            points=np.asarray(x, dtype=np.float64),
            box=box,
            periodic=np.asarray(periodic, dtype=bool),
            quantities="ijS",
        )
        pairs.append(np.stack([i, j]).astype(np.int64) + first)
        shifts.append(images.astype(np.float64) @ box)
        first += len(x)
    counts = [len(x) for x in positions]
    return GraphBatch(
        numbers=torch.from_numpy(np.concatenate(numbers).astype(np.int64)),
        positions=torch.from_numpy(np.concatenate(positions).astype(np.float64)),
        structure=torch.from_numpy(np.repeat(np.arange(len(counts)), counts)),
        pairs=torch.from_numpy(np.concatenate(pairs, axis=1)),
        shifts=torch.from_numpy(np.concatenate(shifts)),
        n_structures=len(counts),
    )
