"""A scrambled teacher: the negative control in which labels say nothing of their structures.

Energies and forces move together, from one structure to another of the same atoms in the same
order, so that everything that does not need their match stays as it was: how many structures there
are, how distorted, how large energies and the forces on each atom are. The physics is gone.
"""

from __future__ import annotations

import numpy as np

from apps.training.labelled_set import LabelledSet
from data_store.streams import stream

__all__ = ["scrambled"]


def scrambled(labelled: LabelledSet, seed: int) -> tuple[LabelledSet, int]:
    """Structures with the labels of others.

    Parameters
    ----------
    labelled : LabelledSet
    seed : int
        Decides who gets whose: one random ring per kind of structure, so that none of two or more
        keeps its own.

    Returns
    -------
    LabelledSet
    alone : int
        Structures that are the only ones of their kind, and keep their labels.
    """
    _, kinds = np.unique(labelled.numbers.cpu().numpy(), axis=0, return_inverse=True)
    kinds = kinds.reshape(-1)
    donors, alone = np.arange(len(labelled)), 0
    for kind in range(int(kinds.max()) + 1):
        ring = stream(seed, "kind", kind).permutation(np.flatnonzero(kinds == kind))
        donors[ring] = np.roll(ring, 1)
        alone += len(ring) == 1
    given = labelled.take(donors)
    return (
        LabelledSet(labelled.numbers, labelled.positions, given.forces, given.energies),
        alone,
    )
