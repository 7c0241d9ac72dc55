"""What a worker runs for selection: the order of labels, what a pool holds, where dynamics starts.

Cheap, and still tasks of their own, so that each is a part with a fingerprint: labels and starts
read the same order, every arm the same split and the same starts. Starts are structures that no arm
was trained or validated on.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from apps.contract import Request, Result
from apps.selection.registry import ordered
from data_store.columns import Column
from data_store.errors import InputError
from data_store.parts import Part, write_part
from data_store.splits import nested_split, random_order, time_blocks
from data_store.structure_parts import read_structures, structures_to_columns
from data_store.structures import Structures

if TYPE_CHECKING:
    from apps.potential.protocol import Potential

__all__ = [
    "apart_and_alike",
    "label_groups",
    "most_alike",
    "select",
    "split",
    "starts",
    "starts_alike",
]

FRAMES_PER_BLOCK = 20
"""Frames of a time block where all labels come from one trajectory: within it they resemble each
other (frames of aspirin at 500 K some 40 apart differ by a third of what unrelated ones do)."""


def select(request: dict[str, Any]) -> dict[str, Any]:
    """Order the candidates by the strategy ``select``; the first k are labelled, whatever k is.

    Writes a part with column ``order``: indices into the candidates, each once.

    Raises
    ------
    InputError
        If there is no such strategy, or it cannot order these candidates.
    """
    req = Request.from_json(request)
    part = req.finished_part()
    if part is None:
        (candidates,) = req.input_parts("candidates")
        strategy = req.settings["select"]
        order = ordered(strategy, read_structures(candidates), req.seed, _models(req))
        part = write_part(
            Path(req.parts_root),
            req.stage,
            req.fingerprint,
            {"order": Column(order)},
            {"select": strategy},
        )
    return Result.done(part, {"ordered": float(part.shape("order")[0])}).to_json()


def _models(req: Request) -> list[Potential]:
    """Pre-trained models, where the strategy asks any."""
    parts = req.input_parts("models")
    if not parts:
        return []
    import torch

    from apps.potential.weights import load_potential

    torch.set_num_threads(req.threads)
    return [load_potential(part.file("model.safetensors")) for part in parts]


def split(request: dict[str, Any]) -> dict[str, Any]:
    """Split labels for one pool size.

    Writes a part with columns ``train``, ``validation`` and ``test``: indices into the labels.

    Raises
    ------
    InputError
        If there are too few labels or trajectories.
    """
    req = Request.from_json(request)
    part = req.finished_part()
    if part is None:
        (labels,) = req.input_parts("labels")
        groups = label_groups(read_structures(labels))
        found = nested_split(
            groups, req.settings["pool"], req.settings["test_count"], req.seed,
            req.settings.get("validation"),
        )  # fmt: skip
        columns = {
            "train": Column(found.train),
            "validation": Column(found.validation),
            "test": Column(found.test),
        }
        part = write_part(
            Path(req.parts_root),
            req.stage,
            req.fingerprint,
            columns,
            {"pool": req.settings["pool"], "groups": len(np.unique(groups))},
        )
    counts = {name: float(part.shape(name)[0]) for name in ("train", "validation", "test")}
    return Result.done(part, counts).to_json()


def label_groups(labels: Structures) -> NDArray[np.int64]:
    """Group of each label, (S,): its trajectory, or block of time where there is one only."""
    if len(np.unique(labels.parents)) > 1:
        return labels.parents
    return time_blocks(labels.parents, labels.frames, FRAMES_PER_BLOCK)


def starts(request: dict[str, Any]) -> dict[str, Any]:
    """Choose held-out starting structures of the dynamics, the same for all arms.

    They come, by which input there is, from the test labels, from candidates that are not among
    the first ``labels`` of the order, or from labels outside the largest pool. Which of these is
    drawn: the end of a strategy's order would be a biased sample. What is left unlabelled depends
    on the strategy still, so campaigns that differ in ``labels.select`` differ in their starts.

    Raises
    ------
    InputError
        If there are fewer held-out structures than replicas.
    """
    req = Request.from_json(request)
    part = req.finished_part()
    if part is None:
        pool, held_out = _held_out(req)
        part = _chosen(req, pool, held_out, {"held_out": len(held_out)})
    return Result.done(part, {"starts": float(part.shape("chosen")[0])}).to_json()


def starts_alike(request: dict[str, Any]) -> dict[str, Any]:
    """Choose starts of a liquid or a mixture among labels: of one kind, the most frequent held out.

    Replicas of one campaign are one system: the same atoms in one order, in the same box or in
    none. Held-out structures of other kinds, and those of trajectories or blocks of time of which
    some are trained or validated on, are left out and counted.

    Raises
    ------
    InputError
        If there are fewer held-out structures of one kind than replicas.
    """
    req = Request.from_json(request)
    part = req.finished_part()
    if part is None:
        pool, held_out = _held_out(req)
        alike, counts = apart_and_alike(pool, held_out)
        part = _chosen(req, pool, alike, {"held_out": len(alike), **counts})
    counted = {name: float(part.metadata[name]) for name in ("of_other_kinds", "beside_seen")}
    counted["starts"] = float(part.shape("chosen")[0])
    return Result.done(part, counted).to_json()


def apart_and_alike(
    pool: Structures, held_out: NDArray[np.int64]
) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Held-out rows that a liquid or a mixture may start from, and how many others there are.

    Parameters
    ----------
    pool : Structures
    held_out : ndarray of int64
        Rows that are neither trained nor validated on.
    """
    groups = label_groups(pool)
    seen = np.setdiff1d(np.arange(len(pool)), held_out)
    apart = held_out[~np.isin(groups[held_out], groups[seen])]
    alike = apart[most_alike(pool.take(apart))]
    beside = len(held_out) - len(apart)
    return alike, {"of_other_kinds": len(apart) - len(alike), "beside_seen": beside}


def most_alike(structures: Structures) -> NDArray[np.int64]:
    """Rows of the most frequent kind: the same atoms in one order, cell and periodic directions.

    Of kinds that are equally frequent, that of the first structure.
    """
    kinds: dict[bytes, list[int]] = {}
    for index in range(len(structures)):
        where = structures.cells[index].tobytes() + structures.pbc[index].tobytes()
        kinds.setdefault(structures.numbers_of(index).tobytes() + where, []).append(index)
    return np.array(max(kinds.values(), key=len, default=[]), dtype=np.int64)


def _chosen(
    req: Request, pool: Structures, held_out: NDArray[np.int64], counts: dict[str, int]
) -> Part:
    """The first of held-out structures, as many as there are replicas."""
    count = req.settings["count"]
    if count > len(held_out):
        raise InputError(
            f"dynamics.replicas = {count}: replicas start from distinct held-out structures, "
            f"and there are {len(held_out)}",
            "lower dynamics.replicas, or bring more structures (labels.test_file, "
            "labels.candidates)",
        )
    chosen = held_out[:count]
    columns = structures_to_columns(pool.take(chosen)) | {"chosen": Column(chosen)}
    return write_part(Path(req.parts_root), req.stage, req.fingerprint, columns, counts)


def _held_out(req: Request) -> tuple[Structures, NDArray[np.int64]]:
    """Structures, and a seeded order of those among them that no arm has seen."""
    for part in req.input_parts("test"):
        pool = read_structures(part)
        return pool, random_order(len(pool), req.seed)
    for part in req.input_parts("candidates"):
        pool = read_structures(part)
        return pool, _never_labelled(req, len(pool))
    (labels,), (largest,) = req.input_parts("labels"), req.input_parts("split")
    pool = read_structures(labels)
    used = np.concatenate([largest.read(name, "") for name in ("train", "validation")])
    unseen = np.setdiff1d(np.arange(len(pool)), used)
    return pool, unseen[random_order(len(unseen), req.seed)]


def _never_labelled(req: Request, count: int) -> NDArray[np.int64]:
    """Candidates that are not labelled, in a seeded order that asks for nothing else.

    From the end, so that a random selection, whose order is the same, can grow its labels and keep
    its starts until the two meet.
    """
    (selection,) = req.input_parts("order")
    drawn = random_order(count, req.seed)[::-1]
    return drawn[~np.isin(drawn, selection.read("order", "")[: req.settings["labels"]])]
