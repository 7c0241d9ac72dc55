"""Stores that `benchmarks.store` times: ours and its peers, each as its users would use it.

Each writes structures into a folder and gives them back in shuffled batches of `BATCH`, and those
that can at random. Ours gives whole `Structures`; peers give positions, forces and energies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.aspirin import NUMBERS
from data_store.arrays import write_arrays
from data_store.datasets import Dataset
from data_store.parts import Part, open_part, write_part
from data_store.structure_parts import structures_to_columns
from data_store.structures import Structures

__all__ = ["BATCH", "STORES", "Store"]

BATCH = 32
_SLOW_STRUCTURES = 1_000
_BLOCK, _MIXED = 4096, 4

Batch = tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class Store:
    """A contender: how it writes, what it gives back, on how many structures it is timed."""

    name: str
    write: Callable[[Structures, Path], None]
    batches: Callable[[Path], Iterator[Any]] | None = None
    random: Callable[[Path], Callable[[NDArray[np.int64]], Any]] | None = None
    structures: int | None = None
    needs: str = "numpy"


# The store


def _write_part(structures: Structures, folder: Path) -> None:
    write_part(folder, "sample", "0" * 64, structures_to_columns(structures), {})


def _part(folder: Path) -> Part:
    return open_part(folder / "sample" / ("0" * 64))


def _write_arrays_alone(structures: Structures, folder: Path) -> None:
    columns = structures_to_columns(structures)
    write_arrays(folder / "data.zarr", {n: c.checked(n) for n, c in columns.items()})


def _part_batches(folder: Path) -> Iterator[Structures]:
    return Dataset([_part(folder)]).batches(BATCH, 0, 0)


def _part_random(folder: Path) -> Callable[[NDArray[np.int64]], Structures]:
    return Dataset([_part(folder)]).take


# Peers


def _columns(structures: Structures) -> dict[str, NDArray[Any]]:
    return {name: column.values for name, column in structures_to_columns(structures).items()}


def _mixed(arrays: Any, count: int) -> Iterator[Batch]:
    """Blocks in random order, a few shuffled together: what `Dataset.batches` does."""
    rng, atoms = np.random.default_rng(0), len(NUMBERS)
    starts = rng.permutation(np.arange(0, count, _BLOCK))
    for group in np.split(starts, np.arange(_MIXED, len(starts), _MIXED)):
        blocks = [
            (
                *(
                    arrays[name][s * atoms : min(s + _BLOCK, count) * atoms].reshape(-1, atoms, 3)
                    for name in ("positions", "forces")
                ),
                arrays["energies"][s : min(s + _BLOCK, count)],
            )
            for s in (int(start) for start in group)
        ]
        mixed = [np.concatenate(values) for values in zip(*blocks, strict=True)]
        order = rng.permutation(len(mixed[2]))
        shuffled = [values.take(order, axis=0) for values in mixed]
        for first in range(0, len(order), BATCH):
            yield tuple(values[first : first + BATCH] for values in shuffled)


def _atom_rows(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return (rows[:, None] * len(NUMBERS) + np.arange(len(NUMBERS))).reshape(-1)


def _write_zarr(structures: Structures, folder: Path) -> None:
    import zarr

    group = zarr.create_group(folder / "data.zarr", zarr_format=3)
    for name, values in _columns(structures).items():
        per_atom = len(values) == structures.n_atoms
        rows = 256 * (len(NUMBERS) if per_atom else 1)
        shard = rows * -(-len(values) // rows)
        tail = values.shape[1:]
        array = group.create_array(
            name, shape=values.shape, dtype=values.dtype, chunks=(rows, *tail),
            shards=(shard, *tail), compressors=[zarr.codecs.ZstdCodec(level=3)],
        )  # fmt: skip
        array[:] = values


def _zarr_batches(folder: Path) -> Iterator[Batch]:
    import zarr

    group: Any = zarr.open_group(folder / "data.zarr", mode="r")
    return _mixed(group, group["energies"].shape[0])


def _zarr_random(folder: Path) -> Callable[[NDArray[np.int64]], Batch]:
    import zarr

    group: Any = zarr.open_group(folder / "data.zarr", mode="r")

    def take(rows: NDArray[np.int64]) -> Batch:
        atoms, energies = _atom_rows(rows), group["energies"].oindex[rows]
        return (*(group[name].oindex[atoms] for name in ("positions", "forces")), energies)

    return take


def _write_h5(structures: Structures, folder: Path) -> None:
    import h5py

    with h5py.File(folder / "data.h5", "w") as file:
        for name, values in _columns(structures).items():
            file.create_dataset(name, data=values)


def _h5_batches(folder: Path) -> Iterator[Batch]:
    import h5py

    with h5py.File(folder / "data.h5", "r") as file:
        yield from _mixed(file, len(file["energies"]))


def _h5_random(folder: Path) -> Callable[[NDArray[np.int64]], Batch]:
    import h5py

    file, atoms = h5py.File(folder / "data.h5", "r"), len(NUMBERS)

    def take(rows: NDArray[np.int64]) -> Batch:
        # A slice for each is faster than h5py's lists of rows.
        return (
            *(
                np.stack([file[name][row * atoms : (row + 1) * atoms] for row in rows])
                for name in ("positions", "forces")
            ),
            np.array([file["energies"][row] for row in rows]),
        )

    return take


def _write_lmdb(structures: Structures, folder: Path) -> None:
    import lmdb

    positions, forces = structures.dense_positions(), structures.dense_forces()
    energies = structures.labelled_energies()
    numbers = structures.numbers_of(0).tobytes()
    environment = lmdb.open(str(folder / "data.lmdb"), map_size=1 << 36, sync=False)
    with environment, environment.begin(write=True) as transaction:
        for row in range(len(structures)):
            value = energies[row].tobytes() + positions[row].tobytes() + forces[row].tobytes()
            transaction.put(row.to_bytes(8, "big"), value + numbers, append=True)


def _lmdb_random(folder: Path) -> Callable[[NDArray[np.int64]], Batch]:
    import lmdb

    environment = lmdb.open(str(folder / "data.lmdb"), readonly=True, lock=False)
    transaction, atoms = environment.begin(), len(NUMBERS)

    def take(rows: NDArray[np.int64]) -> Batch:
        values = [transaction.get(int(row).to_bytes(8, "big")) for row in rows]
        joined = np.frombuffer(b"".join(values), dtype=np.uint8).reshape(len(rows), -1)
        energies = np.ascontiguousarray(joined[:, :8]).view(np.float64)[:, 0]
        both = np.ascontiguousarray(joined[:, 8 : 8 + 24 * atoms]).view(np.float32)
        both = both.reshape(len(rows), 2, atoms, 3)
        return both[:, 0], both[:, 1], energies

    return take


def _lmdb_batches(folder: Path) -> Iterator[Batch]:
    import lmdb

    with lmdb.open(str(folder / "data.lmdb"), readonly=True, lock=False) as environment:
        count = environment.stat()["entries"]
    take, order = _lmdb_random(folder), np.random.default_rng(0).permutation(count)
    return (take(order[i : i + BATCH]) for i in range(0, count, BATCH))


def _as_ase(structures: Structures) -> Iterator[Any]:
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    energies = structures.labelled_energies()
    for row in range(len(structures)):
        atoms = Atoms(structures.numbers_of(row), structures.positions_of(row))
        atoms.calc = SinglePointCalculator(
            atoms, energy=float(energies[row]), forces=structures.forces_of(row)
        )
        yield atoms


def _write_extxyz(structures: Structures, folder: Path) -> None:
    from ase.io import write

    write(folder / "data.extxyz", list(_as_ase(structures)), format="extxyz")


def _extxyz_in_order(folder: Path) -> Iterator[list[Any]]:
    from ase.io import iread

    frames = iread(folder / "data.extxyz", format="extxyz")
    while batch := list(islice(frames, BATCH)):
        yield batch


def _write_ase_db(structures: Structures, folder: Path) -> None:
    from ase.db import connect

    with connect(folder / "data.db") as database:
        for atoms in _as_ase(structures):
            database.write(atoms)


def _ase_db_random(folder: Path) -> Callable[[NDArray[np.int64]], Any]:
    from ase.db import connect

    database = connect(folder / "data.db")

    def take(rows: NDArray[np.int64]) -> list[Any]:
        found = [database.get(int(row) + 1) for row in rows]
        return [(row.positions, row.forces, row.energy) for row in found]

    return take


def _ase_db_batches(folder: Path) -> Iterator[Any]:
    from ase.db import connect

    count = connect(folder / "data.db").count()
    take, order = _ase_db_random(folder), np.random.default_rng(0).permutation(count)
    return (take(order[i : i + BATCH]) for i in range(0, count, BATCH))


STORES = (
    Store("parts (ours)", _write_part, _part_batches, _part_random),
    Store("arrays alone (ours)", _write_arrays_alone),
    Store("zarr-python", _write_zarr, _zarr_batches, _zarr_random, needs="zarr"),
    Store("h5py", _write_h5, _h5_batches, _h5_random, needs="h5py"),
    Store("LMDB", _write_lmdb, _lmdb_batches, _lmdb_random, needs="lmdb"),
    Store("extxyz in order", _write_extxyz, _extxyz_in_order, None, _SLOW_STRUCTURES, "ase"),
    Store("ASE db", _write_ase_db, _ase_db_batches, _ase_db_random, _SLOW_STRUCTURES, "ase"),
)  # fmt: skip
