"""Everything that `campaign inspect` says of a dataset, as plain data; read twice, in blocks.

The first reading finds the lowest energy of each formula, which counts as zero: energies of other
formulae, and of other methods, are not compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from campaign.coverage.distances import alike, all_distances, shortest_contacts
from campaign.coverage.duplicates import MOST_COMPARED, NEAR_A, Duplicates
from campaign.coverage.measures import Coverage
from data_store.formulas import hill_formula
from data_store.molecules import Molecule
from data_store.structures import Structures
from data_store.units import SYMBOLS

__all__ = ["WORST", "Inspection", "formula_of", "inspect_structures"]

WORST = 10
"""Structures with the shortest contacts that are told."""


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Parameters
    ----------
    found : dict
        Plain data.
    coverage : Coverage
        What figures are drawn from.
    """

    found: dict[str, Any]
    coverage: Coverage


def formula_of(numbers: NDArray[Any]) -> str:
    """Composition in Hill order (C, H, then the rest)."""
    return hill_formula(Counter(SYMBOLS[int(number)] for number in numbers))


def inspect_structures(
    blocks: Callable[[], Iterable[Structures]], molecule: Molecule | None = None
) -> Inspection:
    """Look at all structures.

    Parameters
    ----------
    blocks : callable
        Gives the blocks in order; called twice.
    molecule : Molecule, optional
        Whose bonds are measured.
    """
    lowest = _lowest(blocks())
    coverage, duplicates, worst = Coverage(molecule), Duplicates(), _Worst()
    elements: Counter[str] = Counter()
    formulae: Counter[str] = Counter()
    unlabelled: Counter[str] = Counter()
    first = 0
    for block in blocks():
        names = _formulae(block)
        zero = np.array([lowest.get(name, 0.0) for name in names])
        coverage.add(block, zero)
        duplicates.add(block)
        worst.add(block, first)
        formulae.update(names)
        for number, count in zip(*np.unique(block.numbers, return_counts=True), strict=True):
            elements[SYMBOLS[int(number)]] += int(count)
        unlabelled["energies"] += len(block) if block.energies is None else 0
        unlabelled["forces"] += len(block) if block.forces is None else 0
        first += len(block)
    found = {
        "structures": first,
        "atoms": sum(elements.values()),
        "elements": dict(sorted(elements.items())),
        "formulae": dict(formulae.most_common()),
        "without_energies": unlabelled["energies"],
        "without_forces": unlabelled["forces"],
        "lowest_energy_eV": lowest,
        "all": coverage.together(),
        "tiers": coverage.rows(),
        "shortest_contacts": worst.rows,
        "duplicates": {
            "exact": duplicates.exact(),
            "near": duplicates.near(),
            "near_below_A": NEAR_A,
            "compared": duplicates.compared,
            "most_compared": MOST_COMPARED,
        },
    }
    return Inspection(found, coverage)


def _formulae(block: Structures) -> list[str]:
    names: dict[bytes, str] = {}
    found = []
    for row in range(len(block)):
        numbers = block.numbers_of(row)
        key = numbers.tobytes()
        if key not in names:
            names[key] = formula_of(numbers)
        found.append(names[key])
    return found


def _lowest(blocks: Iterable[Structures]) -> dict[str, float]:
    """Lowest energy of each formula."""
    found: dict[str, float] = {}
    for block in blocks:
        if block.energies is None:
            continue
        for name, energy in zip(_formulae(block), block.energies.tolist(), strict=True):
            found[name] = min(found.get(name, np.inf), energy)
    return found


class _Worst:
    """Structures with the shortest contacts over covalent radii."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, block: Structures, first: int) -> None:
        self.rows = sorted(
            [*self.rows, *self._of(block, first)], key=lambda row: row["over_radii"]
        )[:WORST]

    def _of(self, block: Structures, first: int) -> Iterator[dict[str, Any]]:
        for rows in alike(block):
            same = block.take(rows)
            numbers = same.numbers_of(0)
            if len(numbers) < 2:
                continue
            ratios, distances, i, j = shortest_contacts(numbers, all_distances(same))
            for at in np.argsort(ratios, kind="stable")[:WORST].tolist():
                pair = (int(i[at]), int(j[at]))
                yield {
                    "structure": first + int(rows[at]),
                    "atoms": list(pair),
                    "elements": [SYMBOLS[int(numbers[a])] for a in pair],
                    "distance_A": float(distances[at]),
                    "over_radii": float(ratios[at]),
                }
