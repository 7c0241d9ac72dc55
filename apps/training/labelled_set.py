"""`LabelledSet`: labelled molecules as tensors, and which of them make up a step.

Held in memory whole: 40,000 structures of 21 atoms are 27 MB. Molecules of different size are
padded. What memory cannot hold is a `apps.training.streamed_set.StreamedSet`; periodic boxes are
`apps.training.labelled_boxes.LabelledBoxes`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apps.potential.batch import AnyBatch, DenseBatch
from data_store.streams import stream
from data_store.structures import Structures

__all__ = ["LabelledSet", "TrainingSet", "rows_of_step"]


class TrainingSet(Protocol):
    """What a training draws its batches from: labelled structures, in memory or not."""

    def __len__(self) -> int: ...

    @property
    def device(self) -> torch.device:
        """Where batches are."""

    @property
    def padded_atoms(self) -> int:
        """Places for atoms in each structure."""

    def take(self, rows: Tensor | NDArray[np.int64]) -> LabelledSet:
        """Some of the structures."""

    def of_step(self, step: int, batch_size: int, seed: int) -> LabelledSet:
        """The batch that belongs to a step (`rows_of_step`)."""


@dataclass(frozen=True)
class LabelledSet:
    """Labelled molecules.

    Parameters
    ----------
    numbers : Tensor of int64, shape (S, N)
        0 is padding.
    positions, forces : Tensor of float32, shape (S, N, 3)
        In Å and eV/Å.
    energies : Tensor of float64, shape (S,)
        In eV.
    """

    numbers: Tensor
    positions: Tensor
    forces: Tensor
    energies: Tensor

    def __len__(self) -> int:
        return len(self.energies)

    @staticmethod
    def of(
        structures: Structures, device: torch.device, padded_atoms: int | None = None
    ) -> LabelledSet:
        """Set of labelled structures, padded to so many atoms or to those of the largest.

        Raises
        ------
        StoreError
            If they carry no energies or forces.
        """
        counts = structures.atom_counts
        row = np.repeat(np.arange(len(structures)), counts)
        column = np.arange(structures.n_atoms) - structures.offsets[row]
        shape = (len(structures), padded_atoms or int(counts.max()))

        def padded(values: NDArray[Any], dtype: type) -> Tensor:
            full = np.zeros((*shape, *values.shape[1:]), dtype=dtype)
            full[row, column] = values
            return torch.from_numpy(full).to(device)

        return LabelledSet(
            padded(structures.numbers, np.int64),
            padded(structures.positions, np.float32),
            padded(structures.labelled_forces(), np.float32),
            torch.from_numpy(structures.labelled_energies().astype(np.float64)).to(device),
        )

    @property
    def device(self) -> torch.device:
        """Where it is held."""
        return self.energies.device

    @property
    def padded_atoms(self) -> int:
        """Places for atoms in each structure."""
        return self.numbers.shape[1]

    def of_step(self, step: int, batch_size: int, seed: int) -> LabelledSet:
        """The batch that belongs to a step."""
        return self.take(rows_of_step(step, batch_size, len(self), seed))

    def take(self, rows: Tensor | NDArray[np.int64]) -> Self:
        """Some of the structures."""
        chosen = torch.as_tensor(rows, device=self.energies.device)
        return type(self)(*(tensor[chosen] for tensor in self.tensors))

    def to(self, device: torch.device) -> Self:
        """Same set on a device."""
        return type(self)(*(tensor.to(device) for tensor in self.tensors))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that it is made of, a row for each structure."""
        return tuple(getattr(self, field.name) for field in fields(self))

    @property
    def batch(self) -> AnyBatch:
        """What a potential is evaluated on."""
        return DenseBatch(self.numbers, self.positions)

    def by_structure(self, forces: Tensor) -> Tensor:
        """Forces of the batch's atoms by structure, (S, N, 3)."""
        return forces

    @property
    def most_at_once(self) -> int:
        """Structures that are evaluated together at most where no gradient of weights is kept."""
        return 128

    def pieces(self) -> tuple[Self, ...]:
        """Pieces whose gradients of weights are made one after the other, and add up."""
        return (self,)

    @property
    def atoms(self) -> Tensor:
        """Number of atoms, padding not counted; stays on the device."""
        return (self.numbers > 0).sum()


@lru_cache(maxsize=4)
def _epoch(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return stream(seed, "epoch", epoch).permutation(count).astype(np.int64)


def rows_of_step(step: int, batch_size: int, count: int, seed: int) -> NDArray[np.int64]:
    """Rows of a step's batch: consecutive places in an endless line of shuffled epochs.

    A pure function: every rank knows the whole batch, and resuming needs the step alone. Batches
    are always full; each epoch holds every row once.
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = places // count
    rows = [
        _epoch(count, seed, epoch)[places[epochs == epoch] % count]
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1)
    ]
    return np.concatenate(rows)
