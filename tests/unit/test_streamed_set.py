"""A set that stays on disk gives the batches of one in memory, bit by bit, in little memory."""

from __future__ import annotations

import gc
import itertools
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from apps.contract import Request, Result
from apps.potential.registry import make_potential
from apps.training.distributed import World
from apps.training.labelled_set import LabelledSet
from apps.training.mpi import run_ranks
from apps.training.pretraining import run_pretraining
from apps.training.refit import force_rms, force_rms_of_blocks, refit, refit_in_blocks
from apps.training.streamed_set import StreamedSet, bytes_of_structure
from data_store.datasets import Dataset
from data_store.errors import InputError, StoreError
from data_store.parts import Part, open_part, write_part
from data_store.structure_parts import structures_to_columns
from data_store.structures import Structures, concatenate
from tests.laws.training_toys import toy_structures

CPU = torch.device("cpu")
ALONE = World(0, 1, CPU)


def mixture(count: int) -> Structures:
    """Water and, of every fifth, an O-H apart from it, so that padding matters."""
    water = toy_structures(count)
    pairs = Structures.from_dense(
        np.array([8, 1]), water.dense_positions()[: count // 5, :2],
        energies=water.labelled_energies()[: count // 5] + 30.0,
        forces=water.dense_forces()[: count // 5, :2],
    )  # fmt: skip
    mixed = concatenate([water, pairs])
    return mixed.take(np.random.default_rng(0).permutation(len(mixed)))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root, whole = tmp_path_factory.mktemp("parts"), mixture(150)
    bounds = [0, 1, 60, 130, len(whole)]
    return Dataset(
        [
            write_part(root, "sample", f"{i:064d}", structures_to_columns(whole.slice(*rows)), {})
            for i, rows in enumerate(itertools.pairwise(bounds))
        ]
    )


def tensors(labelled: LabelledSet) -> list[Tensor]:
    return [labelled.numbers, labelled.positions, labelled.forces, labelled.energies]


def same(a: LabelledSet, b: LabelledSet) -> bool:
    return all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))


def both(
    dataset: Dataset, structures_in_memory: int, steps: int, count: int = 150
) -> tuple[LabelledSet, StreamedSet]:
    rows = np.random.default_rng(1).permutation(len(dataset))[:count]
    in_memory = LabelledSet.of(dataset.cached(), CPU).take(rows)
    memory_bytes = structures_in_memory * bytes_of_structure(3)
    return in_memory, StreamedSet(dataset, rows, steps, memory_bytes, CPU)


@settings(deadline=None, max_examples=30)
@given(
    st.integers(1, 40), st.integers(1, 400), st.integers(1, 25), st.integers(0, 24),
    st.integers(0, 3),
)  # fmt: skip
def test_every_step_has_the_batch_that_it_has_in_memory(
    dataset: Dataset, batch_size: int, in_memory: int, steps: int, first: int, seed: int
) -> None:
    whole, streamed = both(dataset, in_memory, steps)
    assert len(streamed) == len(whole)
    assert streamed.padded_atoms == whole.padded_atoms == 3
    with streamed:
        for step in range(min(first, steps - 1), steps):
            expected = whole.of_step(step, batch_size, seed)
            assert same(streamed.of_step(step, batch_size, seed), expected)


def test_steps_may_be_asked_for_in_any_order(dataset: Dataset) -> None:
    whole, streamed = both(dataset, 60, 40)
    with streamed:
        for step in (3, 3, 0, 39, 17, 18, 5):
            assert same(streamed.of_step(step, 9, 0), whole.of_step(step, 9, 0))


def test_a_closed_set_leaves_no_thread_and_reads_no_more(dataset: Dataset) -> None:
    before = threading.active_count()
    _, streamed = both(dataset, 20, 1000)
    with streamed:
        streamed.of_step(0, 5, 0)
    gc.collect()
    assert threading.active_count() == before
    with pytest.raises(StoreError, match="closed"):
        streamed.take(np.arange(3))


def test_blocks_hold_everything_once(dataset: Dataset) -> None:
    whole, streamed = both(dataset, 20, 10)
    energies = torch.cat([block.energies for block in streamed.blocks()])
    assert torch.equal(energies.sort().values, whole.energies.sort().values)


@pytest.mark.parametrize("scale_to", [None, 2.0])
def test_the_fit_of_blocks_is_the_fit_of_all(dataset: Dataset, scale_to: float | None) -> None:
    whole, _ = both(dataset, 20, 10)
    blocks = [whole.take(np.arange(first, min(first + 40, 150))) for first in range(0, 150, 40)]
    assert force_rms_of_blocks(blocks) == pytest.approx(force_rms(whole), rel=1e-5)
    fits = []
    for fit in (
        lambda p: refit(p, whole, scale_to),
        lambda p: refit_in_blocks(p, lambda: blocks, scale_to),
        lambda p: refit_in_blocks(p, lambda: blocks[:2], scale_to),
    ):
        potential = make_potential("painn", "small", [1, 8], 4.0, seed=1)
        fits.append((fit(potential), potential.shift_eV.clone()))
    (expected, shift), (found, shift_of_blocks), (other, _) = fits
    assert found.scale_after == pytest.approx(expected.scale_after, rel=1e-5)
    assert found.shift_eV == pytest.approx(expected.shift_eV, rel=1e-6)
    torch.testing.assert_close(shift_of_blocks, shift, rtol=1e-6, atol=1e-6)
    assert other.shift_eV != pytest.approx(expected.shift_eV, rel=1e-6), "the twin leaves some out"


def request(root: Path, dataset: Dataset, name: str, **changes: Any) -> Request:
    pretraining = {
        "steps": 12, "batch_size": 10, "held_out": 30, "warmup_steps": 2, "ranks": 1, **changes,
    }  # fmt: skip
    return Request(
        str(root), str(root / "work" / name), "pretrain", name * 64,
        {"potential": {"cutoff_A": 4.0}, "pretraining": pretraining},
        5, {}, {"teacher": [str(part.path) for part in dataset.parts]},
    )  # fmt: skip


def pretrained(root: Path, dataset: Dataset, name: str, **changes: Any) -> Result:
    result = run_pretraining(request(root, dataset, name, **changes), ALONE, lambda: False)
    assert result is not None
    return result


def part_of(result: Result) -> Part:
    assert result.path is not None
    return open_part(Path(result.path))


def test_pretraining_on_what_memory_cannot_hold_is_the_same_training(
    tmp_path: Path, dataset: Dataset
) -> None:
    """Up to rounding of where it starts from; the batches of another seed are the twin."""
    results = [
        pretrained(tmp_path, dataset, "a"),
        pretrained(tmp_path, dataset, "b", data_memory_MB=0.004),
        pretrained(tmp_path, dataset, "c", steps=11),
    ]
    assert [result.counts["streamed"] for result in results] == [0.0, 1.0, 0.0]
    errors = [part_of(r).metadata["held_out"]["force_mae_eV_per_A"] for r in results]
    assert errors[1] == pytest.approx(errors[0], rel=1e-4)
    assert errors[2] != pytest.approx(errors[0], rel=1e-4)


@pytest.mark.parametrize("stop_after", [1, 5])
def test_stopping_leaves_no_trace(tmp_path: Path, dataset: Dataset, stop_after: int) -> None:
    whole = part_of(pretrained(tmp_path, dataset, "a", data_memory_MB=0.004))
    req, asked = request(tmp_path, dataset, "b", data_memory_MB=0.004), itertools.count(1)
    first = run_pretraining(req, ALONE, lambda: next(asked) == stop_after)
    assert first is not None
    assert first.outcome == "continue"
    last = run_pretraining(req, ALONE, lambda: False)
    assert last is not None
    assert part_of(last).digest == whole.digest


def test_two_ranks_read_the_same_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: Dataset
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    alone = part_of(pretrained(tmp_path, dataset, "a"))
    req = request(tmp_path, dataset, "b", data_memory_MB=0.004, ranks=2)
    result = run_ranks(req, "apps.training.rank", 2)
    assert result.counts["streamed"] == 1.0
    found, expected = (part_of(result).metadata["held_out"], alone.metadata["held_out"])
    assert found["force_mae_eV_per_A"] == pytest.approx(expected["force_mae_eV_per_A"], rel=1e-4)


def test_scrambled_labels_want_everything_in_memory(tmp_path: Path, dataset: Dataset) -> None:
    with pytest.raises(InputError, match="scrambled labels"):
        pretrained(tmp_path, dataset, "d", data_memory_MB=0.004, scramble_labels=True)
