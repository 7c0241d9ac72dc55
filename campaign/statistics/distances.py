r"""h(r): the distribution of interatomic distances, and how far one is from another.

A structural measure of simulated frames: a potential that survives by freezing or melting the
molecule has failed too. After Fu et al. (arXiv:2210.07237),

.. math::
    h(r) = \frac{1}{N(N-1)} \sum_{i \ne j} \delta(r - |x_i - x_j|),\qquad
    \mathrm{MAE} = \int_0^\infty |\langle h \rangle - \langle h_\mathrm{ref} \rangle|\,dr,

which has no unit and lies within 0 and 2. Distances are counted in bins, so that frames of many
parts add up. Nothing here knows of time: frames of one replica are not independent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["BIN_A", "count_distances", "density_per_A", "distribution_error"]

BIN_A = 0.05
"""Width of a bin."""
_BINS = 600
_ROWS = 2000

Counts = NDArray[np.int64]


def count_distances(frames: NDArray[np.floating]) -> Counts:
    """Distances of all pairs of atoms by bin; the last bin holds all that is further than 30 Å.

    Parameters
    ----------
    frames : ndarray, shape (S, N, 3)
        Of one molecule, not periodic, in Å.

    Returns
    -------
    ndarray of int64, shape (bins,)
    """
    counts = np.zeros(_BINS, dtype=np.int64)
    i, j = np.triu_indices(frames.shape[1], k=1)
    for start in range(0, len(frames), _ROWS):
        block = frames[start : start + _ROWS].astype(np.float64)
        distances = np.linalg.norm(block[:, i] - block[:, j], axis=-1)
        places = np.minimum(distances / BIN_A, _BINS - 1).astype(np.int64)
        counts += np.bincount(places.ravel(), minlength=_BINS)
    return counts


def density_per_A(counts: Counts) -> NDArray[np.float64]:
    """h(r) per Å at the bins: its integral is 1."""
    return np.asarray(counts / (counts.sum() * BIN_A))


def distribution_error(counts: Counts, reference: Counts) -> float | None:
    """Integrated absolute difference of two distributions; None where one is empty."""
    if not counts.any() or not reference.any():
        return None
    difference = np.abs(density_per_A(counts) - density_per_A(reference))
    return float(difference.sum() * BIN_A)
