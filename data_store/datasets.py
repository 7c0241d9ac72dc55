"""`Dataset`: an ordered set of parts with structures, read in blocks or cached into memory.

One structure read alone costs some 250 times one in a block, so nothing here reads single
structures: blocks are drawn in random order, a few are mixed in memory, and batches leave the mix.
What a batch holds is a pure function of (seed, epoch, index), so a resumed reader goes on exactly.
It is known before anything is read, so that a thread can read ahead, and what a resumed reader
passes over is never read.

Memory holds what is asked for, never the data set: see `Dataset.batches`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from data_store.errors import StoreError
from data_store.parts import Part
from data_store.streams import stream
from data_store.structure_parts import StructureReader, count_structures
from data_store.structures import Structures, concatenate

__all__ = ["Dataset", "read_ahead"]

Rows = NDArray[np.int64]

_OPEN_PARTS = 64
"""Parts whose arrays stay open; an open array is some kilobytes and no file."""

_GAP_ROWS, _RUN_ROWS = 512, 4096
"""Rows read for nothing between two that are wanted, and rows read at a time, at most."""

_FEW_ROWS = 64
"""A run of fewer is not worth a read of its own: such rows are read together."""


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
        self._reader = lru_cache(_OPEN_PARTS)(lambda index: StructureReader(self.parts[index]))

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
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        last = int(np.searchsorted(self._starts, stop, side="left"))
        pieces = []
        for index in range(first, last):
            low, high = int(self._starts[index]), int(self._starts[index + 1])
            if low < high:
                rows = max(start, low) - low, min(stop, high) - low
                pieces.append(self._reader(index).read(*rows))
        return pieces[0] if len(pieces) == 1 else concatenate(pieces)

    def take(self, rows: Rows) -> Structures:
        """Structures at `rows`, in that order.

        What lies close together is read together, and memory holds the result twice and one run
        of rows beside it.

        Raises
        ------
        StoreError
            If there are no rows, or one is beyond either end.
        """
        wanted, places = np.unique(np.asarray(rows, dtype=np.int64), return_inverse=True)
        if not len(wanted) or wanted[0] < 0 or wanted[-1] >= len(self):
            said = f"{wanted[0]} to {wanted[-1]}" if len(wanted) else "none"
            raise StoreError(f"rows {said} of a dataset of {len(self)}")
        runs = list(_runs(wanted))
        long = [run for run in runs if len(run) >= _FEW_ROWS]
        few = np.concatenate([wanted[:0], *(run for run in runs if len(run) < _FEW_ROWS)])
        read = concatenate([*map(self._within_run, long), *self._scattered(few)])
        order = np.argsort(np.concatenate([*long, few]))
        return read.take(order[places.reshape(-1)])

    def _within_run(self, run: Rows) -> Structures:
        start, stop = int(run[0]), int(run[-1]) + 1
        read = self.read(start, stop)
        return read if stop - start == len(run) else read.take(run - start)

    def _scattered(self, rows: Rows) -> Iterator[Structures]:
        parts = np.searchsorted(self._starts, rows, side="right") - 1
        for index in np.unique(parts):
            yield self._reader(int(index)).take(rows[parts == index] - self._starts[index])

    def most_atoms(self) -> int:
        """Atoms of the largest structure; offsets alone are read."""
        return max(self._reader(index).most_atoms() for index in range(len(self.parts)))

    def cached(self) -> Structures:
        """All structures in memory."""
        return self.read(0, len(self))

    def blocks(self, block_size: int) -> Iterator[Structures]:
        """All structures in order, `block_size` at a time, the next one read ahead."""
        starts = range(0, len(self), block_size)
        return read_ahead(lambda s: self.read(s, min(s + block_size, len(self))), starts)

    def batches(
        self,
        batch_size: int,
        seed: int,
        epoch: int,
        *,
        first_batch: int = 0,
        block_size: int = 4096,
        blocks_mixed: int = 4,
    ) -> Generator[Structures]:
        """Shuffled batches of one epoch; every structure once, the last batch may be short.

        While the batches of one mix are used, a thread reads the next: memory holds at most about
        four mixes. Batches are views into theirs; copy what is kept, and close what is not read to
        its end.

        Parameters
        ----------
        batch_size : int
        seed, epoch : int
            Decide the order, together with nothing else.
        first_batch : int
            Where to go on; what lies before it is not read.
        block_size, blocks_mixed : int
            Structures per read, and reads shuffled together.
        """
        plan = _mixes(len(self), batch_size, seed, epoch, block_size, blocks_mixed)
        needed = (m for m in plan if m.batches and m.first_batch + m.batches > first_batch)
        for mix, structures in read_ahead(lambda mix: (mix, self.take(mix.rows)), needed):
            for batch in range(max(0, first_batch - mix.first_batch), mix.batches):
                start = batch * batch_size
                yield structures.slice(start, min(start + batch_size, len(structures)))


class _Mix(NamedTuple):
    """Rows of consecutive whole batches (of the last, perhaps a short one), in their order."""

    first_batch: int
    batches: int
    rows: Rows


def _mixes(
    count: int, batch_size: int, seed: int, epoch: int, block_size: int, blocks_mixed: int
) -> Iterator[_Mix]:
    """The mixes of one epoch: a few blocks of a random order, and what the mix before left over."""
    starts = stream(seed, "blocks", epoch).permutation(np.arange(0, count, block_size))
    left_over, made = np.empty(0, dtype=np.int64), 0
    for index, at in enumerate(range(0, len(starts), blocks_mixed)):
        blocks = [
            np.arange(start, min(start + block_size, count))
            for start in starts[at : at + blocks_mixed]
        ]
        rows = np.concatenate([left_over, *blocks])
        rows = rows[stream(seed, "mix", epoch, index).permutation(len(rows))]
        is_last = at + blocks_mixed >= len(starts)
        batches = -(-len(rows) // batch_size) if is_last else len(rows) // batch_size
        yield _Mix(made, batches, rows[: batches * batch_size])
        left_over, made = rows[batches * batch_size :], made + batches


def _runs(rows: Rows) -> Iterator[Rows]:
    """Sorted rows, cut where a gap is too wide to be read too, and into reads of bounded size."""
    for close in np.split(rows, np.flatnonzero(np.diff(rows) > _GAP_ROWS) + 1):
        far = (close - close[0]) // _RUN_ROWS
        yield from np.split(close, np.flatnonzero(np.diff(far)) + 1)


_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


def read_ahead(make: Callable[[_Item], _Made], items: Iterable[_Item]) -> Iterator[_Made]:
    """``make(item)`` for each item, in order, one of them made by a thread ahead of its use."""
    coming = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        pending: deque[Future[_Made]] = deque()
        pending.extend(pool.submit(make, item) for item in islice(coming, 1))
        while pending:
            made = pending.popleft().result()
            pending.extend(pool.submit(make, item) for item in islice(coming, 1))
            yield made
            del made
