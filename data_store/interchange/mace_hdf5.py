"""HDF5 as MACE's trainer reads it: a group for each batch, in it a group for each configuration.

``config_batch_I/config_J`` holds ``atomic_numbers``, ``positions``, ``cell``, ``pbc``, and energy
and forces in a group ``properties`` (MACE 0.3.10 and newer) or beside them (older). What is not
there is the text "None". Energies and forces are in eV and eV/Å, as MACE takes them to be.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_store.errors import InputError
from data_store.interchange.convention import Convention
from data_store.interchange.rows import Row, blocks_of_rows, named, row_of, unnamed
from data_store.structures import Structures

__all__ = ["read_mace_hdf5", "write_mace_hdf5"]

_BATCH, _CONFIG = "config_batch_", "config_"
_NOTHING = "None"


def _library() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            "HDF5 needs the package h5py", "pip install 'mlip-campaign[formats]'"
        ) from error
    return h5py


def read_mace_hdf5(path: Path, convention: Convention, block: int) -> Iterator[Structures]:
    """Structures of a file, a block at a time.

    Raises
    ------
    InputError
        If the package `h5py` is not installed, or the file cannot be read.
    """
    yield from blocks_of_rows(path, _rows(path), convention, block)


def _rows(path: Path) -> Iterator[Row]:
    h5py = _library()
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path} cannot be read as HDF5: {error}") from error
    with file:
        batches = _numbered(file, _BATCH)
        if not batches:
            raise InputError(
                f"{path} has groups {sorted(file)[:5]}, and none named {_BATCH}0",
                "expected the layout of MACE's preprocess_data",
            )
        for batch in batches:
            for configuration in _numbered(batch, _CONFIG):
                yield _row(path, configuration)


def _numbered(group: Any, prefix: str) -> list[Any]:
    """Members ``prefix0``, ``prefix1``, … in order of their numbers."""
    found = [key for key in group if key.removeprefix(prefix).isdigit() and key.startswith(prefix)]
    return [group[key] for key in sorted(found, key=lambda key: int(key.removeprefix(prefix)))]


def _row(path: Path, group: Any) -> Row:
    try:
        labels = group.get("properties", group)
        energy = _value(labels, "energy")
        cell, pbc = _value(group, "cell"), _value(group, "pbc")
        return Row(
            np.asarray(group["atomic_numbers"][()]),
            np.asarray(group["positions"][()]),
            None if energy is None else float(energy),
            _value(labels, "forces"),
            cell,
            (False,) * 3 if pbc is None else tuple(bool(p) for p in pbc),  # type: ignore[arg-type]
            **unnamed({name: _plain(group.attrs[name]) for name in group.attrs}),
        )
    except (KeyError, TypeError, ValueError, OSError, AttributeError) as error:
        raise InputError(
            f"{path}: {group.name} is no configuration of MACE: {type(error).__name__}: {error}",
            "expected atomic_numbers, positions, and labels in properties",
        ) from error


def _value(group: Any, name: str) -> Any:
    """A data set's value; None where it is not there, or says so."""
    if name not in group:
        return None
    value = group[name][()]
    return None if isinstance(value, bytes | str) else value


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else np.asarray(value).item()


def write_mace_hdf5(path: Path, blocks: Iterator[Structures]) -> None:
    """Write structures into a new file, a batch for each block.

    Raises
    ------
    InputError
        If the package `h5py` is not installed.
    """
    h5py = _library()
    with h5py.File(path, "w") as file:
        for number, structures in enumerate(blocks):
            batch = file.create_group(f"{_BATCH}{number}")
            for index in range(len(structures)):
                _write_row(batch.create_group(f"{_CONFIG}{index}"), structures, index)
        file.attrs["drop_last"] = False


def _write_row(group: Any, structures: Structures, index: int) -> None:
    row = row_of(structures, index)
    group["atomic_numbers"] = np.asarray(row.numbers, dtype=np.int64)
    group["positions"] = row.positions
    group["cell"], group["pbc"] = row.cell, np.array(row.pbc)
    group["weight"], group["config_type"], group["head"] = 1.0, "Default", "Default"
    labels, weights = group.create_group("properties"), group.create_group("property_weights")
    for name, value in (("energy", row.energy), ("forces", row.forces)):
        labels[name] = _NOTHING if value is None else value
        weights[name] = 0.0 if value is None else 1.0
    for name, value in named(structures, index).items():
        group.attrs[name] = value
