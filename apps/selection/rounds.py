"""What a worker runs for active learning: where it begins, where it explores from, what it picks.

Exploration starts from the initial labels' structures, which no examination starts from. What is
picked is a part with its reasons; what the expert makes of it is not this file's business, but for
published labels, which have no expert to ask: there the nearest structure of those that are
withheld from the chain stands for the one that was picked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from apps.contract import Request, Result
from apps.rounds import Standing
from apps.selection.candidates import Explored, candidates_of, explored_of
from apps.selection.descriptors import inverse_distances
from apps.selection.picks import PickRules, pick, rms_distances
from apps.selection.stopping import is_reached, upper_rate_per_ns
from data_store.columns import Column
from data_store.molecules import Molecule
from data_store.parts import Part, write_part
from data_store.splits import random_order
from data_store.streams import stream_seed
from data_store.structure_parts import read_structures, structures_to_columns
from data_store.structures import TIER_CODES, Structures

__all__ = ["begin", "exploring_starts", "pick_frames", "take_withheld"]


def begin(request: dict[str, Any]) -> dict[str, Any]:
    """Give what every chain begins with: a pool of the campaign's labels, and its test labels."""
    req = Request.from_json(request)
    part = req.finished_part()
    if part is None:
        (labels,), (split,) = req.input_parts("labels"), req.input_parts("split")
        sides = [split.read(name, "") for name in ("train", "validation", "test")]
        rows = np.concatenate(sides).astype(np.int64)
        places, calls = np.arange(len(rows), dtype=np.int64), len(sides[0]) + len(sides[1])
        standing = Standing(
            structures=read_structures(labels).take(rows),
            train=places[: len(sides[0])],
            validation=places[len(sides[0]) : calls],
            test=places[calls:],
            rows=rows,
            calls=calls,
            new=calls,
            over="",
        )
        part = standing.write(req, {"asked": calls, "left_out": []})
    return Result.done(part, {"labels": float(part.metadata["calls"])}).to_json()


def exploring_starts(request: dict[str, Any]) -> dict[str, Any]:
    """Structures that exploration starts from: the initial labels', in a drawn order, repeated."""
    req = Request.from_json(request)
    part = req.finished_part()
    if part is None:
        (initial,) = req.input_parts("so_far")
        standing, count = Standing.of(initial), int(req.settings["count"])
        own = np.concatenate([standing.train, standing.validation])
        order = own[random_order(len(own), stream_seed(req.seed, "active_learning", "starts"))]
        chosen = np.resize(order, count)
        structures = standing.structures.take(chosen)
        columns = structures_to_columns(structures) | {"chosen": Column(chosen)}
        part = write_part(Path(req.parts_root), req.stage, req.fingerprint, columns, {})
    return Result.done(part, {"starts": float(part.shape("chosen")[0])}).to_json()


def pick_frames(request: dict[str, Any]) -> dict[str, Any]:
    """Pick what is to be labelled after a round, or find that the chain is over.

    Writes a part with the frames, in order of how much they are wanted, their disagreement, and
    whether they are at a failure; and what exploration came to.
    """
    req = Request.from_json(request)
    part = req.finished_part()
    if part is None:
        (so_far,) = req.input_parts("so_far")
        standing = Standing.of(so_far)
        part = _over(req, standing.over, []) if standing.over else _picked(req, standing)
    return Result.done(part, {"picked": float(part.shape("order")[0])}).to_json()


def _picked(req: Request, standing: Standing) -> Part:
    explored = explored_of(req.input_parts("runs"))
    stop = req.settings["stop_rate_per_ns"]
    if is_reached([(e.failures, e.exposure_ps) for e in explored], stop):
        why = f"exploration shows fewer than {stop:g} failures per ns at each temperature"
        return _over(req, why, explored)
    molecule = _molecule(req)
    least, most = req.settings["disagreement_eV_per_A"]
    rules = PickRules(int(req.settings["count"]), least, most, req.settings["distinct_per_A"])
    found = candidates_of(req, molecule, explored, most)
    known = inverse_distances(standing.structures)
    frames = Structures.from_dense(molecule.numbers, found.positions.astype(np.float64))
    descriptors = inverse_distances(frames) if len(frames) else known[:0]
    rows, alike = pick(descriptors, found.disagreement, found.at_failure, known, rules)
    told = found.told | {
        "picked": len(rows),
        "picked_at_failure": int(found.at_failure[rows].sum()),
        "alike": alike,
    }
    chosen = Structures.from_dense(
        molecule.numbers, found.positions[rows], charge=molecule.charge,
        multiplicity=molecule.multiplicity, tiers=TIER_CODES["dynamics"],
        parents=found.replicas[rows], frames=np.arange(len(rows)),
    )  # fmt: skip
    extra = {
        "disagreement": Column(found.disagreement[rows], "eV/Å"),
        "at_failure": Column(found.at_failure[rows]),
    }
    return _write_picks(req, chosen, extra, {"over": "", "frames": told}, explored)


def _over(req: Request, why: str, explored: list[Explored]) -> Part:
    """No picks, of a chain that is over."""
    molecule = _molecule(req)
    none = Structures.from_dense(molecule.numbers, np.zeros((0, len(molecule.numbers), 3)))
    extra = {
        "disagreement": Column(np.zeros(0), "eV/Å"),
        "at_failure": Column(np.zeros(0, dtype=bool)),
    }
    return _write_picks(req, none, extra, {"over": why, "frames": {}}, explored)


def _write_picks(
    req: Request,
    frames: Structures,
    extra: dict[str, Column],
    told: dict[str, Any],
    explored: list[Explored],
) -> Part:
    rows = [
        {
            "temperature_K": e.temperature_K,
            "replicas": e.replicas,
            "failures": e.failures,
            "exposure_ps": e.exposure_ps,
            "upper_rate_per_ns": upper_rate_per_ns(e.failures, e.exposure_ps)
            if e.exposure_ps > 0.0
            else None,
        }
        for e in explored
    ]
    order = Column(np.arange(len(frames), dtype=np.int64))
    columns = structures_to_columns(frames) | extra | {"order": order}
    metadata = {**req.key, **told, "explored": rows}
    return write_part(Path(req.parts_root), req.stage, req.fingerprint, columns, metadata)


def _molecule(req: Request) -> Molecule:
    (prepared,) = req.input_parts("molecule")
    return Molecule.from_json(prepared.metadata["molecule"])


def take_withheld(request: dict[str, Any]) -> dict[str, Any]:
    """Label picks from published labels: each takes the nearest of those withheld from the chain.

    In the order of the picks, each label once; the distance is kept. Withheld are all labels but
    those that the chain has, the test's, and those that examination starts from. Published labels
    are of thermal structures: the nearest to a broken molecule is not broken.
    """
    req = Request.from_json(request)
    part = req.finished_part()
    if part is None:
        (picks,), (so_far,) = req.input_parts("candidates"), req.input_parts("so_far")
        standing, over = Standing.of(so_far), str(picks.metadata["over"])
        if over:
            part = standing.ended(over).write(req, {"asked": 0, "left_out": []})
        else:
            part = _withheld(req, standing, picks)
    told = {"labels": part.metadata["new"], "left_out": len(part.metadata["left_out"])}
    return Result.done(part, {name: float(count) for name, count in told.items()}).to_json()


def _withheld(req: Request, standing: Standing, picks: Part) -> Part:
    (published,) = req.input_parts("labels")
    labels, frames = read_structures(published), read_structures(picks)
    free = np.ones(len(labels), dtype=bool)
    free[standing.rows] = False
    for starts in req.input_parts("starts"):
        free[starts.read("chosen", "")] = False
    taken: list[int] = []
    distances: list[float] = []
    if len(frames) and free.any():
        wanted, offered = inverse_distances(frames), inverse_distances(labels)
        for one in wanted[: int(free.sum())]:
            apart = np.where(free, rms_distances(one, offered), np.inf)
            taken.append(int(apart.argmin()))
            distances.append(float(apart[taken[-1]]))
            free[taken[-1]] = False
    rows = np.array(taken, dtype=np.int64)
    grown = standing.grown(labels.take(rows), rows, len(rows), req.seed, int(req.key["round"]))
    lacking = [{"index": i, "reason": "none_withheld"} for i in range(len(rows), len(frames))]
    told = {"asked": len(rows), "left_out": lacking, "nearest_per_A": distances}
    return grown.write(req, told)
