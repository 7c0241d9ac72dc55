"""Structures refuse what is inconsistent, and taking and joining never mixes up atoms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_store.errors import StoreError
from data_store.structures import Structures, concatenate


def ragged(counts: list[int], *, seed: int = 0, labelled: bool = True) -> Structures:
    rng = np.random.default_rng(seed)
    batches = [
        Structures.from_dense(
            rng.integers(1, 9, size=n),
            rng.normal(size=(1, n, 3)),
            energies=rng.normal(size=1) if labelled else None,
            forces=rng.normal(size=(1, n, 3)) if labelled else None,
            parents=np.array([i]),
        )
        for i, n in enumerate(counts)
    ]
    return concatenate(batches)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.data())
def test_take_gives_each_structure_its_own_atoms(counts: list[int], data: st.DataObject) -> None:
    whole = ragged(counts)
    chosen = data.draw(st.lists(st.integers(0, len(counts) - 1), min_size=1, max_size=8))
    taken = whole.take(chosen)
    assert len(taken) == len(chosen)
    for row, index in enumerate(chosen):
        np.testing.assert_array_equal(taken.numbers_of(row), whole.numbers_of(index))
        np.testing.assert_array_equal(taken.positions_of(row), whole.positions_of(index))
        np.testing.assert_array_equal(taken.forces_of(row), whole.forces_of(index))
        assert taken.parents[row] == whole.parents[index]


@given(st.lists(st.integers(1, 4), min_size=2, max_size=6), st.data())
def test_slices_joined_are_the_whole(counts: list[int], data: st.DataObject) -> None:
    whole = ragged(counts)
    cut = data.draw(st.integers(1, len(counts) - 1))
    joined = concatenate([whole.slice(0, cut), whole.slice(cut, len(counts))])
    np.testing.assert_array_equal(joined.positions, whole.positions)
    np.testing.assert_array_equal(joined.offsets, whole.offsets)
    np.testing.assert_array_equal(joined.labelled_energies(), whole.labelled_energies())


def test_dense_views_round_trip() -> None:
    positions = np.random.default_rng(1).normal(size=(4, 3, 3))
    dense = Structures.from_dense(np.array([8, 1, 1]), positions, forces=2 * positions)
    np.testing.assert_array_equal(dense.dense_positions(), positions)
    np.testing.assert_array_equal(dense.dense_forces(), 2 * positions)


def test_unequal_atom_counts_have_no_dense_view() -> None:
    with pytest.raises(StoreError):
        ragged([2, 3]).dense_positions()


def test_unlabelled_structures_say_so() -> None:
    with pytest.raises(StoreError, match="energies"):
        ragged([2], labelled=False).labelled_energies()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_values_are_refused(bad: float) -> None:
    positions = np.zeros((2, 2, 3))
    positions[:, 1, 0] = 1.0
    broken = positions.copy()
    broken[1, 0, 0] = bad
    with pytest.raises(StoreError, match="structure 1"):
        Structures.from_dense(np.array([1, 1]), broken)
    with pytest.raises(StoreError, match="not finite"):
        Structures.from_dense(np.array([1, 1]), positions, energies=np.array([0.0, bad]))
    with pytest.raises(StoreError, match="not finite"):
        Structures.from_dense(np.array([1, 1]), positions, forces=broken)


def test_joining_labelled_and_unlabelled_is_refused() -> None:
    with pytest.raises(StoreError):
        concatenate([ragged([2]), ragged([2], labelled=False)])
