"""`Coverage`: what structures of each tier reach, counted block by block in constant memory.

Four measures: energy per atom above a zero, norms of forces, the shortest distance of each
structure over the sum of covalent radii, and, where the molecule is known, the length of every bond
over its length at rest. It says where structures are, not whether that is where they should be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from campaign.coverage.distances import alike, all_distances, shortest_contacts
from campaign.coverage.histogram import Histogram, linear, logarithmic
from data_store.molecules import Molecule
from data_store.structures import TIERS, Structures

__all__ = ["MEASURES", "Coverage", "Measure", "TierCoverage", "coverage_of"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """One quantity: its name in words, and empty bins for it."""

    title: str
    bins: Callable[[], Histogram]


MEASURES = {
    "energy_eV_per_atom": Measure(
        "energy above the minimum (eV/atom)", lambda: logarithmic(1e-4, 1e2)
    ),
    "force_eV_per_A": Measure("force on an atom (eV/Å)", lambda: logarithmic(1e-3, 1e4)),
    "shortest_over_radii": Measure(
        "shortest distance / covalent radii", lambda: linear(0.0, 4.0, 800)
    ),
    "bond_stretch": Measure("bond length / at rest", lambda: linear(0.0, 5.0, 1000)),
}
"""By the key that they have in files; for the last two the unit is a ratio."""


@dataclass
class TierCoverage:
    """Structures of one tier, and a histogram of each measure."""

    structures: int = 0
    histograms: dict[str, Histogram] = field(
        default_factory=lambda: {name: measure.bins() for name, measure in MEASURES.items()}
    )

    def row(self) -> dict[str, Any]:
        """Plain data: quantiles of each measure, None where nothing was counted."""
        summaries = {name: histogram.summary() for name, histogram in self.histograms.items()}
        return {"structures": self.structures, **summaries}


class Coverage:
    """Histograms of each tier.

    Parameters
    ----------
    molecule : Molecule, optional
        Whose bonds are measured; structures that are no whole number of copies of it have none.
    """

    def __init__(self, molecule: Molecule | None = None) -> None:
        self._molecule = molecule
        self.tiers: dict[str, TierCoverage] = {}

    def add(self, structures: Structures, zero_eV: Array | float = 0.0) -> None:
        """Count some more.

        Parameters
        ----------
        structures : Structures
        zero_eV : float or ndarray, shape (S,)
            What counts as no energy.
        """
        for code in np.unique(structures.tiers):
            rows = np.flatnonzero(structures.tiers == code)
            zero = np.broadcast_to(zero_eV, len(structures))[rows]
            self._add(
                self.tiers.setdefault(TIERS[code], TierCoverage()), structures.take(rows), zero
            )

    def _add(self, tier: TierCoverage, structures: Structures, zero_eV: Array) -> None:
        found = tier.histograms
        tier.structures += len(structures)
        if structures.energies is not None:
            above = (structures.energies - zero_eV) / structures.atom_counts
            found["energy_eV_per_atom"].add(above)
        if structures.forces is not None:
            forces = structures.forces.astype(np.float64)
            found["force_eV_per_A"].add(np.sqrt((forces**2).sum(-1)))
        for rows in alike(structures):
            same = structures.take(rows)
            if len(same.numbers_of(0)) > 1:
                contacts = shortest_contacts(same.numbers_of(0), all_distances(same))
                found["shortest_over_radii"].add(contacts[0])
            found["bond_stretch"].add(self._stretches(same))

    def _stretches(self, same: Structures) -> Array:
        """Length of every bond over that at rest, of structures of the same atoms."""
        molecule = self._molecule
        if molecule is None or not molecule.bonds:
            return np.zeros(0)
        count, copies = len(molecule.numbers), len(same.numbers_of(0)) / len(molecule.numbers)
        if same.numbers_of(0).tolist() != list(molecule.numbers) * int(copies) or same.pbc.any():
            return np.zeros(0)
        i, j = np.array(molecule.bonds).T
        rest = molecule.reference_positions
        lengths = np.linalg.norm(rest[j] - rest[i], axis=-1)
        x = same.dense_positions().astype(np.float64).reshape(-1, count, 3)
        return np.asarray(np.linalg.norm(x[:, j] - x[:, i], axis=-1) / lengths)

    def rows(self) -> list[dict[str, Any]]:
        """A row of plain data per tier, in the order of their codes."""
        return [{"tier": name, **self.tiers[name].row()} for name in TIERS if name in self.tiers]

    def together(self) -> dict[str, Any]:
        """The row of all tiers together."""
        every = TierCoverage()
        for tier in self.tiers.values():
            every.structures += tier.structures
            for name, histogram in tier.histograms.items():
                every.histograms[name].merge(histogram)
        return every.row()


def coverage_of(blocks: Iterable[Structures], molecule: Molecule | None = None) -> Coverage:
    """Coverage of structures whose energies are above the relaxed minimum."""
    found = Coverage(molecule)
    for block in blocks:
        found.add(block)
    return found
