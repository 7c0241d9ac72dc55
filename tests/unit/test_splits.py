"""Splits nest, are disjoint, and never cut a trajectory; a naive split does, and is caught."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_store.errors import InputError
from data_store.splits import (
    Split,
    nested_split,
    random_order,
    teacher_holdout,
    time_blocks,
    validation_count,
)

GROUPS = st.tuples(st.integers(30, 60), st.integers(1, 3)).map(
    lambda drawn: np.repeat(np.arange(drawn[0]), drawn[1])
)


def leaks(split: Split, groups: np.ndarray) -> bool:
    sides = [set(groups[side]) for side in (split.train, split.validation, split.test)]
    return any(a & b for i, a in enumerate(sides) for b in sides[i + 1 :])


@given(GROUPS, st.integers(0, 100))
def test_no_trajectory_is_on_two_sides(groups: np.ndarray, seed: int) -> None:
    split = nested_split(groups, 20, 5, seed)
    assert not leaks(split, groups)
    assert len(split.train) + len(split.validation) == 20
    assert len(split.validation) >= validation_count(20)
    assert len(split.test) >= 5


def test_a_split_by_frame_leaks_and_is_caught() -> None:
    groups = np.repeat(np.arange(10), 6)
    order = random_order(60, 0)
    assert leaks(Split(order[:30], order[30:40], order[40:]), groups)


@given(GROUPS, st.integers(0, 100))
def test_pools_nest_and_share_the_test_set(groups: np.ndarray, seed: int) -> None:
    small, large = nested_split(groups, 10, 5, seed), nested_split(groups, 20, 5, seed)
    small_pool = {*small.train, *small.validation}
    assert small_pool < {*large.train, *large.validation}
    np.testing.assert_array_equal(small.test, large.test)


def test_permutation_of_distinct_trajectories_uses_all() -> None:
    split = nested_split(np.arange(60), 50, 10, 3)
    everything = np.concatenate([split.train, split.validation, split.test])
    np.testing.assert_array_equal(np.sort(everything), np.arange(60))
    assert (len(split.train), len(split.validation)) == (40, 10)


def test_too_few_labels_are_refused() -> None:
    with pytest.raises(InputError, match="a pool of 50 labels"):
        nested_split(np.arange(55), 50, 10, 0)


def test_one_trajectory_is_refused() -> None:
    with pytest.raises(InputError, match="training and validation would share"):
        nested_split(np.zeros(40, dtype=np.int64), 20, 0, 0)


def test_time_blocks_keep_neighbours_together() -> None:
    frames = np.array([9, 0, 1, 5, 4])
    groups = time_blocks(np.zeros(5, dtype=np.int64), frames, 5)
    np.testing.assert_array_equal(groups, [1, 0, 0, 1, 0])
    with pytest.raises(InputError):
        time_blocks(frames, frames, 0)


@pytest.mark.parametrize("held_out", [1, 30, 99])
def test_what_pretraining_holds_out_is_apart_and_known_to_all(held_out: int) -> None:
    trained_on, kept = teacher_holdout(100, held_out, seed=3)
    assert len(kept) == held_out
    assert sorted([*trained_on, *kept]) == list(range(100))
    np.testing.assert_array_equal(kept, teacher_holdout(100, held_out, seed=3)[1])
    assert not np.array_equal(kept, teacher_holdout(100, held_out, seed=4)[1])
