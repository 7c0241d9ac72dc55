"""`Potential`: what training, dynamics and selection ask of any architecture.

A potential is an `nn.Module` that gives network energies; forces, total energies, files and the ASE
calculator are made from that here, once for all architectures. The shift per element is a buffer in
float64 that the network never sees: at −17,600 eV a float32 step is 2 meV.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from apps.potential.batch import Batch
from data_store.errors import InputError

__all__ = ["Potential"]


class Potential(nn.Module, ABC):
    """Base of all architectures.

    Parameters
    ----------
    architecture, size : str
        As in the registry.
    species : sequence of int
        Atomic numbers that it knows, sorted.
    cutoff_A : float

    Attributes
    ----------
    scale : Tensor, shape ()
        Factor on the network's readout (eV), set from labels; energies are linear in it.
    hyperparameters : mapping of str
        What the network was made with beside size, species and cutoff, as plain JSON; the maker
        takes them by name, and weights files keep them.
    prior : str
        What is added to the network's energy and knows no scale (`apps.potential.prior`).
    shift_eV : Tensor of float64, shape (119,)
        Energy per atom of each element, added outside the network.
    traceable : bool
        Whether the energy of a dense batch (of a table batch, where it takes them) is one sequence
        of tensor operations, the same for all batches of a shape: no branch and no size that
        depends on values. Long work is then compiled (`apps.potential.compiled`).
    tables : bool
        Whether it takes a `TableBatch`. Others are handed a `GraphBatch` instead.
    """

    scale: Tensor
    shift_eV: Tensor
    species_index: Tensor
    hyperparameters: Mapping[str, Any]
    prior: str = "none"
    traceable: bool = False
    tables: bool = False

    def __init__(
        self, architecture: str, size: str, species: Sequence[int], cutoff_A: float
    ) -> None:
        super().__init__()
        self.architecture, self.size, self.cutoff_A = architecture, size, float(cutoff_A)
        self.hyperparameters = {}
        self.species = tuple(sorted({int(number) for number in species}))
        index = torch.full((119,), -1, dtype=torch.int64)
        index[list(self.species)] = torch.arange(len(self.species))
        index[0] = 0  # padding: computed with, then masked
        self.register_buffer("species_index", index, persistent=False)
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("shift_eV", torch.zeros(119, dtype=torch.float64))

    @abstractmethod
    def network_energy(self, batch: Batch) -> Tensor:
        """Energy without shift, in eV, differentiable in positions; shape (structures,).

        That of the network times the scale, plus that of the prior where there is one.
        """

    def energy_features(self, batch: Batch) -> Tensor:
        """What the network's energy is linear in (the last layer's input, summed over atoms).

        Shape (structures, features). Selection asks for it; an architecture may do without.

        Raises
        ------
        InputError
            If the architecture tells none.
        """
        raise InputError(
            f"the potential {self.architecture} tells no features of its energy",
            'labels.select = "committee" asks for forces alone; other strategies for no model',
        )

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the network."""
        return self.scale.dtype

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.scale.device

    def check_species(self, numbers: Tensor) -> None:
        """Refuse atoms of elements that it was not made for.

        Raises
        ------
        InputError
            Naming them.
        """
        unknown = sorted({int(z) for z in numbers.unique()} - {0, *self.species})
        if unknown:
            raise InputError(
                f"the potential knows the elements {list(self.species)}, not {unknown}",
                "train it on structures that hold them",
            )

    def double(self) -> Potential:
        """Compute in float64 (tests, reference values)."""
        return self.to(torch.float64)

    def float(self) -> Potential:
        """Compute in float32; the shift stays in float64."""
        shift = self.shift_eV
        self.to(torch.float32)
        self.shift_eV = shift
        return self
