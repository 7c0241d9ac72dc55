"""Which frames of a published reaction set are used, for what, and on which spin surface.

A model has one energy for one geometry, so that of each composition one surface is trained on,
which the campaign file names where there are several (``labels.surfaces``). Frames along reaction
paths, and all frames of channels that are held out, test and never train. What is left out is
counted, by channel and reason. Pure functions; what a file says is read once, by `read_tags`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.labeling.channels import Channel, channel_table
from data_store.errors import InputError, unknown_name
from data_store.extxyz import read_extxyz
from data_store.formulas import hill_formula
from data_store.frame_comments import frame_comments
from data_store.structures import Structures
from data_store.units import SYMBOLS

__all__ = [
    "PATH",
    "Choice",
    "Tags",
    "choose",
    "composition",
    "read_channels",
    "read_tags",
    "with_channels",
]

PATH = "irc"
"""Kind of frames along a path."""

FRAMES_PER_BLOCK = 100
"""Frames of the source that count as one trajectory. In the hydrogen combustion set distances of
frames of one run that are 30 to 80 apart differ as those of unrelated ones do (docs/combustion.md).
"""

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Tags:
    """What the frames of a file say of themselves.

    Parameters
    ----------
    channels : tuple of str
        Key ``rxn``.
    kinds : tuple of str
        Key ``kind``: ``irc`` for frames along a path; empty where a frame says nothing.
    places : tuple of int
        Key ``src_index``, place in the source's own order, else the place in the file.
    multiplicities : tuple of int or None
        Key ``multiplicity``.
    """

    channels: tuple[str, ...]
    kinds: tuple[str, ...]
    places: tuple[int, ...]
    multiplicities: tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Choice:
    """What becomes of each frame.

    Parameters
    ----------
    train : ndarray of int64
        Frames that pools may hold.
    test : ndarray of int64
        Frames along paths, and of channels held out.
    left_out : dict of str to int
        Frames that are not used, by ``channel: reason``.
    """

    train: Indices
    test: Indices
    left_out: dict[str, int]

    def in_words(self) -> str:
        """One line: how many train, test, and are left out, and why."""
        out = sum(self.left_out.values())
        why = "; ".join(f"{count} of {name}" for name, count in self.left_out.items())
        return (
            f"{len(self.train)} frames to train on, {len(self.test)} along paths or of channels "
            f"held out, {out} left out" + (f" ({why})" if out else "")
        )


def read_tags(path: Path, table: str) -> Tags:
    """What the frames of a file say, checked against a table of channels.

    Raises
    ------
    InputError
        If a frame names no channel or an unknown one, or a multiplicity that is not its channel's.
    """
    known = channel_table(table)
    frames = frame_comments(path, ("rxn", "kind", "src_index", "multiplicity"))
    for index, frame in enumerate(frames):
        _check_frame(path, index, frame, known)
    places = [frame["src_index"] for frame in frames]
    return Tags(
        tuple(str(frame["rxn"]) for frame in frames),
        tuple(str(frame["kind"] or "") for frame in frames),
        tuple(index if place is None else int(place) for index, place in enumerate(places)),
        tuple(None if f["multiplicity"] is None else int(f["multiplicity"]) for f in frames),
    )


def _check_frame(
    path: Path, index: int, frame: dict[str, Any], known: Mapping[str, Channel]
) -> None:
    name, said = frame["rxn"], frame["multiplicity"]
    if name is None:
        raise InputError(
            f"{path}: frame {index} names no channel",
            "with labels.channels every frame has rxn=… in its comment line",
        )
    if str(name) not in known:
        error = unknown_name("channel", str(name), list(known))
        raise InputError(f"{path}: frame {index}: {error.message}", error.hint)
    expected = known[str(name)].multiplicity
    if said is not None and expected is not None and said != expected:
        raise InputError(
            f"{path}: frame {index} says multiplicity={said}, and channel {name} has {expected}",
            "mend the frame, or leave out labels.channels",
        )


def with_channels(structures: Structures, tags: Tags, table: str) -> Structures:
    """Same structures with the multiplicities of their channels, grouped for splits.

    A frame of a channel of unknown multiplicity keeps its own. A path is one trajectory; other
    frames are cut into blocks of `FRAMES_PER_BLOCK` by their place in the source.
    """
    known = channel_table(table)
    spins = [known[name].multiplicity for name in tags.channels]
    own = structures.multiplicities
    multiplicities = np.where([s is None for s in spins], own, [s or 0 for s in spins])
    groups = [
        (channel, kind, -1 if kind == PATH else place // FRAMES_PER_BLOCK)
        for channel, kind, place in zip(tags.channels, tags.kinds, tags.places, strict=True)
    ]
    number = {group: n for n, group in enumerate(sorted(set(groups)))}
    return replace(
        structures,
        multiplicities=multiplicities.astype(structures.multiplicities.dtype),
        parents=np.array([number[group] for group in groups], dtype=structures.parents.dtype),
        frames=np.array(tags.places, dtype=structures.frames.dtype),
    )


def composition(numbers: NDArray[Any]) -> str:
    """Formula of atoms, in Hill order."""
    return hill_formula(Counter(SYMBOLS[int(number)] for number in numbers))


def choose(
    structures: Structures,
    tags: Tags,
    table: str,
    surfaces: Mapping[str, int],
    held_out: Sequence[str],
) -> Choice:
    """Sort frames into those that train, those that test, and those that are left out.

    Parameters
    ----------
    structures : Structures
        As `with_channels` gives them.
    tags : Tags
    table : str
    surfaces : mapping of str to int
        Multiplicity of each composition that lies on several surfaces.
    held_out : sequence of str
        Channels that test and never train.

    Raises
    ------
    InputError
        If a composition lies on two surfaces and none is chosen, or what is named is not there.
    """
    known = channel_table(table)
    _check_held_out(held_out, tags, known)
    formulas = [composition(structures.numbers_of(index)) for index in range(len(structures))]
    _check_surfaces(formulas, tags, known, surfaces)
    train: list[int] = []
    test: list[int] = []
    left_out: Counter[str] = Counter()
    for index, (name, kind) in enumerate(zip(tags.channels, tags.kinds, strict=True)):
        multiplicity = known[name].multiplicity
        wanted = surfaces.get(formulas[index], multiplicity)
        if multiplicity is None and tags.multiplicities[index] is None:
            left_out[f"{name}: multiplicity unknown"] += 1
        elif wanted is not None and int(structures.multiplicities[index]) != wanted:
            reason = f"{formulas[index]} of multiplicity {multiplicity}, not {wanted}"
            left_out[f"{name}: {reason}"] += 1
        else:
            of_path = known[name].has_path and kind == PATH
            (test if of_path or name in held_out else train).append(index)
    return Choice(
        np.array(train, dtype=np.int64),
        np.array(test, dtype=np.int64),
        dict(sorted(left_out.items())),
    )


def read_channels(
    path: Path, channels: str, surfaces: Mapping[str, int], held_out_channels: Sequence[str]
) -> tuple[Structures, Tags, Choice]:
    """Labels of a file with their channels' spins, what frames say, and what becomes of each.

    Parameters
    ----------
    path : Path
    channels : str
        Name of a table.
    surfaces : mapping of str to int
    held_out_channels : sequence of str

    Raises
    ------
    InputError
        If the file is unusable or contradicts the table or the choice, or nothing is left to train
        or to test on.
    """
    tags = read_tags(path, channels)
    structures = with_channels(read_extxyz(path), tags, channels)
    found = choose(structures, tags, channels, surfaces, held_out_channels)
    for rows, purpose in ((found.train, "train"), (found.test, "test")):
        if not len(rows):
            raise InputError(
                f"{path}: no frame is left to {purpose} on; {found.in_words()}",
                f"frames of kind {PATH} along paths, and those of labels.held_out_channels, test; "
                "all others of the surfaces chosen train",
            )
    return structures, tags, found


def _check_held_out(held_out: Sequence[str], tags: Tags, known: Mapping[str, Channel]) -> None:
    for name in held_out:
        if name not in known:
            raise unknown_name("channel in labels.held_out_channels", name, list(known))
        if name not in tags.channels:
            raise InputError(
                f"labels.held_out_channels names {name}, and no frame is of that channel",
                f"there are {', '.join(sorted(set(tags.channels)))}",
            )


def _check_surfaces(
    formulas: Sequence[str],
    tags: Tags,
    known: Mapping[str, Channel],
    surfaces: Mapping[str, int],
) -> None:
    """Refuse a composition on two surfaces without a choice, and a choice of none."""
    found: dict[str, dict[int, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for formula, name, said in zip(formulas, tags.channels, tags.multiplicities, strict=True):
        multiplicity = known[name].multiplicity or said
        if multiplicity is not None:
            found[formula][multiplicity][name] += 1
    for formula, chosen in surfaces.items():
        if chosen not in found.get(formula, {}):
            there = {f: sorted(by) for f, by in sorted(found.items()) if len(by) > 1}
            raise InputError(
                f"labels.surfaces: no frame of {formula} has multiplicity {chosen}",
                f"compositions on several surfaces, and their multiplicities: {there}",
            )
    open_choices = {f: by for f, by in sorted(found.items()) if len(by) > 1 and f not in surfaces}
    if open_choices:
        listed = "; ".join(
            f"{formula}: "
            + ", ".join(f"{m} ({', '.join(sorted(names))})" for m, names in sorted(by.items()))
            for formula, by in open_choices.items()
        )
        example = ", ".join(f"{formula} = {min(by)}" for formula, by in open_choices.items())
        raise InputError(
            f"compositions on several spin surfaces, of which a model can learn one: {listed}",
            f"choose, for instance labels.surfaces = {{ {example} }}",
        )
