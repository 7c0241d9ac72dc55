"""The store beside its peers on the same aspirins in one run: writes, training batches, sizes.

Usage, from the root of the repository, on two cores and a disk that nobody else uses::

    OMP_NUM_THREADS=1 python -m benchmarks.store FOLDER [STRUCTURES] [ROUNDS]

FOLDER is made and taken away again. Peers are zarr-python, h5py, LMDB, and ASE's own formats
(extended xyz and its SQLite database); one that is not installed is named and left out. A round
times all of them, in an order that turns from round to round; ratios are taken round by round.

- *Write*: from arrays in memory to a file. A part is hashed twice (its content, its files) and
  synced before it counts; the peers do neither, so `arrays alone`, which is what they do, is here.
- *Batches*: shuffled batches of 32 (positions, forces, energies), an epoch of them. The store gives
  whole `Structures`. zarr-python and h5py, for which a random structure is far dearer than one in a
  block, read the same blocks and mix them in memory as the store does; LMDB reads structures at
  random. Files are in the kernel's cache.
- *Random*: batches of 32 structures drawn at random from all, nothing mixed in memory.

ASE's formats are timed on fewer structures, enough for a rate. Then a data set is read by a process
whose memory is limited to a part of its size, after its files were put out of the kernel's cache:
in batches as above, and as pre-training wants it, where each batch is drawn from all structures.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.aspirin import NUMBERS, shaken
from benchmarks.store_peers import BATCH, STORES, Store
from data_store.datasets import Dataset
from data_store.parts import open_part, write_part
from data_store.structure_parts import structures_to_columns
from data_store.structures import Structures

_STRUCTURES, _ROUNDS = 100_000, 7
_RANDOM_BATCHES = 30
_PARTS_OF_LARGE, _PART_STRUCTURES, _FRACTION = 20, 50_000, 4
"""The data set that is larger than memory, and over how much memory its reader may have."""


def aspirins(count: int, seed: int) -> Structures:
    """Shaken aspirins with made-up labels: numbers as random as those of a simulation."""
    rng = np.random.default_rng(seed)
    positions = shaken(count, seed=seed).numpy().astype(np.float32)
    forces = rng.normal(size=positions.shape).astype(np.float32)
    return Structures.from_dense(
        NUMBERS, positions, energies=rng.normal(size=count) - 17_600.0, forces=forces
    )


def raw_bytes(structures: int) -> int:
    """Positions and forces in float32, energies in float64, a byte for each atomic number."""
    return structures * (len(NUMBERS) * (3 * 4 * 2 + 1) + 8)


# A round


def _rates(figure: str, count: int, work: Callable[[], Any]) -> dict[str, float]:
    """Structures in a second of the clock, and in one of processor time of all threads."""
    began, cpu = time.perf_counter(), time.process_time()
    work()
    elapsed = time.perf_counter() - began, time.process_time() - cpu
    return {figure: count / elapsed[0], figure + "_cpu": count / elapsed[1]}


def _epoch(batches: Iterator[Any], count: int) -> None:
    seen = sum(len(batch) if isinstance(batch, (Structures, list)) else len(batch[-1])
               for batch in batches)  # fmt: skip
    if seen != count:
        raise SystemExit(f"{seen} of {count} structures came back")


def _timed(store: Store, structures: Structures, folder: Path) -> dict[str, float]:
    """Rates in structures/s, size and files."""
    count = store.structures or len(structures)
    mine = structures.slice(0, count)
    folder.mkdir(parents=True)
    found = _rates("write", count, lambda: store.write(mine, folder))
    files = [path for path in folder.rglob("*") if path.is_file()]
    found |= {
        "size": sum(path.stat().st_blocks * 512 for path in files) / raw_bytes(count),
        "files": len(files),
    }
    if store.batches:
        found |= _rates("batches", count, lambda: _epoch(store.batches(folder), count))
        found["first_ms"] = 1e3 / _rates("first", 1, lambda: next(store.batches(folder)))["first"]
    if store.random:
        take, rng = store.random(folder), np.random.default_rng(1)
        drawn = np.sort(rng.integers(0, count, (_RANDOM_BATCHES, BATCH)))
        found |= _rates("random", drawn.size, lambda: [take(rows) for rows in drawn])
    shutil.rmtree(folder)
    return found


def _line(values: list[float], scale: float = 1.0) -> str:
    middle, low, high = (scale * f(values) for f in (median, min, max))
    return f"{middle:,.3g} ({low:,.3g} to {high:,.3g})"


def _report(rounds: list[dict[str, dict[str, float]]]) -> Iterator[str]:
    ours = STORES[0].name
    for name in rounds[0]:
        yield f"{name}: size {rounds[0][name]['size']:.3f} of raw, {rounds[0][name]['files']} files"
        for figure in ("write", "batches", "random"):
            if figure in rounds[0][name]:
                values = [found[name][figure] for found in rounds]
                ratios = [found[ours][figure] / found[name][figure] for found in rounds]
                cpu = median([found[name][figure + "_cpu"] for found in rounds])
                yield (
                    f"    {figure:8s} {_line(values, 1e-3)} thousand structures/s, "
                    f"{1e-3 * cpu:,.3g} in a second of processor time"
                    + (f"; parts over it {_line(ratios)}" if name != ours else "")
                )
        if "first_ms" in rounds[0][name]:
            yield f"    first batch after {_line([f[name]['first_ms'] for f in rounds])} ms"


# More than memory holds


def _memory_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status says no {field}")


def _large(folder: Path) -> Dataset:
    return Dataset([open_part(path) for path in sorted((folder / "sample").iterdir())])


def _blocks_mixed(folder: Path, _: int) -> Iterator[int]:
    """An epoch of batches that leave a few blocks, mixed in memory."""
    with closing(_large(folder).batches(BATCH, 0, 0)) as batches:
        yield from map(len, batches)


def _steps_of_training(folder: Path, limit_bytes: int) -> Iterator[int]:
    """A quarter of an epoch as pre-training has it: each batch drawn from all structures."""
    import torch

    from apps.training.streamed_set import StreamedSet

    dataset = _large(folder)
    order, steps = np.random.default_rng(0).permutation(len(dataset)), len(dataset) // BATCH // 4
    memory_bytes = limit_bytes / 3  # beside windows are row numbers and what is being read
    with StreamedSet(dataset, order, steps, memory_bytes, torch.device("cpu")) as streamed:
        for step in range(steps):
            yield len(streamed.of_step(step, BATCH, 0))


_WAYS = {"batches of mixed blocks": _blocks_mixed, "steps of pre-training": _steps_of_training}


def read_limited(folder: Path, limit_bytes: int, way: str) -> dict[str, float]:
    """Read batches in this process, which may not take more memory than that.

    The limit is on private memory (RLIMIT_DATA), over what the process has when all is imported.
    """
    warm = folder / "warm"
    write_part(warm, "sample", "0" * 64, structures_to_columns(aspirins(1000, 0)), {})
    sum(_WAYS[way](warm, limit_bytes))
    limit = _memory_bytes("VmData") + limit_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    before, began = _memory_bytes("VmRSS"), time.perf_counter()
    lengths = _WAYS[way](folder, limit_bytes)
    seen = next(lengths)
    first_s = time.perf_counter() - began
    seen += sum(lengths)
    return {
        "structures_per_s": seen / (time.perf_counter() - began),
        "first_batch_s": first_s,
        "grew_MB": (_memory_bytes("VmHWM") - before) / 1e6,
    }


def _larger_than_memory(folder: Path) -> Iterator[str]:
    for index in range(_PARTS_OF_LARGE):
        columns = structures_to_columns(aspirins(_PART_STRUCTURES, index))
        write_part(folder, "sample", f"{index:064d}", columns, {})
    count = _PARTS_OF_LARGE * _PART_STRUCTURES
    limit = raw_bytes(count) // _FRACTION
    yield (
        f"{count:,} structures, {raw_bytes(count) / 1e6:.0f} MB raw, by a process that may take "
        f"{limit / 1e6:.0f} MB more; files are not in the kernel's cache when it begins"
    )
    for way in _WAYS:
        for path in folder.rglob("c.*"):
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        command = [sys.executable, "-m", "benchmarks.store", "--limited", folder, limit, way]
        ended = subprocess.run([str(word) for word in command], check=True, capture_output=True)
        found = json.loads(ended.stdout)
        yield (
            f"    {way}: {found['structures_per_s'] / 1e3:,.3g} thousand structures/s, the first "
            f"batch after {found['first_batch_s']:.2f} s; resident memory grew by "
            f"{found['grew_MB']:.0f} MB"
        )


def main() -> None:
    if sys.argv[1] == "--limited":
        print(json.dumps(read_limited(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])))
        return
    folder = Path(sys.argv[1])
    count, rounds = (*map(int, sys.argv[2:4]), *(_STRUCTURES, _ROUNDS)[len(sys.argv) - 2 :])
    present = [store for store in STORES if importlib.util.find_spec(store.needs)]
    for store in STORES:
        if store not in present:
            print(f"{store.name}: left out, {store.needs} is not installed")
    structures = aspirins(count, 0)
    results: list[dict[str, dict[str, float]]] = []
    folder.mkdir(parents=True)
    try:
        for turn in range(rounds):
            order = present[turn % len(present) :] + present[: turn % len(present)]
            found = {store.name: _timed(store, structures, folder / "round") for store in order}
            results.append({store.name: found[store.name] for store in present})
        print(f"{count:,} structures, raw {raw_bytes(count) / 1e6:.1f} MB, {rounds} rounds")
        print("\n".join(_report(results)))
        print("\n".join(_larger_than_memory(folder / "large")))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
