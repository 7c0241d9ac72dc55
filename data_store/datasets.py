"""`Dataset`: an ordered set of parts with structures, read in blocks or cached into memory.

One structure read alone costs some 250 times one in a block, so nothing here reads single
structures: blocks are drawn in random order, a few are mixed in memory, and batches leave the mix.
What a batch holds is a pure function of (seed, epoch, index), so a resumed reader goes on exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from data_store.errors import StoreError
from data_store.parts import Part
from data_store.streams import stream
from data_store.structure_parts import count_structures, read_structures
from data_store.structures import Structures, concatenate

__all__ = ["Dataset"]


class Dataset:
    """Structures of several parts, in the order of the parts.

    Parameters
    ----------
    parts : sequence of Part

    Raises
    ------
    StoreError
        If there is no part.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        if not parts:
            raise StoreError("a dataset needs at least one part")
        self.parts = tuple(parts)
        counts = [count_structures(part) for part in parts]
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, start: int, stop: int) -> Structures:
        """Structures start to stop, across part boundaries.

        Raises
        ------
        StoreError
            If the range is empty or beyond the end.
        """
        if not 0 <= start < stop <= len(self):
            raise StoreError(f"rows {start}:{stop} of a dataset of {len(self)}")
        pieces = []
        for part, low, high in zip(self.parts, self._starts, self._starts[1:], strict=False):
            first, last = max(start, int(low)), min(stop, int(high))
            if first < last:
                pieces.append(read_structures(part, first - int(low), last - int(low)))
        return concatenate(pieces)

    def cached(self) -> Structures:
        """All structures in memory."""
        return self.read(0, len(self))

    def blocks(self, block_size: int) -> Iterator[Structures]:
        """All structures in order, `block_size` at a time."""
        for start in range(0, len(self), block_size):
            yield self.read(start, min(start + block_size, len(self)))

    def batches(
        self,
        batch_size: int,
        seed: int,
        epoch: int,
        *,
        first_batch: int = 0,
        block_size: int = 4096,
        blocks_mixed: int = 4,
    ) -> Iterator[Structures]:
        """Shuffled batches of one epoch; every structure once, the last batch may be short.

        Parameters
        ----------
        batch_size : int
        seed, epoch : int
            Decide the order, together with nothing else.
        first_batch : int
            Where to go on; what lies before it is read and passed over.
        block_size, blocks_mixed : int
            Structures per read, and reads shuffled together: the mix is what memory must hold.
        """
        starts = stream(seed, "blocks", epoch).permutation(np.arange(0, len(self), block_size))
        groups = [starts[i : i + blocks_mixed] for i in range(0, len(starts), blocks_mixed)]
        left_over: Structures | None = None
        made = 0
        for index, group in enumerate(groups):
            sizes = [min(int(s) + block_size, len(self)) - int(s) for s in group]
            carried = 0 if left_over is None else len(left_over)
            ready, is_last = carried + sum(sizes), index == len(groups) - 1
            count = -(-ready // batch_size) if is_last else ready // batch_size
            rows = self._mix(group, block_size, left_over, seed, epoch, index)
            for batch in range(count):
                if made + batch >= first_batch:
                    yield rows.take(_rows_of(batch, batch_size, len(rows)))
            made += count
            rest = np.arange(count * batch_size, len(rows))
            left_over = rows.take(rest) if len(rest) else None

    def _mix(
        self,
        group: NDArray[np.int64],
        block_size: int,
        left_over: Structures | None,
        seed: int,
        epoch: int,
        index: int,
    ) -> Structures:
        read = [self.read(int(s), min(int(s) + block_size, len(self))) for s in group]
        mixed = concatenate(([left_over] if left_over is not None else []) + read)
        return mixed.take(stream(seed, "mix", epoch, index).permutation(len(mixed)))


def _rows_of(batch: int, batch_size: int, count: int) -> NDArray[np.int64]:
    return np.arange(batch * batch_size, min((batch + 1) * batch_size, count))
