"""Nearest images in a periodic box, and which pairs of atoms are nearest, in bounded memory.

The nearest image is found by rounding: that of a rectangular box always, else where it is nearer
than half of the box's least height. No product of matrices: what the order of its sums depends on
is not ours to say, and who else is in a batch would show.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["nearest_images", "nearest_pairs"]

_CHUNK_PAIRS = {"cpu": 1 << 15, "cuda": 1 << 23}
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
    whole = _times(vectors.detach(), _inverse(cell)).round()
    return vectors - _times(whole, cell)


def nearest_pairs(positions: Tensor, reach: Tensor, cell: Tensor | None) -> tuple[Tensor, Tensor]:
    """Of each atom, the other that is nearest in units of the pair's reach, and how near.

    All pairs are looked at, a few replicas or rows at a time: in fractional coordinates
    :math:`s`, with :math:`d^2 = s^T G s` and the metric :math:`G`.

    Parameters
    ----------
    positions : Tensor, shape (R, N, 3)
        In Å.
    reach : Tensor, shape (N, N)
        Of each pair, in Å; 0 where a pair is not looked at.
    cell : Tensor, shape (3, 3), or None

    Returns
    -------
    Tensor, shape (R, N)
        Distance over reach: infinite where no pair is looked at, not a number where a position is
        none.
    Tensor of int64, shape (R, N)
        The other atom.
    """
    looked_at = reach > 0.0
    weight = torch.where(looked_at, reach, 1.0).pow(-2) * looked_at
    beyond = torch.zeros_like(reach).masked_fill(~looked_at, torch.inf)
    places = positions if cell is None else _times(positions, _inverse(cell))
    atoms, device = positions.shape[1], positions.device.type
    most = _CHUNK_PAIRS.get(device, _CHUNK_PAIRS["cpu"])
    rows = max(1, min(atoms, most // atoms))
    found = []
    for some in places.split(max(1, most // (rows * atoms))):
        x = some.movedim(-1, 0).contiguous()  # (3, r, N)
        parts = zip(x.split(rows, dim=2), weight.split(rows), beyond.split(rows), strict=True)
        least = [
            torch.addcmul(none, _squares(part, x, cell), each).min(dim=2)
            for part, each, none in parts
        ]
        found.append([torch.cat(column, dim=1) for column in zip(*least, strict=True)])
    shares, others = (torch.cat(column) for column in zip(*found, strict=True))
    return shares.sqrt(), others


def _squares(rows: Tensor, x: Tensor, cell: Tensor | None) -> Tensor:
    """Squared distances (r, n, N) of atoms (3, r, n) and all (3, r, N), in Å²."""
    a, b, c = (x[:, :, None] - rows[:, :, :, None]).unbind()
    if cell is None:
        return a * a + b * b + c * c
    a, b, c = a - a.round(), b - b.round(), c - c.round()
    u, v, w = cell.unbind()
    total = a * (_dot(u, u) * a + 2.0 * _dot(u, v) * b + 2.0 * _dot(u, w) * c)
    total += b * (_dot(v, v) * b + 2.0 * _dot(v, w) * c)
    squares: Tensor = total.add_(_dot(w, w) * c * c).clamp_(min=0.0)
    return squares


def _dot(one: Tensor, other: Tensor) -> Tensor:
    x, y, z = (one * other).unbind()
    return x + y + z


def _inverse(cell: Tensor) -> Tensor:
    inverse: Tensor = torch.linalg.inv_ex(cell).inverse  # does not wait for the device, as inv does
    return inverse


def _times(vectors: Tensor, matrix: Tensor) -> Tensor:
    x, y, z = (component.unsqueeze(-1) for component in vectors.unbind(-1))
    return x * matrix[0] + y * matrix[1] + z * matrix[2]
