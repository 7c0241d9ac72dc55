"""Structures of parts, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from data_store.datasets import Dataset
from data_store.parts import Part
from data_store.structure_parts import count_structures
from data_store.structures import Structures

__all__ = ["BLOCK", "blocks_of"]

BLOCK = 4096
"""Structures of a block."""


def blocks_of(parts: Sequence[Part]) -> Iterator[Structures]:
    """Structures of parts in order; a block never spans two parts."""
    for part in parts:
        if count_structures(part):
            yield from Dataset([part]).blocks(BLOCK)
