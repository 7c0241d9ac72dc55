"""A dense batch as a list of pairs, for networks that know lists alone.

Any module of atoms and edges thus serves training and dynamics of molecules, which come dense. It
depends on values (which pairs are near), so that it cannot be traced.
"""

from __future__ import annotations

import torch

from apps.potential.batch import Batch, DenseBatch, GraphBatch

__all__ = ["listed"]


def listed(batch: Batch, cutoff_A: float) -> GraphBatch:
    """Real atoms and their pairs closer than the cutoff, differentiable in positions.

    Parameters
    ----------
    batch : DenseBatch or GraphBatch
        One with a list is left as it is.
    cutoff_A : float
    """
    if not isinstance(batch, DenseBatch):
        return batch
    x, real = batch.positions, batch.numbers > 0
    atoms = torch.arange(x.shape[1], device=x.device)
    place = real.reshape(-1).cumsum(0).reshape(real.shape) - 1  # among the real atoms
    with torch.no_grad():
        vectors = x.unsqueeze(1) - x.unsqueeze(2)
        # Not "near": positions that are not numbers keep their pairs, and so show in energies.
        beyond = (vectors * vectors).sum(-1) >= cutoff_A**2
        both = real.unsqueeze(1) & real.unsqueeze(2) & (atoms.unsqueeze(1) != atoms)
        which, centre, neighbour = (both & ~beyond).nonzero(as_tuple=True)
    return GraphBatch(
        numbers=batch.numbers[real],
        positions=x[real],
        structure=real.nonzero(as_tuple=True)[0],
        pairs=torch.stack([place[which, centre], place[which, neighbour]]),
        shifts=x.new_zeros(len(which), 3),
        n_structures=len(x),
    )
