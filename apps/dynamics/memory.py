r"""Forces of as many replicas at once as memory holds.

On a GPU the largest memory taken by an evaluation of n replicas is measured at two sizes, and taken
to be

.. math:: M(n) = a + b n

of which no more than a share of what is free is used: so many replicas, from however many blocks,
go through the potential at once, in even parts. Nothing is measured on a host, where what is
evaluated as one piece is evaluated so to the bit (how many workers a machine holds is the
conductor's business). Where memory runs out all the same, on either, parts become half as large,
down to one replica; that is counted and told. Which replicas belong to a block is never touched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from apps.memory import ran_out_of_memory
from data_store.errors import LostError

__all__ = ["FittingForces", "most_rows"]

_FIRST_SHARE = 4
"""The first evaluation is of one in so many of the replicas that are asked for."""

_USED = 0.8
"""Share of the free memory that is used: allocators waste some, and others may come."""


def most_rows(measured: dict[int, int], free: int) -> int | None:
    """Rows at which the memory that was measured at some numbers of rows reaches what is free.

    Parameters
    ----------
    measured : dict of int to int
        Largest memory in bytes, by rows. With one size alone, all of it is taken to grow.
    free : int
        In bytes.

    Returns
    -------
    int or None
        At least 1; None where memory does not grow with rows.
    """
    (few, little), *_, (many, much) = [(0, 0), *sorted(measured.items())][-2:]
    slope = (much - little) / (many - few)
    return None if slope <= 0.0 else max(1, int(many + (free - much) / slope))


class FittingForces:
    """From positions (R, N, 3) to energies (R,) and forces, in as few parts as memory allows.

    Parameters
    ----------
    function : callable
        Forces of any number of replicas, each apart from the others, from positions and whatever
        else there is a row of for each.
    device : torch.device

    Attributes
    ----------
    backed_off : int
        How often memory ran out.
    most_at_once : int
        Replicas of the largest evaluation so far.
    limit : int or None
        Replicas that are evaluated at once since memory ran out.

    Raises
    ------
    LostError
        On a call: if there is not the memory for one replica.
    """

    def __init__(
        self, function: Callable[..., tuple[Tensor, Tensor]], device: torch.device
    ) -> None:
        self._function, self._device = function, device
        self._measured: dict[int, int] = {}
        self.limit: int | None = None
        self._modelled: int | None = None
        self.backed_off = self.most_at_once = 0

    def __call__(self, positions: Tensor, *beside: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        found: list[tuple[Tensor, Tensor]] = []
        done = 0
        while done < len(positions):
            rows = slice(done, done + self._rows(len(positions), len(positions) - done))
            part = positions[rows]
            answer = self._tried(part, *(of_rows[rows] for of_rows in beside))
            if answer is not None:
                found.append(answer)
                done += len(part)
        if len(found) == 1:
            return found[0]
        return torch.cat([e for e, _ in found]), torch.cat([f for _, f in found])

    def _rows(self, count: int, left: int) -> int:
        """Rows of the next part: what is left in even parts of what is allowed."""
        allowed = self._allowed(count)
        return -(-left // -(-left // allowed))

    def _allowed(self, count: int) -> int:
        limit = count if self.limit is None else self.limit
        if self._device.type != "cuda":
            return limit
        if not self._measured:
            return min(limit, -(-count // _FIRST_SHARE))
        return limit if self._modelled is None else min(limit, self._modelled)

    def _tried(self, positions: Tensor, *beside: Tensor) -> tuple[Tensor, Tensor] | None:
        """Energies and forces; None where there was no memory for them."""
        rows = len(positions)
        try:
            with self._measuring(rows):
                answer = self._function(positions, *beside)
        except (RuntimeError, MemoryError) as error:
            if not ran_out_of_memory(error):
                raise
            if rows == 1:
                raise LostError(
                    f"out of memory: forces of one replica of {positions.shape[1]} atoms ({error})",
                    "give each worker more memory, or take a smaller potential",
                ) from error
        else:
            self.most_at_once = max(self.most_at_once, rows)
            return answer
        # Outside of the handler, where nothing holds on to what the evaluation had.
        self.limit, self.backed_off = rows // 2, self.backed_off + 1
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    @contextlib.contextmanager
    def _measuring(self, rows: int) -> Iterator[None]:
        """Take down the largest memory, at sizes not seen before, on a GPU."""
        if self._device.type != "cuda" or rows in self._measured or len(self._measured) >= 2:
            yield
            return
        before = torch.cuda.memory_allocated(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        yield
        self._measured[rows] = torch.cuda.max_memory_allocated(self._device) - before
        self._modelled = most_rows(self._measured, self._free())

    def _free(self) -> int:
        """Bytes that evaluations may take: free ones of the card, and those that torch keeps."""
        free, _ = torch.cuda.mem_get_info(self._device)
        kept = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return int(_USED * (free + kept))
