r"""Selection by D-optimality: next comes the candidate that the labels so far say least about.

The energy of a potential is linear in its last layer's input, summed over atoms: the features
:math:`\varphi` of a structure. Labels of structures with features :math:`\varphi_i` determine that
layer as well as the determinant of :math:`M = \sum_i \varphi_i \varphi_i^T` is large; the greedy
order that enlarges it most takes the candidate of largest :math:`\varphi^T M^{-1} \varphi` (Wynn
1970, doi:10.1214/aoms/1177696809; for potentials Podryabinkin and Shapeev 2017,
doi:10.1016/j.commatsci.2017.08.031, by maximal volume). The features are those of a model
pre-trained on the teacher: of what the labels will be it knows nothing.

As any optimal design it takes extremes first: what it selects is no sample of the candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_store.streams import stream
from data_store.structures import Structures

if TYPE_CHECKING:
    from apps.potential.protocol import Potential

__all__ = ["d_optimal", "d_optimal_order", "independent_directions"]

Array = NDArray[np.float64]

_LEAST_SPREAD = 1e-4
"""Of a direction in the space of features, over the largest: below it are single precision's
errors."""

_PRIOR = 1e-6
"""What is known of each direction beforehand, in labels: next to nothing."""


def d_optimal(candidates: Structures, seed: int, models: Sequence[Potential]) -> NDArray[np.int64]:
    """D-optimal order of the candidates by the features of the first model.

    Parameters
    ----------
    candidates : Structures
        Of one number of atoms, not periodic.
    seed : int
        Decides the first; all others follow from it.
    models : sequence of Potential

    Returns
    -------
    ndarray of int64, shape (S,)

    Raises
    ------
    InputError
        If the model tells no features, or the candidates cannot be evaluated.
    """
    from apps.potential.asking import energy_features

    return d_optimal_order(energy_features(models[0], candidates), seed)


def d_optimal_order(features: Array, seed: int) -> NDArray[np.int64]:
    """Greedy D-optimal order of points.

    Parameters
    ----------
    features : ndarray, shape (S, F)
        A constant and a common factor of a column change nothing.
    seed : int

    Returns
    -------
    ndarray of int64, shape (S,)
        In a time of S² F.
    """
    points = independent_directions(features)
    count, width = points.shape
    # A drawn rank instead of a drawn place, so that the first does not depend on who stands where.
    by_size = np.argsort(features.sum(axis=1), kind="stable")
    chosen = by_size[stream(seed, "d_optimal", count).integers(count)]
    order = np.empty(count, dtype=np.int64)
    inverse = np.eye(width) / _PRIOR
    leverage = np.einsum("sf,sf->s", points, points) / _PRIOR
    for place in range(count):
        order[place] = chosen
        taken = inverse @ points[chosen]
        scale = 1.0 + points[chosen] @ taken
        inverse -= np.outer(taken, taken) / scale
        leverage -= (points @ taken) ** 2 / scale
        leverage[chosen] = -np.inf  # taken, and never to be taken again
        chosen = np.argmax(leverage)
    return order


def independent_directions(features: Array) -> Array:
    """A constant, and the directions in which features differ, each of variance 1: (S, D)."""
    centred = features - features.mean(axis=0)
    left, spread, _ = np.linalg.svd(centred, full_matrices=False)
    kept = spread > _LEAST_SPREAD * max(float(spread.max(initial=0.0)), np.finfo(float).tiny)
    ones = np.ones((len(features), 1))
    return np.concatenate([ones, left[:, kept] * np.sqrt(len(features))], axis=1)
