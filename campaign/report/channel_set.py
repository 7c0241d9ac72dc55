"""`ChannelSet`: which structures of a test set belong to which channel, and which are its path."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apps.dynamics.species import count_species
from data_store.structures import Structures

__all__ = ["ChannelSet", "species_in_words"]


@dataclass(frozen=True, eq=False)
class ChannelSet:
    """Channels of a test set.

    Parameters
    ----------
    table : str
        Name of the table of channels.
    rows : dict of str to tuple of int
        Places in the test set of each channel's frames.
    paths : dict of str to tuple of int
        Of those along its path, in order; only channels that have one of two frames or more.
    ends : dict of str to (str, str)
        Species at both ends of each path.
    held_out : frozenset of str
        Channels that no pool holds.
    """

    table: str
    rows: dict[str, tuple[int, ...]]
    paths: dict[str, tuple[int, ...]]
    ends: dict[str, tuple[str, str]]
    held_out: frozenset[str]

    @staticmethod
    def of(
        structures: Structures,
        names: list[str],
        on_path: NDArray[np.bool_],
        table: str,
        held_out: list[str],
    ) -> ChannelSet:
        """Channels of test structures; `frames` is the place along a path.

        Parameters
        ----------
        structures : Structures
        names : list of str
            Channel of each.
        on_path : ndarray of bool, shape (S,)
        table : str
        held_out : list of str
        """
        rows: dict[str, list[int]] = defaultdict(list)
        for row, name in enumerate(names):
            rows[name].append(row)
        paths = {}
        for name, of_channel in rows.items():
            along = [row for row in of_channel if on_path[row]]
            if len(along) > 1:
                paths[name] = tuple(sorted(along, key=lambda row: int(structures.frames[row])))
        ends = {
            name: (species_in_words(structures, path[0]), species_in_words(structures, path[-1]))
            for name, path in paths.items()
        }
        kept = {name: tuple(of_channel) for name, of_channel in rows.items()}
        return ChannelSet(table, kept, paths, ends, frozenset(held_out))


def species_in_words(structures: Structures, row: int) -> str:
    """What one structure is made of: ``H + O2``."""
    x = structures.positions_of(row)[None].astype(np.float64)
    found = count_species(x, structures.numbers_of(row))
    return " + ".join(
        (f"{int(count[0])} " if count[0] > 1 else "") + name for name, count in found.items()
    )
