"""What a molecule's geometry is compared by: its inverse interatomic distances, sorted by element.

A bag of bonds without the charges (Hansen et al. 2015, doi:10.1021/acs.jpclett.5b00831): per pair
of elements the inverse distances of all pairs of atoms, in falling order. Chosen over radial
histograms (SOAP and its kin) because it has no width, cutoff or resolution to choose, is
continuous, and sees every pair of a small molecule; over the Coulomb matrix's Z_i Z_j / r because
weights would hide the hydrogens. Inverse distances change most where a potential does, at short
range.

It does not change by rotation, reflection, translation and exchange of like atoms. It is not
complete: mirror images are one to it, and sorting forgets which distances share an atom. The
Euclidean distance of two such vectors is that of the best matching of the pairs, each pair free,
and so never larger than that of the best exchange of atoms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_store.errors import InputError
from data_store.structures import Structures

__all__ = ["inverse_distances"]


def inverse_distances(structures: Structures) -> NDArray[np.float64]:
    """Inverse interatomic distances, sorted within each pair of elements.

    Parameters
    ----------
    structures : Structures
        Of one composition, not periodic; the order of atoms may differ.

    Returns
    -------
    ndarray, shape (S, N (N − 1) / 2)
        In 1/Å.

    Raises
    ------
    InputError
        If compositions differ, a structure is periodic, or two atoms coincide.
    StoreError
        If the numbers of atoms differ.
    """
    numbers, positions = _sorted_by_element(structures)
    one, other = np.triu_indices(len(numbers), k=1)
    distances = np.linalg.norm(positions[:, one] - positions[:, other], axis=2)
    if not np.all(distances > 0.0):
        raise InputError("two atoms of a structure coincide", "leave that structure out")
    inverse = 1.0 / distances
    pairs = numbers[one].astype(np.int64) * 256 + numbers[other]
    bags = [-np.sort(-inverse[:, pairs == pair], axis=1) for pair in np.unique(pairs)]
    return np.concatenate([inverse[:, :0], *bags], axis=1)


def _sorted_by_element(structures: Structures) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Atomic numbers (N,) in rising order, and the positions (S, N, 3) in that order of atoms."""
    if structures.pbc.any():
        raise InputError(
            "structures are compared by all distances within a molecule, and these are periodic",
            'labels.select = "random" and "energy_stratified" take periodic structures',
        )
    positions = structures.dense_positions().astype(np.float64)
    numbers = structures.numbers.reshape(positions.shape[:2])
    order = np.argsort(numbers, axis=1, kind="stable")
    ordered = np.take_along_axis(numbers, order, axis=1)
    if np.any(ordered != ordered[:1]):
        raise InputError(
            "structures of several compositions cannot be compared by their distances",
            "select among structures of one molecule",
        )
    return ordered[0], np.take_along_axis(positions, order[:, :, None], axis=1)
