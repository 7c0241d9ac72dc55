"""Which structures a step sees: a pure function of the seed and the step.

Every rank computes the whole batch and takes its slice, so that there is no sampler to resume and
nothing to agree on. Each epoch is a new permutation; its last batch may be short.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from data_store.streams import stream

__all__ = ["batch_rows", "slice_of_rank"]


@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    order = stream(seed, "epoch", epoch).permutation(count).astype(np.int64)
    order.setflags(write=False)
    return order


def batch_rows(seed: int, step: int, count: int, batch_size: int) -> NDArray[np.int64]:
    """Rows of the batch of a step, over all ranks.

    Parameters
    ----------
    seed : int
    step : int
        From 0.
    count : int
        Structures in the data.
    batch_size : int

    Returns
    -------
    ndarray of int64, shape (batch_size,) or shorter at the end of an epoch
    """
    batches_per_epoch = -(-count // batch_size)
    epoch, index = divmod(step, batches_per_epoch)
    return _epoch_order(seed, epoch, count)[index * batch_size : (index + 1) * batch_size]


def slice_of_rank(rows: NDArray[np.int64], rank: int, size: int) -> NDArray[np.int64]:
    """The part of a batch that one rank computes; sizes differ by one at most, and may be 0."""
    return rows[len(rows) * rank // size : len(rows) * (rank + 1) // size]
