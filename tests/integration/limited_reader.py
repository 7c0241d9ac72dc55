"""Reads a data set in a process whose memory is limited: ``limited_reader FOLDER MB HOW``."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from data_store.consolidation import consolidate
from data_store.datasets import Dataset
from data_store.parts import open_part
from data_store.structures import Structures


def memory_kB(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def consolidated(dataset: Dataset, root: Path) -> Dataset:
    return Dataset([consolidate(dataset, root, "one", "1" * 64, {})])


def main(folder: Path, limit_MB: int, how: str) -> None:
    parts = [open_part(path) for path in sorted(folder.iterdir())]
    for part in parts[:2]:  # all that is loaded once is loaded
        list(Dataset([part]).batches(32, 0, 0))
    limit = memory_kB("VmData") * 1024 + limit_MB * 1_000_000
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    began, dataset = time.monotonic(), Dataset(parts)
    ways: dict[str, Callable[[], Iterator[Structures]]] = {
        "batches": lambda: dataset.batches(32, 1, 0),
        "blocks": lambda: dataset.blocks(4096),
        "consolidated": lambda: consolidated(dataset, folder.parent).blocks(4096),
        "cached": lambda: iter([dataset.cached()]),
    }
    seen, total, first_s = 0, 0, 0.0
    for batch in ways[how]():
        first_s = first_s or time.monotonic() - began
        seen += len(batch)
        total += int(np.sum(batch.parents))
    print(json.dumps({"structures": seen, "sum_of_parents": total, "first_s": first_s}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
