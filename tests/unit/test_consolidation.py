"""Many parts as one: the same structures and digest, few files, little memory."""

from __future__ import annotations

import itertools
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_store import consolidation
from data_store.columns import Column
from data_store.consolidation import consolidate
from data_store.datasets import Dataset
from data_store.errors import StoreError
from data_store.parts import verify_part, write_part
from data_store.structure_parts import read_structures, structures_to_columns
from data_store.structures import Structures


def ragged(count: int, seed: int = 0, *, labelled: bool = True) -> Structures:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(1, 9, count))])
    positions, zeros = rng.normal(size=(offsets[-1], 3)).astype(np.float32), np.zeros(count)
    return Structures(
        rng.integers(1, 9, offsets[-1]).astype(np.uint8), positions, offsets,
        np.zeros((count, 3, 3)), np.zeros((count, 3), dtype=bool), zeros.astype(np.int16),
        (zeros + 1).astype(np.int16), zeros.astype(np.uint8), np.arange(count),
        zeros.astype(np.int64), rng.normal(size=count) if labelled else None,
        -positions if labelled else None,
    )  # fmt: skip


def parts_of(root: Path, whole: Structures, bounds: list[int]) -> Dataset:
    return Dataset(
        [
            write_part(root, "piece", f"{i:064d}", structures_to_columns(whole.slice(*rows)), {})
            for i, rows in enumerate(itertools.pairwise([0, *bounds, len(whole)]))
        ]
    )


@settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    cuts=st.lists(st.integers(1, 20_999), max_size=5, unique=True), labelled=st.booleans(),
    in_file=st.sampled_from([1, 700, 5_000, 21_000, 50_000]),
    read_bytes=st.sampled_from([8_000, 1 << 20]),
)  # fmt: skip
def test_one_part_of_many_is_the_part_of_all(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    cuts: list[int],
    labelled: bool,
    in_file: int,
    read_bytes: int,
) -> None:
    monkeypatch.setattr(consolidation, "STRUCTURES_IN_FILE", in_file)
    monkeypatch.setattr(consolidation, "_READ_BYTES", read_bytes)
    root, whole = tmp_path_factory.mktemp("parts"), ragged(21_000, labelled=labelled)
    one = consolidate(parts_of(root, whole, sorted(cuts)), root, "one", "1" * 64, {"kind": "x"})
    plain = write_part(root, "plain", "1" * 64, structures_to_columns(whole), {"kind": "x"})
    assert one.digest == plain.digest
    assert not verify_part(one)
    found = read_structures(one)
    for field in fields(Structures):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(whole, field.name))
    group = zarr.open_group(str(one.path / "data.zarr"), mode="r")
    np.testing.assert_array_equal(np.asarray(group["positions"]), whole.positions)
    for name in ("positions", "energies", "parents"):
        files = list((one.path / "data.zarr" / name).glob("c.*"))
        assert len(files) <= -(-21_000 // in_file), "one file for each array and so many"


def test_parts_of_two_kinds_make_no_part(tmp_path: Path) -> None:
    parts = parts_of(tmp_path / "a", ragged(9), []).parts
    others = parts_of(tmp_path / "b", ragged(9, labelled=False), []).parts
    with pytest.raises(StoreError, match="columns"):
        consolidate(Dataset([*parts, *others]), tmp_path, "one", "1" * 64, {})
    assert not (tmp_path / "one").exists()


def test_what_is_not_of_structures_is_not_dropped(tmp_path: Path) -> None:
    columns = structures_to_columns(ragged(3)) | {"teacher_energies": Column(np.zeros(3), "eV")}
    part = write_part(tmp_path, "piece", "1" * 64, columns, {})
    with pytest.raises(StoreError, match="teacher_energies"):
        consolidate(Dataset([part]), tmp_path, "one", "1" * 64, {})
