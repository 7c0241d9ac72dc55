r"""When a simulated liquid is no longer that liquid: g(r) of a block of time against a reference.

After Fu et al. (arXiv:2210.07237, `observable.ipynb` of their MDsim) the error of a pair of
elements is

.. math:: \epsilon_{ab} = R \cdot \overline{|g_{ab} - g^\mathrm{ref}_{ab}|}
    = \int_0^R |g_{ab}(r) - g^\mathrm{ref}_{ab}(r)|\,dr,\qquad R = 6\ \text{Å}

in Å, bonded pairs included, and a run of water has failed where the largest of O-O, O-H and H-H
exceeds 3.0 in a window of 1 ps. What differs here: blocks follow each other, where the window there
slides by a frame; a failure is timed by the end of its block, when it is seen, there by its
beginning; like pairs are counted over :math:`N(N-1)`, there :math:`N^2`. In a box whose half width
is less than R the integral ends there, so that an error is never larger than over the whole range.

A block that was not watched to its end is not judged, and counted. A reference knows itself no
better than its frames are many: see `docs/liquid_analysis.md`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from campaign.statistics.radial_distribution import PairCounts, added, count_pairs, rebinned
from data_store.errors import InputError
from data_store.runs import Run

__all__ = [
    "BLOCK_PS",
    "CAUSE",
    "RANGE_A",
    "THRESHOLD_A",
    "Judged",
    "ReferenceCurve",
    "curve_errors",
    "first_block",
    "judge_run",
    "reference_curves",
    "with_structure",
]

THRESHOLD_A = 3.0
"""Largest error of water; 1.0 is that of the crystal LiPS in the same work, with another range."""

RANGE_A = 6.0
BLOCK_PS = 1.0
CAUSE = "structure"
"""Cause of runs that fail so."""

_ROUNDING_PS = 1e-6

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ReferenceCurve:
    """g(r) of one pair of elements.

    Parameters
    ----------
    edges_A : ndarray, shape (B + 1,)
        Of the bins.
    g : ndarray, shape (B,)
    """

    edges_A: Array
    g: Array


@dataclass(frozen=True, eq=False)
class Judged:
    """What one run's frames said.

    Parameters
    ----------
    pairs : tuple of str, length P
    errors_A : ndarray, shape (K, P)
        Of each whole block, in order of time; not a number where a block has no frame.
    not_judged : int
        Blocks that were begun and not watched to their end, or have no frame.
    counts : PairCounts
        Of all frames after the start.
    """

    pairs: tuple[str, ...]
    errors_A: Array
    not_judged: int
    counts: PairCounts

    @property
    def largest_A(self) -> Array:
        """Largest error of each block over the pairs, shape (K,); without a pair none is known."""
        if not self.pairs:
            return np.full(len(self.errors_A), np.nan)
        return np.asarray(self.errors_A.max(axis=1))


def reference_curves(found: PairCounts, range_A: float = RANGE_A) -> dict[str, ReferenceCurve]:
    """Curves of frames that others are to be judged by, as far as the range or the box goes."""
    edges = found.edges_A[found.edges_A <= range_A * (1.0 + 1e-9)]
    return {pair: ReferenceCurve(edges, rebinned(found, pair, edges)) for pair in found.pairs}


def curve_errors(found: PairCounts, reference: Mapping[str, ReferenceCurve]) -> dict[str, float]:
    """Error in Å of each pair that the reference knows, over bins that lie wholly in the box.

    Raises
    ------
    InputError
        If the reference knows none of the pairs, or begins beyond where the box ends.
    """
    shared = [pair for pair in found.pairs if pair in reference]
    if not shared:
        raise InputError(
            f"the reference has g(r) of {', '.join(sorted(reference))}; the boxes have "
            f"{', '.join(found.pairs)}",
            "name the pairs as the boxes do, the heavier element first",
        )
    return {pair: _error(found, pair, reference[pair]) for pair in shared}


def _error(found: PairCounts, pair: str, curve: ReferenceCurve) -> float:
    edges = curve.edges_A[curve.edges_A <= found.edges_A[-1] * (1.0 + 1e-9)]
    if len(edges) < 2:
        raise InputError(
            f"g(r) of the reference begins at {curve.edges_A[0]:g} Å, where a box that reaches "
            f"{found.edges_A[-1]:g} Å has ended",
            "take a larger box, or another reference",
        )
    g = rebinned(found, pair, edges)
    return float((np.abs(g - curve.g[: len(g)]) * np.diff(edges)).sum())


def judge_run(
    times_ps: ArrayLike,
    frames: NDArray[np.floating],
    numbers: ArrayLike,
    cell: ArrayLike,
    watched_ps: float,
    reference: Mapping[str, ReferenceCurve],
    block_ps: float = BLOCK_PS,
) -> Judged:
    """Judge the blocks of one run.

    Parameters
    ----------
    times_ps : ndarray, shape (F,)
        Of the frames; the start, at 0, is left out: it is the same in all arms.
    frames : ndarray, shape (F, N, 3)
        In Å, wrapped or not.
    numbers : ndarray of int, shape (N,)
    cell : ndarray, shape (3, 3)
        Rows are the edges of the periodic box, in Å.
    watched_ps : float
        How long the run was watched.
    reference : mapping of str to ReferenceCurve
        By pair, such as "O-H"; where it is empty no block is judged.
    block_ps : float

    Raises
    ------
    InputError
        As of `count_pairs` and `curve_errors`.
    """
    times = np.asarray(times_ps, dtype=np.float64)
    whole = math.floor((watched_ps + _ROUNDING_PS) / block_ps)
    begun = math.ceil((watched_ps - _ROUNDING_PS) / block_ps)
    # A frame at a block's end belongs to it.
    places = np.ceil((times - _ROUNDING_PS) / block_ps).astype(np.int64) - 1
    counts = [count_pairs(frames[:0], numbers, cell)]
    pairs = tuple(pair for pair in counts[0].pairs if pair in reference)
    errors = np.full((whole, len(pairs)), np.nan)
    for place in np.unique(places[places >= 0]):
        found = count_pairs(frames[places == place], numbers, cell)
        counts.append(found)
        if place < whole and reference:
            errors[place] = list(curve_errors(found, reference).values())
    empty = int(np.isnan(errors).all(axis=1).sum())
    return Judged(pairs, errors, max(begun - whole, 0) + empty, added(counts))


def first_block(errors_A: Array, threshold_A: float = THRESHOLD_A) -> int | None:
    """First block, counted from 0, of which the error exceeds the threshold.

    Parameters
    ----------
    errors_A : ndarray, shape (K,)
    threshold_A : float
    """
    beyond = np.flatnonzero(errors_A > threshold_A)
    return int(beyond[0]) if len(beyond) else None


def with_structure(
    runs: Sequence[Run],
    judged: Sequence[Judged],
    threshold_A: float = THRESHOLD_A,
    block_ps: float = BLOCK_PS,
) -> list[Run]:
    """Runs as they are where structure counts as a failure: the earlier of theirs and it.

    Parameters
    ----------
    runs : sequence of Run
    judged : sequence of Judged
        One for each run.
    threshold_A, block_ps : float

    Returns
    -------
    list of Run
        A run that fails so has cause `CAUSE`, the time of its block's end, and as value the largest
        error in that block, in Å. All others are as they were.
    """
    return [
        _earlier(run, found, threshold_A, block_ps)
        for run, found in zip(runs, judged, strict=True)
    ]  # fmt: skip


def _earlier(run: Run, found: Judged, threshold_A: float, block_ps: float) -> Run:
    place = first_block(found.largest_A, threshold_A)
    if place is None:
        return run
    time_ps = min((place + 1) * block_ps, run.time_ps)
    if run.failed and run.time_ps <= time_ps:
        return run
    value = float(found.largest_A[place])
    return Run(run.replica, run.start, "failed", time_ps, CAUSE, (), value)
