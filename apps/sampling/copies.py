"""Two copies of a molecule as one: what a force field needs to see both at once."""

from __future__ import annotations

import numpy as np

from data_store.molecules import Molecule

__all__ = ["two_copies"]

_GAP_A = 20.0
"""Space between the copies of the reference geometry: far beyond any bond."""


def two_copies(molecule: Molecule) -> Molecule:
    """Two copies far apart, the second one's atoms after the first one's.

    Spins are parallel: of all multiplicities of the pair it is the one that always exists.
    """
    count, first = len(molecule.numbers), molecule.reference_positions
    shift = np.array([np.ptp(first[:, 0]) + _GAP_A, 0.0, 0.0])
    return Molecule(
        name=f"two of {molecule.name}",
        numbers=molecule.numbers * 2,
        bonds=molecule.bonds + tuple((i + count, j + count) for i, j in molecule.bonds),
        bond_orders=molecule.bond_orders * 2,
        formal_charges=molecule.formal_charges * 2,
        multiplicity=2 * molecule.multiplicity - 1,
        reference_positions=np.concatenate([first, first + shift]),
    )
