r"""Barriers along reaction paths: how high they are, and how many labels make them right.

A path is a line of structures from reactants to products. Its barriers are

.. math:: B_{\mathrm{first}} = \max_k E_k - E_1,\qquad B_{\mathrm{last}} = \max_k E_k - E_K

each by its own energies: a model that has its maximum elsewhere has its barrier counted from there.
Constants added to all energies cancel. A path without a saddle has its maximum at an end, and a
barrier of 0 from there; a model that puts a bump on it errs like one that misses a barrier.

Structures of the path are those of the labels, so that a model's own saddle may lie beside it: the
error is one of energies, not of a relaxed path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from campaign.statistics.errors import mean_error
from data_store.units import KCAL_PER_MOL_eV

__all__ = [
    "Barrier",
    "CHEMICAL_ACCURACY_eV",
    "barrier_of",
    "barriers_of",
    "enough_labels",
    "mean_barrier_error",
]

CHEMICAL_ACCURACY_eV = KCAL_PER_MOL_eV
"""One kcal/mol."""


@dataclass(frozen=True)
class Barrier:
    """Barriers of one path, in eV.

    Parameters
    ----------
    from_first, from_last : float
    inner : bool
        Whether the maximum is at neither end.
    """

    from_first: float
    from_last: float
    inner: bool

    def errors_eV(self, reference: Barrier) -> tuple[float, float]:
        """Differences from the barriers of a reference, from both ends."""
        return self.from_first - reference.from_first, self.from_last - reference.from_last


def barrier_of(energies: NDArray[np.float64]) -> Barrier:
    """Barriers of one path from energies (K,) in eV, K ≥ 2, in order along it."""
    top = int(energies.argmax())
    height = float(energies[top])
    return Barrier(
        height - float(energies[0]), height - float(energies[-1]), 0 < top < len(energies) - 1
    )


def barriers_of(
    energies: NDArray[np.float64], paths: Mapping[str, Sequence[int]]
) -> dict[str, Barrier]:
    """Barriers by the name of a path.

    Parameters
    ----------
    energies : ndarray, shape (S,)
        Of a set of structures, in eV.
    paths : mapping of str to sequence of int
        Places in that set, in order along the path.
    """
    return {name: barrier_of(energies[list(rows)]) for name, rows in paths.items()}


def mean_barrier_error(found: Mapping[str, Barrier], reference: Mapping[str, Barrier]) -> float:
    """Mean absolute error in eV over the barriers of `found`, two of each path; there is one."""
    errors = [found[name].errors_eV(reference[name]) for name in found]
    return float(np.abs(errors).mean())


def enough_labels(errors_eV: Mapping[int, Sequence[float]], bound_eV: float) -> int | None:
    """Smallest pool from which on barriers are right.

    The upper end of the 95 % interval of the mean error over seeds is at most the bound, here and
    in all larger pools. None where no pool is so good, or seeds are too few for an interval.

    Parameters
    ----------
    errors_eV : mapping of int to sequence of float
        Mean error of each seed's model, by pool.
    bound_eV : float
    """
    enough: int | None = None
    for labels in sorted(errors_eV, reverse=True):
        values = errors_eV[labels]
        if min(values) <= 0.0:  # without error there is no logarithm; all must be within the bound
            good = max(values) <= bound_eV
        else:
            high = mean_error(values).high
            good = high is not None and high <= bound_eV
        if not good:
            break
        enough = labels
    return enough
