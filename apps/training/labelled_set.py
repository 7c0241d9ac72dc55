"""`LabelledSet`: labelled structures as tensors, and which of them make up a step.

Held in memory whole: 40,000 structures of 21 atoms are 20 MB. Molecules of different size are
padded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apps.potential.batch import DenseBatch
from data_store.streams import stream
from data_store.structures import Structures

__all__ = ["LabelledSet", "rows_of_step"]


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
    def of(structures: Structures, device: torch.device) -> LabelledSet:
        """Set of labelled structures.

        Raises
        ------
        StoreError
            If they carry no energies or forces.
        """
        counts = structures.atom_counts
        row = np.repeat(np.arange(len(structures)), counts)
        column = np.arange(structures.n_atoms) - structures.offsets[row]
        shape = (len(structures), int(counts.max()))

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

    def take(self, rows: Tensor | NDArray[np.int64]) -> LabelledSet:
        """Some of the structures."""
        chosen = torch.as_tensor(rows, device=self.energies.device)
        return LabelledSet(
            self.numbers[chosen], self.positions[chosen], self.forces[chosen], self.energies[chosen]
        )

    @property
    def batch(self) -> DenseBatch:
        """What a potential is evaluated on."""
        return DenseBatch(self.numbers, self.positions)

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
