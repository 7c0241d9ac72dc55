"""Parameters of MMFF94 or MMFF94s for one molecule, read term by term from RDKit.

MMFF94: Halgren 1996, J. Comput. Chem. 17, 490, doi:10.1002/(SICI)1096-987X(199604)17:5/6<490::AID-JCC1>3.0.CO;2-P.
Units here are MMFF's own (kcal/mol, Å, degrees); nothing is evaluated.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from rdkit.Chem import rdForceFieldHelpers as fields

from apps.sampling.molecule import to_rdkit
from data_store.molecules import Molecule

__all__ = ["MMFF94Terms", "read_terms"]

Term = tuple[tuple[int, ...], tuple[float, ...]]
"""Atoms, and parameters."""


@dataclass(frozen=True)
class MMFF94Terms:
    """All terms of a molecule: atoms and parameters of each.

    Parameters
    ----------
    bonds : kb, r0
    angles, linear_angles : ka, θ0 ; ka
    stretch_bends : k_ij, k_kj, r0_ij, r0_kj, θ0
    out_of_planes : k
    torsions : V1, V2, V3
    pairs : R*, ε, and charge product with the 1-4 factor
    """

    bonds: Sequence[Term]
    angles: Sequence[Term]
    linear_angles: Sequence[Term]
    stretch_bends: Sequence[Term]
    out_of_planes: Sequence[Term]
    torsions: Sequence[Term]
    pairs: Sequence[Term]


def read_terms(molecule: Molecule, variant: str) -> MMFF94Terms:
    """Read the terms of a molecule that MMFF94 can type; `variant` is MMFF94 or MMFF94s."""
    rd = to_rdkit(molecule)
    properties = fields.MMFFGetMoleculeProperties(rd, mmffVariant=variant)
    neighbours = [sorted(n.GetIdx() for n in atom.GetNeighbors()) for atom in rd.GetAtoms()]
    bonds = [
        ((i, j), tuple(properties.GetMMFFBondStretchParams(rd, i, j)[1:]))
        for i, j in molecule.bonds
    ]
    r0 = {frozenset(atoms): values[1] for atoms, values in bonds}
    all_angles = [
        ((i, j, k), tuple(properties.GetMMFFAngleBendParams(rd, i, j, k)[1:]))
        for j, around in enumerate(neighbours)
        for i, k in combinations(around, 2)
    ]
    linear = [(atoms, (v[0],)) for atoms, v in all_angles if v[1] == 180.0]
    bent = [(atoms, v) for atoms, v in all_angles if v[1] != 180.0]
    return MMFF94Terms(
        bonds,
        bent,
        linear,
        list(_stretch_bends(rd, properties, bent, r0)),
        list(_out_of_planes(rd, properties, neighbours)),
        list(_torsions(rd, properties, molecule, neighbours)),
        list(_pairs(properties, molecule)),
    )


def _stretch_bends(
    rd: Any, properties: Any, angles: list[Any], r0: dict[frozenset[int], float]
) -> Iterator[Term]:
    for (i, j, k), (_, theta0) in angles:
        found = properties.GetMMFFStretchBendParams(rd, i, j, k)
        if found is not None:
            near, far = r0[frozenset((i, j))], r0[frozenset((j, k))]
            yield (i, j, k), (found[1], found[2], near, far, theta0)


def _out_of_planes(rd: Any, properties: Any, neighbours: list[list[int]]) -> Iterator[Term]:
    for j, around in enumerate(neighbours):
        if len(around) != 3:
            continue
        i, k, last = around
        constant = properties.GetMMFFOopBendParams(rd, i, j, k, last)
        if constant is not None:
            for atoms in ((i, j, k, last), (i, j, last, k), (k, j, last, i)):
                yield atoms, (float(constant),)


def _torsions(
    rd: Any, properties: Any, molecule: Molecule, neighbours: list[list[int]]
) -> Iterator[Term]:
    for j, k in molecule.bonds:
        for i in neighbours[j]:
            for last in neighbours[k]:
                if i in {k, last} or last == j:
                    continue
                found = properties.GetMMFFTorsionParams(rd, i, j, k, last)
                if found is not None:
                    yield (i, j, k, last), tuple(found[1:4])


def _pairs(properties: Any, molecule: Molecule) -> Iterator[Term]:
    distance = molecule.bond_distance_matrix()
    count = len(molecule.numbers)
    charges = [properties.GetMMFFPartialCharge(i) for i in range(count)]
    for i, j in combinations(range(count), 2):
        if distance[i, j] >= 3:
            radius, depth = properties.GetMMFFVdWParams(i, j)[2:4]
            factor = 0.75 if distance[i, j] == 3 else 1.0
            yield (i, j), (radius, depth, factor * charges[i] * charges[j])
