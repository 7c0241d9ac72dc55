"""Splits: which structures train, validate and test, without leaking a trajectory into two of them.

Frames of one trajectory resemble each other, so a trajectory (or a block of time of it) goes whole
to one side. Pools are prefixes of one seeded order: a pool of 50 holds the pool of 25, and what a
pool holds depends on its own size alone. Nothing here looks at positions or labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_store.errors import InputError
from data_store.streams import stream, stream_seed

__all__ = [
    "Split",
    "nested_split",
    "random_order",
    "teacher_holdout",
    "time_blocks",
    "validation_boxes",
    "validation_count",
]

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """Indices of structures by use.

    Parameters
    ----------
    train, validation, test : ndarray of int64
        Disjoint, and disjoint by group too.
    """

    train: Indices
    validation: Indices
    test: Indices


def random_order(count: int, seed: int) -> Indices:
    """Seeded permutation of ``0..count-1``."""
    return stream(seed, "order", count).permutation(count).astype(np.int64)


def teacher_holdout(count: int, held_out: int, seed: int) -> tuple[Indices, Indices]:
    """Rows of the teacher's structures to pre-train on, and rows that it holds out.

    A function of its own, so that whoever judges a model later knows what it never was trained on.
    """
    order = random_order(count, stream_seed(seed, "pretrain", "held out"))
    return order[: count - held_out], order[count - held_out :]


def validation_count(pool: int) -> int:
    """How many labels of a pool validate: a fifth, at least 5, and a tenth from 300 labels on."""
    return max(5, pool // (10 if pool >= 300 else 5))


def time_blocks(parents: Indices, frames: Indices, frames_per_block: int) -> Indices:
    """Group of each structure when trajectories are cut into blocks of time.

    Parameters
    ----------
    parents, frames : ndarray of int64, shape (S,)
        Trajectory, and frame in it.
    frames_per_block : int

    Returns
    -------
    ndarray of int64, shape (S,)
        Numbered from 0 in order of trajectory and time.

    Raises
    ------
    InputError
        If a block is shorter than one frame.
    """
    if frames_per_block < 1:
        raise InputError(f"a time block has at least 1 frame, not {frames_per_block}")
    keys = np.stack([parents, frames // frames_per_block], axis=1)
    _, groups = np.unique(keys, axis=0, return_inverse=True)
    return groups.reshape(-1).astype(np.int64)


def validation_boxes(pool: int) -> int:
    """How many of a pool of boxes of a liquid validate: a fifth, and one at least.

    A box holds the forces of as many atoms as some ten molecules.
    """
    return max(1, pool // 5)


def nested_split(
    groups: Indices, pool: int, test_count: int, seed: int, validation: int | None = None
) -> Split:
    """Split of structures by group.

    Parameters
    ----------
    groups : ndarray of int64, shape (S,)
        Trajectory or time block of each structure.
    pool : int
        Labels to train and validate on.
    test_count : int
        Structures to test on, at least (whole groups are taken); may be 0.
    seed : int
    validation : int, optional
        Of the pool, to validate on; by default `validation_count`.

    Returns
    -------
    Split
        ``len(train) + len(validation) == pool``; validation gets more than that where the border
        would cut a group.

    Raises
    ------
    InputError
        If there are too few structures or groups.
    """
    order = _grouped_order(groups, seed)
    ordered = groups[order]
    test_start = _group_start(ordered, len(order) - test_count)
    if pool > test_start:
        raise InputError(
            f"a pool of {pool} labels and {test_count} for testing need more than the "
            f"{len(order)} structures in {len(np.unique(groups))} trajectories that there are",
            hint="compute or import more labels, or make finetuning.pools or test_count smaller",
        )
    aside = validation_count(pool) if validation is None else validation
    border = _group_start(ordered[:pool], pool - aside)
    if border == 0:
        raise InputError(
            f"the pool of {pool} labels comes from {len(np.unique(ordered[:pool]))} trajectory "
            "or time block, so that training and validation would share it",
            hint="bring labels of several trajectories, or larger pools",
        )
    return Split(order[:border], order[border:pool], order[test_start:])


def _grouped_order(groups: Indices, seed: int) -> Indices:
    """Structures in a seeded order of their groups, each group together and in its own order."""
    names = np.unique(groups)
    rank = np.empty(len(names), dtype=np.int64)
    rank[random_order(len(names), seed)] = np.arange(len(names))
    return np.argsort(rank[np.searchsorted(names, groups)], kind="stable").astype(np.int64)


def _group_start(ordered: Indices, position: int) -> int:
    """First position of the group that `position` falls into."""
    if position >= len(ordered):
        return len(ordered)
    position = max(position, 0)
    while position > 0 and ordered[position - 1] == ordered[position]:
        position -= 1
    return position
