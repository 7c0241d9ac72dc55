"""`Size` of a part before there is one: from the shapes and types of the arrays that it will hold.

Numbers of a simulation are as good as random and hardly compress; columns that repeat one value
(atomic numbers, charges, cells) compress to nothing. Each column has a file of metadata and, up to
a gigabyte, one of values; each part a manifest that lists them. Checkpoints stay where they
were written. Of what has no fixed shape the usual is taken: half of the replicas fail, a molecule
has as many bonds as atoms, and a frame of extended xyz is twice as long as its numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from campaign.plan.items import PlannedPart
from data_store.arrays import SHARD_BYTES

__all__ = ["Size", "label_item_size", "part_size"]

_COLUMN_BYTES, _FILE_BYTES, _MANIFEST_BYTES = 470, 160, 1_600
_STRUCTURE_COLUMNS, _RUN_COLUMNS = 12, 13
_METRICS_ROW_BYTES = 330
_SINGLE, _DOUBLE = 4, 8
_ROUNDS = 5


@dataclass(frozen=True)
class Size:
    """Files, and bytes in them."""

    files: int
    bytes: int

    def __add__(self, other: Size) -> Size:
        """Both together."""
        return Size(self.files + other.files, self.bytes + other.bytes)

    def times(self, count: int) -> Size:
        """So many of them."""
        return Size(self.files * count, self.bytes * count)


def part_size(part: PlannedPart, atoms: int, parameters: int) -> Size:
    """A part and what its making leaves; single labels are apart.

    Parameters
    ----------
    part : PlannedPart
    atoms : int
        Of the molecule.
    parameters : int
        Of the potential.
    """
    return _SIZES[part.stage](part, atoms, parameters)


def label_item_size(atoms: int) -> Size:
    """A label that waits to be merged."""
    return Size(1, 840 + 3 * _DOUBLE * atoms)


def _arrays(columns: int, values_bytes: float, more_files: int = 0, more_bytes: float = 0) -> Size:
    shards = math.ceil(values_bytes / SHARD_BYTES)
    files = 2 * columns + max(0, shards - 1) + more_files + 2
    overhead = columns * _COLUMN_BYTES + files * _FILE_BYTES + _MANIFEST_BYTES
    return Size(files, round(overhead + values_bytes + more_bytes))


def _structures(count: float, atoms: int, width: int) -> Size:
    """Positions and forces, energies, and where each is from."""
    return _arrays(_STRUCTURE_COLUMNS, count * (6 * width * atoms + 12))


def _brought(part: PlannedPart) -> Size:
    return _arrays(_STRUCTURE_COLUMNS, 0.5 * part.files["labels"].stat().st_size)


def _sample(part: PlannedPart, atoms: int, _: int) -> Size:
    return _structures(part.settings["chunk_structures"], atoms, _SINGLE)


def _counted(part: PlannedPart, atoms: int, _: int) -> Size:
    return _structures(part.settings["count"], atoms, _DOUBLE)


def _labels(part: PlannedPart, atoms: int, parameters: int) -> Size:
    return _brought(part) if part.files else _counted(part, atoms, parameters)


def _probe_structures(part: PlannedPart, atoms: int, _: int) -> Size:
    """In a scan half of the molecule stays where it was, and what repeats compresses to nothing."""
    settings = part.settings
    scans = settings["frames"] * atoms * len(settings["changes_A"])
    count = 0.5 * scans + 0.3 * settings["held_out"]
    return _arrays(_STRUCTURE_COLUMNS, count * 3 * _DOUBLE * atoms + scans * _DOUBLE)


def _validations(settings: Mapping[str, Any], steps: float) -> int:
    return math.ceil(steps / int(settings["validate_every"]))


def _pretrain(part: PlannedPart, _: int, parameters: int) -> Size:
    """The weights and a log; the last checkpoint (five vectors of weights), and files of ranks."""
    settings = part.settings["pretraining"]
    log = _METRICS_ROW_BYTES * _validations(settings, settings["steps"])
    ranks = settings["ranks"] + 3 if settings["ranks"] > 1 else 0
    work = Size(1 + ranks, 5 * _SINGLE * parameters + log + 700 * ranks)
    return _arrays(0, 0, 2, _SINGLE * parameters + log) + work


def _finetune(part: PlannedPart, atoms: int, parameters: int) -> Size:
    """Weights, a log, pairs of the test set; for each learning rate a checkpoint and a model."""
    settings = part.settings["finetuning"]
    rates, steps = len(settings["learning_rates"]), settings["steps"]
    log = _METRICS_ROW_BYTES * _validations(settings, steps + part.settings["pretraining_steps"])
    tests = 100 if "test" in part.inputs else 10
    pairs = 2 * _SINGLE * min(3 * atoms * tests, 20_000) + 2 * _DOUBLE * tests
    work = Size(2 * rates, rates * (6 * _SINGLE * parameters + 2 * log))
    return _arrays(4, pairs, 2, _SINGLE * parameters + rates * log) + work


def _runs(part: PlannedPart, atoms: int, _: int) -> Size:
    """Saved frames, and those before failures; the checkpoint holds these in double precision."""
    settings, replicas = part.settings["dynamics"], part.settings["replicas_in_block"]
    frames = replicas * (settings["length_ps"] / settings["save_stride_ps"] + 1)
    kept = replicas * settings["keep_frames"]
    saved_bytes = frames * (3 * _SINGLE * atoms + 20)
    values = saved_bytes + 0.5 * kept * 3 * _SINGLE * atoms + 60 * replicas
    ring = (kept + 3 * replicas) * 3 * _DOUBLE * atoms
    return _arrays(_RUN_COLUMNS, values) + Size(1, round(ring + saved_bytes + 2_000))


def _order(part: PlannedPart, _: int, __: int) -> Size:
    return _arrays(1, 0)


def _split(part: PlannedPart, _: int, __: int) -> Size:
    return _arrays(3, _DOUBLE * part.settings["pool"])


def _picks(part: PlannedPart, atoms: int, _: int) -> Size:
    """Frames without labels, and why they were picked."""
    return _structures(0.5 * part.settings["count"], atoms, _SINGLE)


def _standing(part: PlannedPart, atoms: int, _: int) -> Size:
    """Labels so far: those of the round and, of the usual rounds, as many times those before."""
    return _structures(_ROUNDS * float(part.settings.get("count", 10)), atoms, _DOUBLE)


def _probe(part: PlannedPart, atoms: int, _: int) -> Size:
    return Size(2, 4_000)


def _prepare(part: PlannedPart, atoms: int, _: int) -> Size:
    return _arrays(1, 100 * atoms)


_SIZES: dict[str, Callable[[PlannedPart, int, int], Size]] = {
    "prepare": _prepare,
    "sample": _sample,
    "candidates": _counted,
    "select": _order,
    "pretrain": _pretrain,
    "label": _labels,
    "test": _labels,
    "split": _split,
    "starts": _counted,
    "probe_structures": _probe_structures,
    "explore_starts": _counted,
    "committee": _finetune,
    "explore": _runs,
    "pick": _picks,
    "acquire": _standing,
    "finetune": _finetune,
    "probe": _probe,
    "simulate": _runs,
    "control": _runs,
}
"""By stage; a test holds it against `STAGES`."""
