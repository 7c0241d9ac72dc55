"""Selection spread evenly over the quantiles of the candidates' force-field energy.

Two candidates of a random selection are often neighbours in energy while a stretch elsewhere has
none. Here the first k of the order are spread over equal bins of the ranks, for every k and for all
bin widths at once, so that there is no number of bins to choose and labels added later fill the
bins evenly too. Within that, all is drawn: the energies of the first k have the distribution of all
candidates' energies, so that labels stay thermal. Energies must be of one force field and one
molecule; the expert's are not known yet.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_store.streams import stream
from data_store.structures import Structures

__all__ = ["energy_stratified", "stratified_ranks"]


def energy_stratified(candidates: Structures, seed: int) -> NDArray[np.int64]:
    """Order of candidates whose beginnings spread evenly over the ranks of their energies.

    Parameters
    ----------
    candidates : Structures
        With energies.
    seed : int

    Returns
    -------
    ndarray of int64, shape (S,)
        Follows the structures wherever they stand; equal energies alone are told apart by place.

    Raises
    ------
    StoreError
        If the candidates carry no energies.
    """
    by_energy = np.argsort(candidates.labelled_energies(), kind="stable")
    return by_energy[stratified_ranks(len(candidates), seed)].astype(np.int64)


def stratified_ranks(count: int, seed: int) -> NDArray[np.int64]:
    """Order of ``0..count-1`` that is even over halves, quarters, eighths, … of the range.

    The van der Corput sequence, scrambled as by Owen (1995, doi:10.1007/978-1-4612-2552-2_19), for
    any count: each half of a range is ordered by the same rule, and the two are taken in turn, a
    coin saying which begins. Of the first k, each of 2^m bins so made holds ⌊k / 2^m⌋ or one more.

    Parameters
    ----------
    count, seed : int

    Returns
    -------
    ndarray of int64, shape (count,)
    """
    return _by_halves(np.arange(count), stream(seed, "energy_stratified", count))


def _by_halves(ranks: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
    if len(ranks) < 2:
        return ranks
    low_begins = int(random.integers(2))
    cut = (len(ranks) + low_begins) // 2  # of an odd number, the half that begins has one more
    low, high = ranks[:cut], ranks[cut:]
    first, second = (low, high) if low_begins else (high, low)
    merged = np.empty_like(ranks)
    merged[0::2] = _by_halves(first, random)
    merged[1::2] = _by_halves(second, random)
    return merged
