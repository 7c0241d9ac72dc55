"""Extended xyz in and out, the field's plainest format for labelled structures.

Energies are in eV and forces in eV/Å, as the format has it. Parsing is ASE's; this adds what a
campaign needs to trust a file: every frame labelled and finite, or a message that says which is
not.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_store.errors import InputError, StoreError
from data_store.structures import TIER_CODES, TIERS, Structures, concatenate

if TYPE_CHECKING:
    from ase import Atoms

__all__ = [
    "PLAIN",
    "REFERENCE",
    "LabelNames",
    "extxyz_blocks",
    "extxyz_bytes",
    "frame_methods",
    "read_extxyz",
    "write_extxyz",
    "write_extxyz_blocks",
]


class LabelNames(NamedTuple):
    """What a file calls its labels."""

    energy: str
    forces: str


PLAIN = LabelNames("energy", "forces")
"""As ASE has them: results of a calculator."""

REFERENCE = LabelNames("REF_energy", "REF_forces")
"""As MACE's trainer looks for them, where ASE takes no results out of the file."""

_NAMES = (PLAIN, REFERENCE, LabelNames("dft_energy", "dft_forces"))
_ENERGY_NAMES = tuple(names.energy for names in _NAMES)
_FORCE_NAMES = tuple(names.forces for names in _NAMES)
_TIME = "old_index"


def read_extxyz(path: Path, *, stop: int | None = None) -> Structures:
    """Labelled structures of a file.

    Parameters
    ----------
    path : Path
    stop : int, optional
        Read so many frames only.

    Returns
    -------
    Structures
        Tier "imported". Parent trajectory and frame are what the file says by ``parent`` and
        ``frame``, or by ``old_index``, which in revised MD17 is the frame of one trajectory; a
        frame that says nothing counts as a trajectory of its own.

    Raises
    ------
    InputError
        If the file cannot be read or a frame lacks finite energy or forces; the frame is named.
    """
    frames = [_labelled(path, *frame) for frame in enumerate(_parse(path, stop))]
    if not frames:
        raise _nothing_in(path)
    return concatenate(frames)


def extxyz_blocks(path: Path, block: int) -> Iterator[Structures]:
    """Labelled structures of a file, so many at a time: no more than these are in memory.

    Raises
    ------
    InputError
        As `read_extxyz`, when the frame is come to.
    """
    frames = (_labelled(path, *frame) for frame in enumerate(_parse(path, None)))
    held = list(islice(frames, block))
    if not held:
        raise _nothing_in(path)
    while held:
        yield concatenate(held)
        held = list(islice(frames, block))


def _nothing_in(path: Path) -> InputError:
    return InputError(f"{path} holds no structures", "expected extended xyz with labels")


def _parse(path: Path, stop: int | None) -> Iterator[Atoms]:
    """Frames, one in memory at a time; each is parsed by ASE, which would look for all first."""
    from ase.io.extxyz import read_xyz

    try:
        lines = path.open(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error}", "expected an extended xyz file") from error
    try:
        with lines:
            for frame in islice(_frames(lines), stop):
                yield from read_xyz(io.StringIO(frame), index=slice(None))
    # ASE's parser meets malformed text with whatever it stumbled over.
    except Exception as error:
        raise InputError(
            f"{path} is not valid extended xyz: {type(error).__name__}: {error}",
            "expected per frame a line with the number of atoms, a comment line with energy= and "
            "Properties=, and a line per atom",
        ) from error


def _frames(lines: Iterator[str]) -> Iterator[str]:
    """The text of each frame: a count, a comment, so many atoms, and vectors of a cell if any."""
    first = next(lines, "")
    while first.strip():
        count = int(first)
        rest = list(islice(lines, count + 1))
        if count < 0 or len(rest) < count + 1:
            raise ValueError(f"a frame of {count} atoms, and {max(0, len(rest) - 1)} lines of them")
        first = next(lines, "")
        while first.lstrip().startswith("VEC"):
            rest.append(first)
            first = next(lines, "")
        yield "".join([f"{count}\n", *rest])
    if any(line.strip() for line in lines):
        raise ValueError("there is text after an empty line")


def _find(mappings: Sequence[dict[str, Any]], names: Sequence[str]) -> Any:
    for name in names:
        for mapping in mappings:
            if name in mapping:
                return mapping[name]
    return None


def _labelled(path: Path, index: int, atoms: Atoms) -> Structures:
    results = dict(atoms.calc.results) if atoms.calc is not None else {}
    energy = _find([results, atoms.info], _ENERGY_NAMES)
    forces = _find([results, atoms.arrays], _FORCE_NAMES)
    for name, value in (("energy", energy), ("forces", forces)):
        if value is None:
            raise InputError(
                f"{path}: frame {index} has no {name}",
                f"every frame needs {' or '.join(_ENERGY_NAMES)} (eV) and "
                f"{' or '.join(_FORCE_NAMES)} (eV/Å)",
            )
    numbers = (("energy", energy), ("forces", forces), ("positions", atoms.positions))
    for name, value in numbers:
        if not np.issubdtype(np.asarray(value).dtype, np.number) or not np.isfinite(value).all():
            raise InputError(
                f"{path}: {name} of frame {index} is not finite", "remove or relabel that frame"
            )
    if np.shape(forces) != (len(atoms), 3) or np.size(energy) != 1:
        raise InputError(f"{path}: frame {index} has labels of the wrong shape")
    try:
        return _structures(index, atoms, energy, forces)
    except (StoreError, OverflowError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: frame {index} is no structure: {error}", "remove or mend that frame"
        ) from error


def _structures(index: int, atoms: Atoms, energy: Any, forces: Any) -> Structures:
    """A frame whose labels have their shapes."""
    pbc = np.asarray(atoms.pbc, dtype=bool)
    structures = Structures.from_dense(
        atoms.numbers,
        atoms.positions[None],
        energies=np.asarray(energy, dtype=np.float64).reshape(1),
        forces=np.asarray(forces, dtype=np.float64)[None],
        charge=_whole(atoms.info, "charge", 0),
        multiplicity=_whole(atoms.info, "multiplicity", 1),
        tiers=TIER_CODES.get(str(atoms.info.get("tier")), TIER_CODES["imported"]),
        parents=np.array([_whole(atoms.info, "parent", 0 if _TIME in atoms.info else index)]),
        frames=np.array([_whole(atoms.info, "frame", _whole(atoms.info, _TIME, 0))]),
    )
    cell = np.where(pbc[:, None], np.asarray(atoms.cell, dtype=np.float64), 0.0)
    return replace(structures, cells=cell[None], pbc=pbc[None])


def _whole(info: dict[str, Any], name: str, default: int) -> int:
    value = info.get(name, default)
    return int(value) if isinstance(value, int | np.integer) else default


def frame_methods(path: Path) -> dict[str, int]:
    """Frames by the method that their comment line names (``method="PBE/def2-SVP"``).

    Frames that name none are not counted.

    Raises
    ------
    InputError
        If the file cannot be read, or is no extended xyz.
    """
    from ase.io.extxyz import key_val_str_to_dict

    found: Counter[str] = Counter()
    try:
        with path.open(encoding="utf-8") as lines:
            for count in lines:
                if not count.strip():
                    continue
                comment = next(lines)
                # Most files name none: atoms are passed over unread, comments unparsed.
                if "method" in comment and "method" in (said := key_val_str_to_dict(comment)):
                    found[str(said["method"])] += 1
                for _ in islice(lines, int(count)):
                    pass
    except (OSError, ValueError, StopIteration) as error:
        raise InputError(
            f"{path} is not valid extended xyz: {error}", "write it anew with ASE"
        ) from error
    return dict(found)


def write_extxyz(path: Path, structures: Structures) -> None:
    """Write structures, labelled or not; numbers keep all their digits.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    write_extxyz_blocks(path, iter([structures]))


def write_extxyz_blocks(
    path: Path, blocks: Iterator[Structures], names: LabelNames = PLAIN
) -> None:
    """Write blocks of structures, one after the other, as `write_extxyz` does.

    Parameters
    ----------
    path : Path
    blocks : iterator of Structures
    names : LabelNames
        What labels are called.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as handle:
            for structures in blocks:
                for index in range(len(structures)):
                    handle.writelines(_frame(structures, index, names))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}", "choose another file") from error


def extxyz_bytes(structures: Structures) -> bytes:
    """What `write_extxyz` would write, for callers that write whole files at once."""
    lines = (line for index in range(len(structures)) for line in _frame(structures, index))
    return "".join(lines).encode()


def _frame(structures: Structures, index: int, names: LabelNames = PLAIN) -> Iterator[str]:
    from data_store.elements import SYMBOLS

    numbers, positions = structures.numbers_of(index), structures.positions_of(index)
    forces = structures.forces_of(index) if structures.forces is not None else None
    periodic = structures.pbc[index].any()
    info = {
        "charge": int(structures.charges[index]),
        "multiplicity": int(structures.multiplicities[index]),
        "tier": TIERS[structures.tiers[index]],
        "parent": int(structures.parents[index]),
        "frame": int(structures.frames[index]),
        "pbc": '"' + " ".join("T" if p else "F" for p in structures.pbc[index]) + '"',
    }
    if structures.energies is not None:
        info[names.energy] = repr(float(structures.energies[index]))
    if periodic:
        info["Lattice"] = '"' + _row(structures.cells[index].reshape(-1)) + '"'
    columns = "species:S:1:pos:R:3" + (f":{names.forces}:R:3" if forces is not None else "")
    yield f"{len(numbers)}\n"
    yield f"Properties={columns} " + " ".join(f"{k}={v}" for k, v in info.items()) + "\n"
    for atom, number in enumerate(numbers):
        values = [positions[atom]] if forces is None else [positions[atom], forces[atom]]
        yield f"{SYMBOLS[number]} {_row(np.concatenate(values))}\n"


def _row(values: NDArray[Any]) -> str:
    return " ".join(repr(float(value)) for value in values)
