"""Structures as tensors, made once: what batches are cut from.

Molecules of equal size are dense without padding; of mixed sizes, padded with atomic number 0.
Energies stay in float64 until the shift is taken off. Periodic structures are refused here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from apps.potential.batch import DenseBatch
from data_store.errors import InputError
from data_store.structures import Structures

__all__ = ["TrainingData", "make_data"]


@dataclass(frozen=True)
class TrainingData:
    """Labelled structures, padded to N atoms.

    Parameters
    ----------
    numbers : Tensor of int64, shape (S, N)
        Atomic numbers, 0 is padding.
    positions : Tensor, shape (S, N, 3)
        In Å.
    energies : Tensor of float64, shape (S,)
        In eV, as labelled.
    forces : Tensor, shape (S, N, 3)
        In eV/Å; zero on padding.
    atom_counts : Tensor of int64, shape (S,)
    """

    numbers: Tensor
    positions: Tensor
    energies: Tensor
    forces: Tensor
    atom_counts: Tensor

    def __len__(self) -> int:
        return int(self.numbers.shape[0])

    @property
    def species(self) -> tuple[int, ...]:
        """Elements that occur, sorted."""
        return tuple(sorted({int(z) for z in self.numbers.unique()} - {0}))

    @property
    def composition(self) -> Tensor:
        """Atoms of each element in each structure; float64, shape (S, 119)."""
        one = torch.ones_like(self.numbers, dtype=torch.float64)
        counts = torch.zeros(len(self), 119, dtype=torch.float64, device=self.numbers.device)
        counts.scatter_add_(1, self.numbers, one)
        counts[:, 0] = 0.0
        return counts

    def take(self, rows: Tensor) -> TrainingData:
        """Some of the structures."""
        return TrainingData(
            self.numbers[rows],
            self.positions[rows],
            self.energies[rows],
            self.forces[rows],
            self.atom_counts[rows],
        )

    def batch(self) -> DenseBatch:
        """All of them as one batch."""
        return DenseBatch(self.numbers, self.positions)

    def chunks(self, size: int) -> list[TrainingData]:
        """All of them, `size` at a time, in order."""
        rows = torch.arange(len(self), device=self.numbers.device)
        return [self.take(part) for part in rows.split(size)]

    def to(self, device: torch.device, dtype: torch.dtype) -> TrainingData:
        """On a device, with positions and forces in a precision."""
        moved = {name: getattr(self, name).to(device) for name in self.__dataclass_fields__}
        data = TrainingData(**moved)
        return replace(data, positions=data.positions.to(dtype), forces=data.forces.to(dtype))


def make_data(structures: Structures, source: str) -> TrainingData:
    """Tensors of labelled structures, on the CPU.

    Parameters
    ----------
    structures : Structures
        With energies and forces.
    source : str
        What messages call them.

    Raises
    ------
    InputError
        If there are none, energies or forces are absent, or a structure is periodic.
    """
    if len(structures) == 0:
        raise InputError(f"{source} holds no structures", "training needs at least one")
    if structures.energies is None or structures.forces is None:
        raise InputError(f"{source} holds no energies and forces", "label the structures first")
    if bool(structures.pbc.any()):
        raise InputError(
            f"{source} holds periodic structures", "training takes isolated molecules only"
        )
    counts = structures.atom_counts
    places = _places(structures.offsets)
    shape = (len(structures), int(counts.max()))
    numbers = np.zeros(shape, dtype=np.int64)
    positions = np.zeros((*shape, 3), dtype=structures.positions.dtype)
    forces = np.zeros((*shape, 3), dtype=structures.forces.dtype)
    numbers[places], positions[places] = structures.numbers, structures.positions
    forces[places] = structures.forces
    return TrainingData(
        torch.from_numpy(numbers),
        torch.from_numpy(positions),
        torch.from_numpy(structures.energies.astype(np.float64)),
        torch.from_numpy(forces),
        torch.from_numpy(counts.astype(np.int64)),
    )


def _places(offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Structure and place within it of each atom."""
    counts = np.diff(offsets)
    structure = np.repeat(np.arange(len(counts)), counts)
    return structure, np.arange(int(offsets[-1])) - np.repeat(offsets[:-1], counts)
