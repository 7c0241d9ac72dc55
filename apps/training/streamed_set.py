"""`StreamedSet`: labelled structures that stay on disk, for a training that memory cannot hold.

What each step sees is known beforehand (`apps.training.labelled_set.rows_of_step`), and it is the
same here as in memory, bit by bit. One structure read alone is dear, so the structures of many
steps to come, a window, are read together in the order in which they lie on disk, by a thread,
while the window before is trained on. An epoch thus reads the data about as often as there are
windows in it. Beside windows memory holds some 50 bytes of row numbers for each structure.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise
from types import TracebackType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apps.training.labelled_set import LabelledSet, rows_of_step
from data_store.datasets import Dataset, read_ahead
from data_store.errors import StoreError

__all__ = ["StreamedSet", "bytes_of_structure"]

Rows = NDArray[np.int64]

_PIECE = 8192
"""Structures read before it is asked whether to go on."""

_FIRST_WINDOW = 1024
"""Structures of the first window."""

_CPU = torch.device("cpu")


def bytes_of_structure(padded_atoms: int) -> int:
    """Bytes of a structure in a `LabelledSet`."""
    return padded_atoms * (8 + 12 + 12) + 8


class _Window(NamedTuple):
    """Steps first to stop, and their batches end to end."""

    first: int
    stop: int
    structures: LabelledSet


class StreamedSet:
    """Some rows of a data set, as a training needs them; to be closed by ``with``.

    Parameters
    ----------
    dataset : Dataset
    rows : (S,) int64
        Structures to train on; their places in here are what steps draw.
    steps : int
        Of the training; nothing is read ahead beyond.
    memory_bytes : float
        Of two windows together: the one in use and the one that is read.
    device : torch.device
        Of windows and batches.
    """

    def __init__(
        self, dataset: Dataset, rows: Rows, steps: int, memory_bytes: float, device: torch.device
    ) -> None:
        self._dataset, self._rows, self._steps = dataset, rows, steps
        self._device, self._atoms = device, dataset.most_atoms()
        self._window_structures = int(memory_bytes / (2 * bytes_of_structure(self._atoms)))
        self._closed = threading.Event()
        self._coming: Iterator[_Window] = iter(())
        self._window: _Window | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def __enter__(self) -> StreamedSet:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()
        self._coming, self._window = iter(()), None

    @property
    def device(self) -> torch.device:
        """Where batches are."""
        return self._device

    @property
    def padded_atoms(self) -> int:
        """Places for atoms in each structure."""
        return self._atoms

    def take(self, rows: Tensor | NDArray[np.int64]) -> LabelledSet:
        """Some of the structures, read now.

        Raises
        ------
        StoreError
            If they cannot be read, or the set was closed.
        """
        chosen = self._rows[np.asarray(rows)]
        order = np.argsort(chosen, kind="stable")
        full = LabelledSet(
            torch.zeros(len(chosen), self._atoms, dtype=torch.int64),
            torch.zeros(len(chosen), self._atoms, 3),
            torch.zeros(len(chosen), self._atoms, 3),
            torch.zeros(len(chosen), dtype=torch.float64),
        )
        for start in range(0, len(chosen), _PIECE):
            if self._closed.is_set():
                raise StoreError("the set of structures was closed while it was read")
            places = order[start : start + _PIECE]
            read = LabelledSet.of(self._dataset.take(chosen[places]), _CPU, self._atoms)
            for name in ("numbers", "positions", "forces", "energies"):
                getattr(full, name).numpy()[places] = getattr(read, name).numpy()
        return full.to(self._device)

    def of_step(self, step: int, batch_size: int, seed: int) -> LabelledSet:
        """The batch that belongs to a step; steps in order are read ahead.

        Raises
        ------
        StoreError
            If structures cannot be read.
        """
        first, _, structures = self._window_of(step, batch_size, seed)
        start = (step - first) * batch_size
        return structures.take(np.arange(start, start + batch_size))

    def _window_of(self, step: int, batch_size: int, seed: int) -> _Window:
        window = self._window
        if window is None or not window.first <= step < window.stop:
            self._window = window = None  # gone before the next but one is begun to be read
            window = next(self._coming, None)
        if window is None or not window.first <= step < window.stop:
            self._coming = self._windows(step, batch_size, seed)
            window = next(self._coming)
        self._window = window
        return window

    def blocks(self) -> Iterator[LabelledSet]:
        """All structures once, in the order of the disk, some thousands at a time."""
        ordered = np.argsort(self._rows)
        return read_ahead(self.take, np.split(ordered, np.arange(_PIECE, len(ordered), _PIECE)))

    def _windows(self, step: int, batch_size: int, seed: int) -> Iterator[_Window]:
        """Windows of consecutive steps from one on, each read while the one before is in use.

        The first is small, so that it is there soon.
        """
        steps = max(1, self._window_structures // batch_size)
        second = step + min(steps, -(-_FIRST_WINDOW // batch_size))
        bounds = [step, *range(second, self._steps, steps), max(step + 1, self._steps)]

        def window(bounds: tuple[int, int]) -> _Window:
            drawn = [rows_of_step(s, batch_size, len(self), seed) for s in range(*bounds)]
            return _Window(*bounds, self.take(np.concatenate(drawn)))

        return read_ahead(window, pairwise(bounds))
