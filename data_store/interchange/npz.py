"""Arrays of numpy in one file: ours, which keeps all, and those of published sets.

What we write has the names and shapes of `Structures` and its units in ``units``. Read are those,
and files with one molecule in many geometries as revised MD17, MD17 and their like have them: the
names below, in whatever units the caller says. Files of pickled objects are refused: they run code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_store.errors import InputError, StoreError
from data_store.interchange.convention import Convention
from data_store.interchange.rows import Row, assembled
from data_store.structures import Structures, concatenate

__all__ = ["read_npz", "write_npz"]

_NAMES = {
    "numbers": ("nuclear_charges", "z", "Z", "numbers", "atomic_numbers"),
    "positions": ("coords", "R", "positions", "xyz"),
    "energies": ("energies", "E", "energy"),
    "forces": ("forces", "F"),
}
_OPTIONAL = {"energies", "forces"}
_TIME = "old_indices"
_UNITS = {"positions": "Å", "cells": "Å", "energies": "eV", "forces": "eV/Å"}
_OURS = "offsets"


def read_npz(path: Path, convention: Convention, block: int) -> Iterator[Structures]:
    """Structures of a file; all of it is in memory.

    Raises
    ------
    InputError
        If it cannot be read, or holds none.
    """
    try:
        # numpy leaves a file that it opened itself open where it cannot read it.
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            held: dict[str, Any] = {name: file[name] for name in file.files}
    except Exception as error:  # numpy meets what is no such file with whatever it stumbled over
        raise InputError(
            f"{path} cannot be read as npz: {type(error).__name__}: {error}",
            "expected arrays of numbers; files of pickled objects run code, and are refused",
        ) from error
    whole = _ours(path, held, convention) if _OURS in held else _dense(path, held, convention)
    for start in range(0, len(whole), block):
        yield whole.slice(start, min(start + block, len(whole)))


def _ours(path: Path, held: dict[str, Any], convention: Convention) -> Structures:
    try:
        units = json.loads(str(held.pop("units")))
        if units != _UNITS or convention != Convention():
            raise InputError(
                f"{path}: its units are {units}, and others were asked for",
                "leave the units out: such a file says its own",
            )
        return Structures(**held)
    except (TypeError, ValueError, KeyError, IndexError, StoreError) as error:
        raise InputError(
            f"{path} holds no structures as this project writes them: {error}",
            "write it anew by `campaign data export`",
        ) from error


def _dense(path: Path, held: dict[str, Any], convention: Convention) -> Structures:
    found = {
        what: held[name] for what, names in _NAMES.items() for name in names[::-1] if name in held
    }
    lacking = sorted(set(_NAMES) - _OPTIONAL - set(found))
    if lacking:
        wanted = "; ".join(f"{what} as {' or '.join(_NAMES[what])}" for what in lacking)
        raise InputError(f"{path} has arrays {sorted(held)}", f"expected {wanted}")
    numbers, positions = found["numbers"], found["positions"]
    if positions.ndim != 3 or numbers.ndim != 1:
        raise InputError(
            f"{path}: {numbers.shape} numbers and positions of shape {positions.shape}",
            "expected N numbers of one molecule, and positions of shape (S, N, 3)",
        )
    count = len(positions)
    energies = found.get("energies")
    forces, times = found.get("forces"), held.get(_TIME)
    for what, values in (("energies", energies), ("forces", forces), (_TIME, times)):
        if values is not None and (values.ndim == 0 or len(values) != count):
            raise InputError(f"{path}: {what} of shape {values.shape} for {count} structures")
    rows = [
        Row(
            numbers,
            positions[i],
            None if energies is None else _scalar(path, energies[i]),
            None if forces is None else forces[i],
            frame=0 if times is None else int(times[i]),
            parent=None if times is None else 0,
        )
        for i in range(count)
    ]
    if not rows:
        raise InputError(f"{path} holds no structures")
    return assembled(path, rows, convention, 0)


def _scalar(path: Path, value: Any) -> float:
    if np.size(value) != 1 or not np.issubdtype(np.asarray(value).dtype, np.number):
        raise InputError(f"{path}: an energy is {value!r}", "expected one number a structure")
    return float(np.asarray(value).reshape(()))


def write_npz(path: Path, blocks: Iterator[Structures]) -> None:
    """Write structures, exactly; all of them are in memory."""
    whole = concatenate(list(blocks))
    held = {name: value for name, value in vars(whole).items() if value is not None}
    with path.open("wb") as handle:
        np.savez_compressed(handle, **held, units=np.array(json.dumps(_UNITS)))
