"""The thermostat's noise: a function of seed, step and replica alone, drawn on the host.

All devices see the same numbers, and who has left a batch, how long segments are, and where a run
was interrupted leave no trace in them. For a GPU the noise of the next segment is drawn, and copied
there, while it computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import torch
from torch import Tensor

from data_store.streams import stream

__all__ = ["NOISE_CHUNK", "Noise", "noise_of_steps"]

NOISE_CHUNK = 20
"""Steps whose noise one generator draws. Another value is other random numbers."""


def noise_of_steps(seed: int, first: int, steps: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers of some steps.

    Parameters
    ----------
    seed : int
    first, steps : int
    shape : tuple of int
        Of one step: (replicas, atoms, 3).

    Returns
    -------
    Tensor of float64, shape (steps, *shape)
    """
    chunks = range(first // NOISE_CHUNK, (first + steps - 1) // NOISE_CHUNK + 1)
    drawn = [
        torch.from_numpy(stream(seed, "noise", chunk).standard_normal((NOISE_CHUNK, *shape)))
        for chunk in chunks
    ]
    offset = first - chunks.start * NOISE_CHUNK
    return torch.cat(drawn)[offset : offset + steps]


class Noise:
    """Noise of one segment after the other, for as long as the block lasts.

    Parameters
    ----------
    seed : int
    shape : tuple of int
        Of one step.
    segments : sequence of (int, int)
        First step and number of steps of each.
    device : torch.device
        Where it is wanted.
    ahead : bool
        Whether another thread draws the next segment's while one is used.
    """

    def __init__(
        self,
        seed: int,
        shape: tuple[int, ...],
        segments: Sequence[tuple[int, int]],
        device: torch.device,
        *,
        ahead: bool,
    ) -> None:
        self._seed, self._shape, self._device = seed, shape, device
        self._segments = list(reversed(segments))
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._thread = ThreadPoolExecutor(1) if ahead and segments else None
        self._coming = self._thread.submit(self._draw) if self._thread else None

    def __enter__(self) -> Noise:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread:
            self._thread.shutdown(cancel_futures=True)

    def next(self) -> Tensor:
        """Noise of the next segment, shape (steps, *shape)."""
        if self._thread is None or self._coming is None:
            return self._draw()
        drawn = self._coming.result()
        if drawn.is_cuda:  # made on another stream: its memory must outlast its use on this one
            drawn.record_stream(torch.cuda.current_stream(self._device))
        self._coming = self._thread.submit(self._draw) if self._segments else None
        return drawn

    def _draw(self) -> Tensor:
        first, steps = self._segments.pop()
        drawn = noise_of_steps(self._seed, first, steps, self._shape)
        if self._stream is None:
            return drawn.to(self._device)
        with torch.cuda.stream(self._stream):
            there = drawn.to(self._device)
        self._stream.synchronize()
        return there
