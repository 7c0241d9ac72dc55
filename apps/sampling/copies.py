"""Two molecules as one: what a force field needs to see both at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from data_store.molecules import Molecule

__all__ = ["joined", "two_copies"]

_GAP_A = 20.0
"""Space between the copies of the reference geometry: far beyond any bond."""


def two_copies(molecule: Molecule) -> Molecule:
    """Two copies far apart, the second one's atoms after the first one's.

    Spins are parallel: of all multiplicities of the pair it is the one that always exists.
    """
    return replace(joined(molecule, molecule), name=f"two of {molecule.name}")


def joined(first: Molecule, second: Molecule) -> Molecule:
    """Two molecules far apart, the second one's atoms after the first one's; spins parallel."""
    count, x = len(first.numbers), first.reference_positions
    shift = np.array([np.ptp(x[:, 0]) + _GAP_A, 0.0, 0.0])
    return Molecule(
        name=f"{first.name} with {second.name}",
        numbers=first.numbers + second.numbers,
        bonds=first.bonds + tuple((i + count, j + count) for i, j in second.bonds),
        bond_orders=first.bond_orders + second.bond_orders,
        formal_charges=first.formal_charges + second.formal_charges,
        multiplicity=first.multiplicity + second.multiplicity - 1,
        reference_positions=np.concatenate([x, second.reference_positions + shift]),
    )
