"""Selection, splits and starts as tasks: blocks of time stay whole, no arm has seen a start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps.contract import Request
from apps.potential.registry import make_potential
from apps.potential.weights import save_bytes
from apps.selection.registry import MODEL_STRATEGIES, STRATEGIES, ordered
from apps.selection.task import FRAMES_PER_BLOCK, select, split, starts
from data_store.columns import Column
from data_store.errors import InputError
from data_store.parts import Part, open_part, write_part
from data_store.splits import random_order
from data_store.structure_parts import read_structures, structures_to_columns
from data_store.structures import Structures

SEED = 3


def structures(count: int, **provenance: Any) -> Structures:
    """Diatomics told apart by their length, labelled."""
    x = np.zeros((count, 2, 3))
    x[:, 1, 0] = 1.0 + 1e-3 * np.arange(count)
    return Structures.from_dense(
        [8, 1], x, energies=np.zeros(count), forces=np.zeros_like(x), **provenance
    )


def part_of(root: Path, stage: str, found: Structures) -> Part:
    return write_part(root, stage, stage, structures_to_columns(found), {})


def made(task: Any, root: Path, settings: dict[str, Any], inputs: dict[str, list[Part]]) -> Part:
    paths = {role: [str(part.path) for part in parts] for role, parts in inputs.items()}
    request = Request(
        str(root), str(root), task.__name__, repr(settings), settings, SEED, inputs=paths
    )
    result = task(request.to_json())
    assert task(request.to_json())["digest"] == result["digest"]
    return open_part(Path(result["path"]))


def identity(found: Structures) -> set[float]:
    return {round(float(x), 6) for x in found.dense_positions()[:, 1, 0]}


def blocks_by_side(part: Part, blocks: np.ndarray) -> list[set[int]]:
    return [set(blocks[part.read(side, "")]) for side in ("train", "validation", "test")]


def test_frames_of_one_trajectory_are_split_by_blocks_of_time(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).permutation(6 * FRAMES_PER_BLOCK)
    labels = part_of(tmp_path, "label", structures(len(frames), parents=0, frames=frames))
    found = made(split, tmp_path, {"pool": 60, "test_count": 20}, {"labels": [labels]})
    train, validation, test = blocks_by_side(found, frames // FRAMES_PER_BLOCK)
    assert not train & validation
    assert not (train | validation) & test
    assert found.metadata["groups"] == 6
    shuffled = random_order(len(frames), SEED) // FRAMES_PER_BLOCK
    assert set(shuffled[:40]) & set(shuffled[40:60]), "a split by frame would leak"


def test_several_trajectories_stay_whole(tmp_path: Path) -> None:
    parents = np.repeat(np.arange(12), 5)
    labels = part_of(tmp_path, "label", structures(60, parents=parents))
    found = made(split, tmp_path, {"pool": 40, "test_count": 10}, {"labels": [labels]})
    train, validation, test = blocks_by_side(found, parents)
    assert not train & validation
    assert not (train | validation) & test


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_order_is_the_strategys(tmp_path: Path, strategy: str) -> None:
    pool = structures(30)
    inputs = {"candidates": [part_of(tmp_path, "candidates", pool)]}
    found = made(select, tmp_path, {"select": strategy}, inputs)
    np.testing.assert_array_equal(found.read("order", ""), STRATEGIES[strategy](pool, SEED))
    assert found.metadata == {"select": strategy}


def test_a_strategy_that_is_none_lists_those_that_are() -> None:
    with pytest.raises(InputError, match=r"'energy_stratifed'.*\n.*farthest_point, random"):
        ordered("energy_stratifed", structures(3), SEED)


@pytest.mark.parametrize("strategy", MODEL_STRATEGIES)
def test_models_are_read_from_their_parts(tmp_path: Path, strategy: str) -> None:
    models = [make_potential("painn", "small", [1, 8], 5.0, seed) for seed in (0, 1)]
    kept = [
        write_part(tmp_path, "pretrain", f"{k}", {}, {}, files={"model.safetensors": save_bytes(m)})
        for k, m in enumerate(models)
    ]
    pool = structures(30)
    inputs = {"candidates": [part_of(tmp_path, "candidates", pool)], "models": kept}
    found = made(select, tmp_path, {"select": strategy}, inputs).read("order", "")
    np.testing.assert_array_equal(found, ordered(strategy, pool, SEED, models))


def order_part(root: Path, name: str, order: np.ndarray) -> Part:
    return write_part(root, "select", name, {"order": Column(order)}, {})


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_starts_are_candidates_that_are_never_labelled(tmp_path: Path, strategy: str) -> None:
    pool = structures(30)
    order = STRATEGIES[strategy](pool, SEED)
    inputs = {
        "candidates": [part_of(tmp_path, "candidates", pool)],
        "order": [order_part(tmp_path, "strategy", order)],
    }
    found = read_structures(made(starts, tmp_path, {"count": 10, "labels": 20}, inputs))
    assert identity(found) == identity(pool) - identity(pool.take(order[:20]))
    fewer = read_structures(made(starts, tmp_path, {"count": 4, "labels": 20}, inputs))
    np.testing.assert_array_equal(fewer.positions, found.slice(0, 4).positions)
    with pytest.raises(InputError, match=r"dynamics\.replicas = 11.*there are 10"):
        made(starts, tmp_path, {"count": 11, "labels": 20}, inputs)


def test_starts_know_who_is_labelled_and_nothing_else_of_the_order(tmp_path: Path) -> None:
    candidates = part_of(tmp_path, "candidates", structures(60))
    order = np.arange(60)
    chosen = []
    for name, tail in (("rising", order[20:]), ("falling", order[:19:-1])):
        part = order_part(tmp_path, name, np.concatenate([order[:20], tail]))
        inputs = {"candidates": [candidates], "order": [part]}
        settings = {"count": 15, "labels": 20, "of": name}
        chosen.append(made(starts, tmp_path, settings, inputs).read("chosen", ""))
    np.testing.assert_array_equal(chosen[0], chosen[1])
    # Neither the end nor the beginning of the tail: places spread over it.
    assert chosen[0].min() < 30
    assert chosen[0].max() >= 50


def test_at_random_more_labels_keep_the_starts(tmp_path: Path) -> None:
    inputs = {
        "candidates": [part_of(tmp_path, "candidates", structures(30))],
        "order": [order_part(tmp_path, "random", random_order(30, SEED))],
    }
    few, many = (
        made(starts, tmp_path, {"count": 10, "labels": labels}, inputs).read("chosen", "")
        for labels in (12, 20)
    )
    np.testing.assert_array_equal(few, many)


def test_starts_come_from_the_test_labels_where_there_are_any(tmp_path: Path) -> None:
    test = part_of(tmp_path, "test", structures(12))
    found = read_structures(made(starts, tmp_path, {"count": 12}, {"test": [test]}))
    assert identity(found) == identity(structures(12))
    fewer = read_structures(made(starts, tmp_path, {"count": 5}, {"test": [test]}))
    np.testing.assert_array_equal(fewer.positions, found.slice(0, 5).positions)


def test_starts_come_from_labels_outside_the_largest_pool(tmp_path: Path) -> None:
    pool = structures(40)
    labels = part_of(tmp_path, "label", pool)
    largest = made(split, tmp_path, {"pool": 30, "test_count": 0}, {"labels": [labels]})
    inputs = {"labels": [labels], "split": [largest]}
    found = read_structures(made(starts, tmp_path, {"count": 10}, inputs))
    used = np.concatenate([largest.read(side, "") for side in ("train", "validation")])
    assert identity(found) == identity(pool) - identity(pool.take(used))
    with pytest.raises(InputError, match=r"dynamics\.replicas = 11.*there are 10"):
        made(starts, tmp_path, {"count": 11}, inputs)
