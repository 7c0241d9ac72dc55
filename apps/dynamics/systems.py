"""`System`: the atoms of all replicas, what is bonded, and the box they are in, where there is one.

A single molecule brings its bonds. Those of a box are those of its molecules: atoms are bonded
where they are nearer than a fraction of the sum of their covalent radii, in the nearest image, and
each connected component must be one of the molecules that the campaign was prepared for. Molecules
are told apart by the colours of Weisfeiler and Lehman (refined by neighbours eight times), which
tell all but some large isomers apart, and so are kinds of bonds: those of one kind have their ends'
colours. All starts of a campaign have the same atoms, box and bonds, or it is told why not.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_store.errors import InputError
from data_store.molecules import Molecule
from data_store.structures import Structures
from data_store.units import COVALENT_RADII_A, SYMBOLS

__all__ = [
    "BONDED_WITHIN",
    "System",
    "bonds_of",
    "reactive_system",
    "reference_lengths",
    "system_of",
]

Array = NDArray[np.float64]
Pairs = NDArray[np.int64]

BONDED_WITHIN = 1.3
"""Atoms nearer than so many times the sum of their covalent radii are bonded: O–H 1.26 Å, H–H
0.81 Å, O–O 1.72 Å."""

_REFINEMENTS = 8


@dataclass(frozen=True)
class System:
    """What all replicas share.

    Parameters
    ----------
    molecules : tuple of Molecule
        The kinds.
    numbers : ndarray of int64, shape (N,)
    bonds : ndarray of int64, shape (M, 2)
        Sorted pairs i < j.
    kinds : tuple of int
        Of each bond of a box; empty where there is none.
    molecule_of : ndarray of int64, shape (N,)
        Which molecule of the box an atom belongs to, numbered from 0.
    cell : ndarray, shape (3, 3), or None
        Rows in Å; None where there is no box.
    """

    molecules: tuple[Molecule, ...]
    numbers: NDArray[np.int64]
    bonds: Pairs
    kinds: tuple[int, ...]
    molecule_of: NDArray[np.int64]
    cell: Array | None


def system_of(molecules: Sequence[Molecule], starts: Structures) -> System:
    """System of these starts.

    Parameters
    ----------
    molecules : sequence of Molecule
        The kinds; one alone where there is no box.
    starts : Structures

    Raises
    ------
    InputError
        If starts differ in what they must share, their box is not periodic in all directions, or a
        component of one is none of the molecules.
    """
    if not starts.pbc.any():
        return _isolated(molecules)
    _refuse_unlike(starts)
    numbers, cell = starts.numbers_of(0).astype(np.int64), np.asarray(starts.cells[0])
    known = {_signature(m.numbers, m.bonds): m for m in molecules}
    bonds = bonds_of(numbers, starts.positions_of(0), cell)
    for index in range(len(starts)):
        found = bonds_of(numbers, starts.positions_of(index), cell)
        if not np.array_equal(found, bonds):
            raise InputError(
                f"start {index} has other bonds than the first: {_differing(found, bonds)}",
                "atoms of a start are bonded where they are closer than "
                f"{BONDED_WITHIN} times the sum of their covalent radii; leave it out",
            )
    components = _components(len(numbers), bonds)
    molecule_of = np.empty(len(numbers), dtype=np.int64)
    for place, atoms in enumerate(components):
        molecule_of[atoms] = place
        _refuse_unknown(numbers, bonds, atoms, known)
    return System(
        tuple(molecules), numbers, bonds, _kinds(numbers, bonds, components), molecule_of, cell
    )


def reactive_system(molecules: Sequence[Molecule], starts: Structures) -> System:
    """System of starts whose bonds may break: none are known, in a box or not.

    Raises
    ------
    InputError
        If starts differ in what they must share, or a box is not periodic in all directions.
    """
    boxed = bool(starts.pbc.any())
    _refuse_unlike(starts, boxed)
    numbers, none = starts.numbers_of(0).astype(np.int64), np.zeros((0, 2), dtype=np.int64)
    cell = np.asarray(starts.cells[0]) if boxed else None
    return System(tuple(molecules), numbers, none, (), np.zeros(len(numbers), np.int64), cell)


def _isolated(molecules: Sequence[Molecule]) -> System:
    if len(molecules) != 1:
        raise InputError(
            f"starts without a periodic box are of one molecule, and {len(molecules)} were "
            f"prepared ({', '.join(m.name for m in molecules)})",
            "give the starts a box, or one molecule",
        )
    (molecule,) = molecules
    bonds = np.array(molecule.bonds, dtype=np.int64).reshape(-1, 2)
    numbers = np.array(molecule.numbers, dtype=np.int64)
    return System((molecule,), numbers, bonds, (), np.zeros(len(numbers), dtype=np.int64), None)


def _refuse_unlike(starts: Structures, boxed: bool = True) -> None:
    hint = "starts of one campaign have the same atoms, in one order, and the same box"
    counts = starts.atom_counts
    for index in range(len(starts)):
        if counts[index] != counts[0] or not np.array_equal(
            starts.numbers_of(index), starts.numbers_of(0)
        ):
            raise InputError(f"start {index} has other atoms than the first", hint)
        if boxed and not starts.pbc[index].all():
            axes = starts.pbc[index].tolist()
            raise InputError(f"the box of start {index} is periodic along {axes}, not all", hint)
        if not np.array_equal(starts.cells[index], starts.cells[0]):
            raise InputError(f"start {index} has another box than the first", hint)


def _refuse_unknown(
    numbers: NDArray[np.int64], bonds: Pairs, atoms: list[int], known: dict[int, Molecule]
) -> None:
    place = {atom: own for own, atom in enumerate(atoms)}
    inner = [(place[i], place[j]) for i, j in bonds.tolist() if i in place]
    if _signature([int(numbers[a]) for a in atoms], inner) in known:
        return
    counted = Counter(SYMBOLS[numbers[a]] for a in atoms)
    formula = "".join(f"{s}{n if n > 1 else ''}" for s, n in sorted(counted.items()))
    raise InputError(
        f"atoms {', '.join(map(str, atoms[:12]))}{' …' if len(atoms) > 12 else ''} of the starts "
        f"are bonded to {formula}, which is none of the molecules "
        f"({', '.join(m.formula for m in known.values())})",
        f"atoms closer than {BONDED_WITHIN} times the sum of their covalent radii are bonded; give "
        "starts in which molecules are whole and apart",
    )


def _differing(one: Pairs, other: Pairs) -> str:
    ours, theirs = ({tuple(pair) for pair in pairs.tolist()} for pairs in (one, other))
    told = [f"{i}–{j} more" for i, j in sorted(ours - theirs)]
    told += [f"{i}–{j} less" for i, j in sorted(theirs - ours)]
    return ", ".join(told[:6]) + (" …" if len(told) > 6 else "")


def bonds_of(numbers: NDArray[np.int64], positions: Array, cell: Array) -> Pairs:
    """Bonded pairs i < j of a structure, (M, 2), in the nearest image.

    Parameters
    ----------
    numbers : ndarray, shape (N,)
    positions : ndarray, shape (N, 3)
        In Å.
    cell : ndarray, shape (3, 3)
        Rows in Å; zeros along directions that are not periodic.
    """
    radii = COVALENT_RADII_A[numbers]
    i, j = np.triu_indices(len(numbers), k=1)
    near = _lengths(positions, np.stack([i, j], 1), cell) < BONDED_WITHIN * (radii[i] + radii[j])
    return np.stack([i[near], j[near]], axis=1).astype(np.int64)


def _lengths(positions: Array, pairs: Pairs, cell: Array) -> Array:
    x = np.asarray(positions, dtype=np.float64)
    vectors = x[pairs[:, 1]] - x[pairs[:, 0]]
    vectors -= np.round(vectors @ np.linalg.pinv(cell)) @ cell
    return np.asarray(np.linalg.norm(vectors, axis=-1))


def reference_lengths(system: System, labels: Structures) -> tuple[Array, int]:
    """Mean length in Å of each bond of a box, by its kind, over labels in boxes or not.

    Returns
    -------
    ndarray, shape (M,)
    int
        Bonds of kinds that no label has: theirs are the lengths in the molecule's own geometry.
    """
    found: dict[int, list[float]] = defaultdict(list)
    for index in range(len(labels)):
        numbers, x = labels.numbers_of(index).astype(np.int64), labels.positions_of(index)
        cell = np.asarray(labels.cells[index]) * labels.pbc[index][:, None]
        _gather(found, numbers, bonds_of(numbers, x, cell), x, cell)
    drawn: dict[int, list[float]] = defaultdict(list)
    for molecule in system.molecules:
        bonds = np.array(molecule.bonds, dtype=np.int64).reshape(-1, 2)
        numbers, x = np.array(molecule.numbers), molecule.reference_positions
        _gather(drawn, numbers, bonds, x, np.zeros((3, 3)))
    means = {kind: float(np.mean(lengths)) for kind, lengths in {**drawn, **found}.items()}
    lengths = np.array([means[kind] for kind in system.kinds], dtype=np.float64)
    return lengths, sum(kind not in found for kind in system.kinds)


def _gather(
    into: dict[int, list[float]], numbers: NDArray[np.int64], bonds: Pairs, x: Array, cell: Array
) -> None:
    kinds = _kinds(numbers, bonds, _components(len(numbers), bonds))
    for kind, length in zip(kinds, _lengths(x, bonds, cell).tolist(), strict=True):
        into[kind].append(length)


def _components(count: int, bonds: Pairs) -> list[list[int]]:
    """Atoms of each connected component, in order of the first of them."""
    beside: list[list[int]] = [[] for _ in range(count)]
    for i, j in bonds.tolist():
        beside[i].append(j)
        beside[j].append(i)
    seen, found = [False] * count, []
    for first in range(count):
        if seen[first]:
            continue
        seen[first], atoms, at = True, [first], 0
        while at < len(atoms):
            new = [a for a in beside[atoms[at]] if not seen[a]]
            for atom in new:
                seen[atom] = True
            atoms += new
            at += 1
        found.append(sorted(atoms))
    return found


def _colours(numbers: Sequence[int], bonds: Sequence[tuple[int, int]]) -> list[int]:
    """Of each atom: its element, refined by the colours of its neighbours.

    Hashes of integers are the same in all processes.
    """
    beside: list[list[int]] = [[] for _ in numbers]
    for i, j in bonds:
        beside[i].append(j)
        beside[j].append(i)
    colours = [hash((int(n),)) for n in numbers]
    for _ in range(_REFINEMENTS):
        colours = [
            hash((own, *sorted(colours[other] for other in others)))
            for own, others in zip(colours, beside, strict=True)
        ]
    return colours


def _signature(numbers: Sequence[int], bonds: Sequence[tuple[int, int]]) -> int:
    return hash(tuple(sorted(_colours(numbers, bonds))))


def _kinds(
    numbers: NDArray[np.int64], bonds: Pairs, components: list[list[int]]
) -> tuple[int, ...]:
    """Kind of each bond: its molecule's signature and the colours of its ends."""
    listed = [(int(i), int(j)) for i, j in bonds]
    colours = _colours(numbers.tolist(), listed)
    whole: dict[int, int] = {}
    for atoms in components:
        signature = hash(tuple(sorted(colours[a] for a in atoms)))
        whole |= dict.fromkeys(atoms, signature)
    return tuple(hash((whole[i], *sorted((colours[i], colours[j])))) for i, j in listed)
