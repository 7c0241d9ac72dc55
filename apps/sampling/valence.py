"""Bond lengths and angles of a batch, with their derivatives: what simple force fields are made of.

Which energy follows from them is for the force field's own module to say.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["angles", "lengths"]

Array = NDArray[np.float64]


def lengths(positions: Array, i: int, j: int) -> tuple[Array, Array]:
    """Distances of two atoms, and their derivative by the position of `j` (minus that by `i`).

    Parameters
    ----------
    positions : ndarray, shape (S, N, 3)
        In Å.
    i, j : int

    Returns
    -------
    lengths : ndarray, shape (S,)
        In Å.
    slopes : ndarray, shape (S, 3)
        Not finite where both atoms are at one place.
    """
    line = positions[:, j] - positions[:, i]
    length = np.sqrt((line * line).sum(-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return length, line / length[:, None]


def angles(positions: Array, i: int, centre: int, k: int) -> tuple[Array, Array, Array]:
    r"""Angles i–centre–k, and their derivatives by the positions of both ends.

    :math:`\partial\theta/\partial x_i = (\cos\theta\,\hat u - \hat v) / (|u| \sin\theta)` with
    :math:`u = x_i - x_c` and :math:`v = x_k - x_c`; that by the centre is minus the sum of both.

    Parameters
    ----------
    positions : ndarray, shape (S, N, 3)
        In Å.
    i, centre, k : int

    Returns
    -------
    angles : ndarray, shape (S,)
        In radians, from 0 to π.
    by_i, by_k : ndarray, shape (S, 3)
        In 1/Å. Not finite where the three atoms are exactly in line: there is no such derivative.
    """
    (length_u, unit_u), (length_v, unit_v) = (lengths(positions, centre, end) for end in (i, k))
    cosine = (unit_u * unit_v).sum(-1)[:, None]
    sine = np.linalg.norm(np.cross(unit_u, unit_v), axis=-1)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        by_i = (cosine * unit_u - unit_v) / (length_u[:, None] * sine)
        by_k = (cosine * unit_v - unit_u) / (length_v[:, None] * sine)
    return np.arctan2(sine, cosine)[:, 0], by_i, by_k
