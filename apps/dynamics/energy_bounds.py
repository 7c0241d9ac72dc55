r"""Which potential energies are plausible: those of the labels, and a margin.

Energies of different compositions are compared above a line through the labels,

.. math:: E_\mathrm{line}(n) = \sum_z n_z\, \varepsilon_z,

with :math:`\varepsilon_z` of least squares (of least norm, where elements always come in one
proportion). What a replica may have is the range of the labels' energies per atom above that line,
widened by the margins of the settings. With labels of one composition, and replicas of the same,
this is the range of the labels' energies.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_store.structures import Structures

__all__ = ["energy_line", "plausible_energies"]


def energy_line(labels: Structures) -> dict[int, float]:
    """Energy of each element on the line through the labels, in eV, by atomic number."""
    kinds, counts = _compositions(labels)
    found, *_ = np.linalg.lstsq(counts, labels.labelled_energies(), rcond=None)
    return {int(kind): float(energy) for kind, energy in zip(kinds, found, strict=True)}


def _compositions(labels: Structures) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Elements (K,), and atoms of each in each structure, (S, K)."""
    kinds, place = np.unique(labels.numbers, return_inverse=True)
    counts = np.zeros((len(labels), len(kinds)))
    rows = np.repeat(np.arange(len(labels)), labels.atom_counts)
    np.add.at(counts, (rows, place), 1.0)
    return kinds, counts


def plausible_energies(
    labels: Structures,
    numbers: NDArray[Any],
    below_eV_per_atom: float,
    above_eV_per_atom: float,
) -> tuple[float, tuple[float, float]]:
    """Energy of a composition on the line, and bounds of energies per atom above it.

    Parameters
    ----------
    labels : Structures
        With energies.
    numbers : ndarray, shape (N,)
        Atomic numbers of a replica.
    below_eV_per_atom, above_eV_per_atom : float
        Margins below the lowest label, and above the highest.

    Returns
    -------
    line_eV : float
        Not a number where an element is in no label: then nothing can be judged.
    bounds : tuple of float
        In eV per atom.
    """
    line = energy_line(labels)
    kinds, counts = _compositions(labels)
    above = labels.labelled_energies() - counts @ np.array([line[int(kind)] for kind in kinds])
    per_atom = above / labels.atom_counts
    of_numbers = float(sum(line.get(int(number), np.nan) for number in numbers))
    low, high = float(per_atom.min()), float(per_atom.max())
    return of_numbers, (low - below_eV_per_atom, high + above_eV_per_atom)
