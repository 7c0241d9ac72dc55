"""A dataset reads across parts, and each epoch gives every structure once, in a seeded order."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_store.datasets import Dataset, _runs, read_ahead
from data_store.errors import StoreError
from data_store.parts import write_part
from data_store.streams import stream
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


def order_of_batches(
    count: int, batch: int, seed: int, epoch: int, block: int, mixed: int
) -> list[list[int]]:
    """What batches hold, as first defined: a change of it is a change of what models learn."""
    starts = stream(seed, "blocks", epoch).permutation(np.arange(0, count, block))
    batches: list[list[int]] = []
    rest: list[int] = []
    for index, first in enumerate(range(0, len(starts), mixed)):
        group = starts[first : first + mixed]
        rows = rest + [row for s in group for row in range(s, min(s + block, count))]
        rows = [rows[i] for i in stream(seed, "mix", epoch, index).permutation(len(rows))]
        whole = len(rows) // batch * batch if first + mixed < len(starts) else len(rows)
        batches += [rows[i : min(i + batch, whole)] for i in range(0, whole, batch)]
        rest = rows[whole:]
    return batches


@given(
    st.integers(1, 25), st.integers(1, 9), st.integers(1, 3), st.integers(0, 3), st.integers(0, 6)
)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_the_order_of_batches_is_as_first_defined(
    dataset: Dataset, batch: int, block: int, mixed: int, epoch: int, first: int
) -> None:
    expected = order_of_batches(20, batch, 5, epoch, block, mixed)
    found = dataset.batches(
        batch, 5, epoch, first_batch=first, block_size=block, blocks_mixed=mixed
    )
    assert [b.parents.tolist() for b in found] == expected[first:]


@given(st.lists(st.integers(0, 19), min_size=1, max_size=30))
def test_any_rows_are_taken_in_their_order(dataset: Dataset, rows: list[int]) -> None:
    taken = dataset.take(np.array(rows))
    np.testing.assert_array_equal(taken.parents, rows)
    np.testing.assert_array_equal(taken.dense_positions()[:, 1, 0], 1.0 + np.array(rows))


@pytest.fixture(scope="module")
def ragged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Structures]:
    """Structures of 1 to 4 atoms, more than a chunk holds, in parts of 1500, 1 and 4000."""
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("ragged")
    counts = rng.integers(1, 5, 5501)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    positions = rng.normal(size=(offsets[-1], 3))
    few = np.zeros(5501, dtype=np.int64)
    whole = Structures(
        rng.integers(1, 9, offsets[-1]).astype(np.uint8), positions, offsets,
        np.zeros((5501, 3, 3)), np.zeros((5501, 3), dtype=bool), few.astype(np.int16),
        (few + 1).astype(np.int16), few.astype(np.uint8), np.arange(5501), few,
        rng.normal(size=5501), -positions,
    )  # fmt: skip
    parts = [
        write_part(root, "sample", f"{i:064d}", structures_to_columns(whole.slice(*rows)), {})
        for i, rows in enumerate([(0, 1500), (1500, 1501), (1501, 5501)])
    ]
    return Dataset(parts), whole


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([1, 5, 70, 900, 5501]), st.integers(0, 99), st.integers(1, 5501))
def test_rows_of_ragged_structures_keep_their_atoms(
    ragged: tuple[Dataset, Structures], count: int, seed: int, span: int
) -> None:
    dataset, whole = ragged
    rows = np.random.default_rng(seed).integers(0, span, count)
    taken, expected = dataset.take(rows), whole.take(rows)
    for field in fields(Structures):
        np.testing.assert_array_equal(getattr(taken, field.name), getattr(expected, field.name))
    for row, index in zip(range(3), rows, strict=False):
        np.testing.assert_array_equal(taken.positions_of(row), whole.positions_of(index))


@given(st.sets(st.integers(0, 20_000), min_size=1, max_size=40))
def test_reads_for_distant_rows_are_short(rows: set[int]) -> None:
    wanted = np.array(sorted(rows))
    runs = list(_runs(wanted))
    np.testing.assert_array_equal(np.concatenate(runs), wanted)
    assert all(run[-1] - run[0] < 4096 for run in runs)
    assert all(np.all(np.diff(run) <= 512) for run in runs)


@pytest.mark.parametrize("rows", [[], [20], [-1], [0, 25]])
def test_rows_that_are_not_there_are_refused(dataset: Dataset, rows: list[int]) -> None:
    with pytest.raises(StoreError, match="dataset of 20"):
        dataset.take(np.array(rows, dtype=np.int64))


def test_what_a_resumed_reader_passes_over_is_not_read(tmp_path: Path) -> None:
    dataset = made(tmp_path, (8, 8, 8))
    whole = [b.parents.tolist() for b in dataset.batches(8, 3, 0, block_size=8, blocks_mixed=1)]
    passed_over = dataset.parts[whole[0][0] // 8]
    passed_over.path.rename(tmp_path / "elsewhere")
    rest = dataset.batches(8, 3, 0, first_batch=1, block_size=8, blocks_mixed=1)
    assert [b.parents.tolist() for b in rest] == whole[1:]
    with pytest.raises(StoreError):
        next(dataset.batches(8, 3, 0, block_size=8, blocks_mixed=1))


def test_one_item_is_made_ahead_and_no_more() -> None:
    made_ahead: list[int] = []

    def noted(item: int) -> int:
        made_ahead.append(item)
        return item

    for item in read_ahead(noted, range(5)):
        assert len(made_ahead) <= item + 2
    assert made_ahead == list(range(5))


def test_a_reader_that_is_left_leaves_no_thread(dataset: Dataset) -> None:
    before = threading.active_count()
    with closing(dataset.batches(2, 0, 0, block_size=2, blocks_mixed=1)) as batches:
        next(batches)
    assert threading.active_count() == before


def test_an_error_ahead_comes_when_its_turn_has_come() -> None:
    def halved(i: int) -> float:
        return 1 / (2 - i)

    coming = read_ahead(halved, range(4))
    assert [next(coming), next(coming)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(coming)


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
