"""What a trained potential says of many isolated structures, as numpy arrays: for selection.

A few thousand structures once, as the potential is defined; dynamics and training have ways of
their own.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from apps.potential.batch import DenseBatch
from apps.potential.evaluate import energies_and_forces
from apps.potential.protocol import Potential
from data_store.errors import InputError
from data_store.structures import Structures

__all__ = ["energy_features", "forces"]

_ROWS = 128


def energy_features(potential: Potential, structures: Structures) -> NDArray[np.float64]:
    """Features of each structure (`Potential.energy_features`), shape (S, F).

    Raises
    ------
    InputError
        If the potential tells none, or a structure is periodic or of unknown elements.
    """
    with torch.no_grad():
        found = [potential.energy_features(batch) for batch in _batches(potential, structures)]
    return torch.cat(found).double().cpu().numpy()


def forces(potential: Potential, structures: Structures) -> NDArray[np.float64]:
    """Forces on the atoms of each structure in eV/Å, shape (S, N, 3).

    Raises
    ------
    InputError
        If a structure is periodic or of unknown elements.
    """
    found = [energies_and_forces(potential, b)[1] for b in _batches(potential, structures)]
    return torch.cat(found).double().cpu().numpy()


def _batches(potential: Potential, structures: Structures) -> Iterator[DenseBatch]:
    """Structures of one number of atoms, some at a time."""
    if structures.pbc.any():
        raise InputError(
            "a model is asked of isolated structures, and these are periodic",
            'labels.select = "random" and "energy_stratified" take periodic structures',
        )
    positions = torch.from_numpy(structures.dense_positions().astype(np.float64))
    numbers = torch.from_numpy(structures.numbers.reshape(positions.shape[:2]).astype(np.int64))
    potential.check_species(numbers)
    both = (tensor.to(potential.device).split(_ROWS) for tensor in (numbers, positions))
    return (DenseBatch(*batch) for batch in zip(*both, strict=True))
