"""Nearest images in a periodic box, and distances of many pairs in bounded memory.

The nearest image is found by rounding: that of a rectangular box always, else where it is nearer
than half of the box's least height. No product of matrices: what the order of its sums depends on
is not ours to say, and who else is in a batch would show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

__all__ = ["in_chunks", "nearest_images"]

_CHUNK_PAIRS = {"cpu": 1 << 17, "cuda": 1 << 23}
"""Pairs looked at at once: on a core what its caches hold of them."""


def nearest_images(vectors: Tensor, cell: Tensor | None) -> Tensor:
    """Vectors (…, 3) in Å to the nearest images; as they are where there is no box.

    Parameters
    ----------
    vectors : Tensor, shape (…, 3)
    cell : Tensor, shape (3, 3), or None
        Rows are edges of a box that is periodic in all directions, in Å.
    """
    if cell is None:
        return vectors
    inverse = torch.linalg.inv_ex(cell).inverse  # does not wait for the device, as inv does
    whole = _times(vectors.detach(), inverse).round()
    return vectors - _times(whole, cell)


def _times(vectors: Tensor, matrix: Tensor) -> Tensor:
    x, y, z = (component.unsqueeze(-1) for component in vectors.unbind(-1))
    return x * matrix[0] + y * matrix[1] + z * matrix[2]


def in_chunks(
    function: Callable[[Tensor], tuple[Tensor, ...]], positions: Tensor, pairs: int
) -> tuple[Tensor, ...]:
    """What a function of positions (R, N, 3) gives, replicas a few at a time.

    Parameters
    ----------
    function : callable
        Of some replicas, each apart; its tensors have a row for each.
    positions : Tensor
    pairs : int
        That it looks at, of each replica.
    """
    most = _CHUNK_PAIRS.get(positions.device.type, _CHUNK_PAIRS["cpu"])
    rows = max(1, most // max(1, pairs))
    if rows >= len(positions):
        return function(positions)
    found: Iterator[tuple[Tensor, ...]] = map(function, positions.split(rows))
    return tuple(torch.cat(parts) for parts in zip(*found, strict=True))
