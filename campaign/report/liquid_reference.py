"""The labels' own g(r), which boxes are held to, and how well so few frames know it.

How far blocks of sound frames are from it is drawn from the labels themselves: so many of them at
random against all others. They are nearly independent, which frames of a run are not, and of the
labels' box: where the simulated one is smaller, or its frames resemble each other, noise is larger.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from campaign.report.liquid_inputs import LiquidReference, SoundBlocks
from campaign.statistics.radial_distribution import PairCounts, added, count_pairs, rebinned
from campaign.statistics.structural_failure import (
    ReferenceCurve,
    curve_errors,
    reference_curves,
)
from data_store.splits import random_order
from data_store.structures import Structures

__all__ = ["DRAWN_BINS", "reference_of_labels", "shown_g", "sound_blocks"]

DRAWN_BINS = 5
"""Bins of a curve that are drawn as one: 0.06 Å."""

_DRAWS = 40


def reference_of_labels(
    labels: Structures, numbers: Sequence[int], frames_in_block: int = 0
) -> LiquidReference | None:
    """g(r) of the labels that are periodic boxes of the same elements; None where none is.

    Parameters
    ----------
    labels : Structures
    numbers : sequence of int
        Atomic numbers of the box that was simulated.
    frames_in_block : int
        Saved frames of a block of time; 0 where it is not known.
    """
    elements = set(numbers)
    boxes = [
        index
        for index in range(len(labels))
        if labels.pbc[index].all() and set(labels.numbers_of(index).tolist()) == elements
    ]
    if not boxes:
        return None
    chosen = labels.take(np.array(boxes, dtype=np.int64))
    counted = [_counted(chosen, index) for index in range(len(chosen))]
    whole, order = added(counted), random_order(len(counted), 0)
    halves = [_only(counted, part) for part in np.array_split(order, 2) if len(part)]
    volumes = [abs(float(np.linalg.det(cell))) for cell in chosen.cells]
    left_out = len(labels) - len(boxes)
    return LiquidReference(
        f"{len(boxes)} labels that are periodic boxes"
        + (f" ({left_out} others are none)" if left_out else ""),
        len(boxes),
        reference_curves(whole),
        {pair: shown_g(whole, pair) for pair in whole.pairs},
        curve_errors(halves[0], reference_curves(halves[1])) if len(halves) == 2 else {},
        len(chosen.numbers) / sum(volumes),
        sound_blocks(counted, frames_in_block),
    )


def _counted(structures: Structures, index: int) -> PairCounts:
    frame = np.asarray(structures.positions_of(index))[None]
    return count_pairs(frame, structures.numbers_of(index), structures.cells[index])


def _only(counted: Sequence[PairCounts], rows: NDArray[np.int64]) -> PairCounts:
    return added([counted[row] for row in rows])


def sound_blocks(counted: Sequence[PairCounts], frames: int) -> SoundBlocks | None:
    """Errors of so many random frames against all others.

    Parameters
    ----------
    counted : sequence of PairCounts
        One for each frame.
    frames : int
        In a block.

    Returns
    -------
    SoundBlocks or None
        None where there are fewer than twice as many frames, or it is not known how many are drawn.
    """
    if frames < 1 or len(counted) < 2 * frames:
        return None
    errors = []
    for draw in range(_DRAWS):
        order = random_order(len(counted), draw)
        rest = reference_curves(_only(counted, order[frames:]))
        errors.append(list(curve_errors(_only(counted, order[:frames]), rest).values()))
    found = np.array(errors)
    return SoundBlocks(
        frames,
        dict(zip(counted[0].pairs, found.mean(0).tolist(), strict=True)),
        float(found.max()),
        len(found),
    )


def shown_g(found: PairCounts, pair: str) -> ReferenceCurve:
    """g(r) of one pair in bins that are wide enough to be drawn."""
    edges = found.edges_A[::DRAWN_BINS]
    return ReferenceCurve(edges, rebinned(found, pair, edges))
