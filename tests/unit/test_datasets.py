"""A dataset reads across parts, and each epoch gives every structure once, in a seeded order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_store.datasets import Dataset
from data_store.errors import StoreError
from data_store.parts import write_part
from data_store.structure_parts import read_structures, structures_to_columns
from data_store.structures import Structures


def made(root: Path, sizes: tuple[int, ...] = (7, 1, 12)) -> Dataset:
    parts, first = [], 0
    for index, size in enumerate(sizes):
        parents = np.arange(first, first + size)
        positions = np.zeros((size, 2, 3))
        positions[:, 1, 0] = 1.0 + parents
        structures = Structures.from_dense(
            np.array([1, 8]), positions, energies=parents.astype(float), forces=positions,
            parents=parents,
        )  # fmt: skip
        parts.append(
            write_part(root, "sample", f"{index:064d}", structures_to_columns(structures), {})
        )
        first += size
    return Dataset(parts)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return made(tmp_path_factory.mktemp("parts"))


def test_structures_survive_the_store(dataset: Dataset) -> None:
    part = read_structures(dataset.parts[0])
    np.testing.assert_array_equal(part.parents, np.arange(7))
    np.testing.assert_array_equal(part.dense_forces(), part.dense_positions())


@given(st.integers(0, 19), st.integers(1, 20))
def test_reads_cross_part_boundaries(dataset: Dataset, start: int, count: int) -> None:
    stop = min(start + count, 20)
    found = dataset.read(start, stop)
    np.testing.assert_array_equal(found.parents, np.arange(start, stop))
    np.testing.assert_array_equal(found.labelled_energies(), np.arange(start, stop))


@given(st.integers(1, 25), st.integers(1, 9), st.integers(1, 3), st.integers(0, 3))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_an_epoch_gives_each_structure_once(
    dataset: Dataset, batch: int, block: int, mixed: int, epoch: int
) -> None:
    batches = list(dataset.batches(batch, 5, epoch, block_size=block, blocks_mixed=mixed))
    seen = np.concatenate([b.parents for b in batches])
    np.testing.assert_array_equal(np.sort(seen), np.arange(20))
    assert all(len(b) == batch for b in batches[:-1])


@given(st.integers(1, 6), st.integers(0, 5))
def test_going_on_at_a_batch_gives_the_rest(dataset: Dataset, batch: int, first: int) -> None:
    kwargs = {"block_size": 4, "blocks_mixed": 2}
    whole = [b.parents.tolist() for b in dataset.batches(batch, 1, 0, **kwargs)]
    rest = [b.parents.tolist() for b in dataset.batches(batch, 1, 0, first_batch=first, **kwargs)]
    assert rest == whole[first:]


def test_epochs_and_seeds_differ(dataset: Dataset) -> None:
    orders = {
        tuple(np.concatenate([b.parents for b in dataset.batches(4, seed, epoch)]))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(orders) == 4


@pytest.mark.parametrize("bounds", [(0, 0), (0, 21), (-1, 3), (5, 2)])
def test_impossible_ranges_are_refused(dataset: Dataset, bounds: tuple[int, int]) -> None:
    with pytest.raises(StoreError):
        dataset.read(*bounds)


def test_a_dataset_of_nothing_is_refused() -> None:
    with pytest.raises(StoreError):
        Dataset([])
