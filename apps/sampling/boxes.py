"""Periodic boxes: so many molecules at a density, in any orientation, none overlapping.

Molecules are put on the points of a lattice, shuffled, turned at random; where two are too close
both give way, as rigid bodies, until none are. So a box is dense and disordered, its molecules have
the shapes that they had alone, and dynamics can start: it is not at equilibrium, and knows nothing
of energies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from data_store.errors import InputError, MethodError
from data_store.molecules import Molecule
from data_store.units import COVALENT_RADII_A, AMU_PER_A3_g_per_cm3, ATOMIC_MASSES_amu

__all__ = [
    "BEYOND_BONDS_A",
    "PackedBox",
    "box_edges",
    "contacts",
    "cubic_edge",
    "density_of",
    "pack",
]

Array = NDArray[np.float64]

BEYOND_BONDS_A = 1.0
"""Atoms of two molecules are at least so much farther apart than a bond of theirs would be long:
O–O 2.3 Å, O–H 2.0 Å, H–H 1.6 Å, C–C 2.5 Å; about what a hot liquid visits."""

_MARGIN_A = 0.05
"""Aimed at beyond that, so that the aim is met in finitely many steps."""

_STEPS = 2_000
_JITTER = 0.15
"""Shift of a molecule from its point of the lattice, over the lattice's spacing."""


@dataclass(frozen=True)
class PackedBox:
    """A periodic box.

    Parameters
    ----------
    numbers : ndarray, shape (N,)
        Atomic numbers: kind by kind, molecule by molecule, each in its own order of atoms.
    positions : ndarray, shape (N, 3)
        In Å; molecules are whole, with their centres in the box.
    edges_A : ndarray, shape (3,)
    molecule_of : ndarray of int64, shape (N,)
        Which molecule an atom belongs to, numbered from 0.
    """

    numbers: NDArray[np.int64]
    positions: Array
    edges_A: Array
    molecule_of: NDArray[np.int64]


def density_of(molecules: Sequence[Molecule], counts: Sequence[int], edges_A: Array) -> float:
    """Density of a box in g/cm³."""
    return _mass_amu(molecules, counts) / float(np.prod(edges_A)) * AMU_PER_A3_g_per_cm3


def cubic_edge(
    molecules: Sequence[Molecule], counts: Sequence[int], density_g_per_cm3: float
) -> float:
    """Edge of the cube, in Å, that so many molecules fill at a density."""
    volume = _mass_amu(molecules, counts) * AMU_PER_A3_g_per_cm3 / density_g_per_cm3
    return float(np.cbrt(volume))


def box_edges(
    molecules: Sequence[Molecule],
    counts: Sequence[int],
    density_g_per_cm3: float | None,
    edges_A: Sequence[float] | None,
) -> Array:
    """Edges (3,) in Å that are given, or those of the cube of that density.

    Raises
    ------
    InputError
        If neither is given.
    """
    if edges_A is not None:
        return np.array(edges_A, dtype=np.float64)
    if density_g_per_cm3 is None:
        raise InputError(
            "a box has either a density or edges, and none is given",
            "give system.density_g_per_cm3 or system.box_A",
        )
    return np.full(3, cubic_edge(molecules, counts, density_g_per_cm3))


def _mass_amu(molecules: Sequence[Molecule], counts: Sequence[int]) -> float:
    masses = [float(ATOMIC_MASSES_amu[list(molecule.numbers)].sum()) for molecule in molecules]
    return float(np.dot(masses, counts))


def pack(
    molecules: Sequence[Molecule],
    counts: Sequence[int],
    edges_A: Array,
    rng: np.random.Generator,
) -> PackedBox:
    """Fill a box.

    Parameters
    ----------
    molecules : sequence of Molecule
        The kinds, with the geometry that each is to have.
    counts : sequence of int
        Of each.
    edges_A : ndarray, shape (3,)
    rng : numpy.random.Generator

    Raises
    ------
    InputError
        If a molecule is longer than the box: it would touch its own image.
    MethodError
        If some still overlap at the end: the box is too dense.
    """
    edges = np.asarray(edges_A, dtype=np.float64)
    shapes = [shape for m, n in zip(molecules, counts, strict=True) for shape in [_centred(m)] * n]
    numbers = np.array(
        [z for m, n in zip(molecules, counts, strict=True) for z in m.numbers * n], dtype=np.int64
    )
    _refuse_long(molecules, edges)
    members = np.repeat(np.arange(len(shapes)), [len(shape) for shape in shapes])
    centres = _lattice(len(shapes), edges, rng)
    turned = Rotation.random(len(shapes), rng=rng)
    arms = np.concatenate([turned[i].apply(shape) for i, shape in enumerate(shapes)])
    radii = COVALENT_RADII_A[numbers] + 0.5 * BEYOND_BONDS_A
    centres, arms = _give_way(centres, arms, members, radii, edges)
    centres = centres % edges
    return PackedBox(numbers, centres[members] + arms, edges, members)


def _centred(molecule: Molecule) -> Array:
    x = molecule.reference_positions
    masses = ATOMIC_MASSES_amu[list(molecule.numbers)][:, None]
    return np.asarray(x - (masses * x).sum(0) / masses.sum())


def _refuse_long(molecules: Sequence[Molecule], edges: Array) -> None:
    for molecule in molecules:
        radii = COVALENT_RADII_A[list(molecule.numbers)]
        x = molecule.reference_positions
        spans = np.linalg.norm(x[:, None] - x[None], axis=-1) + radii[:, None] + radii[None]
        needed = float(spans.max()) + BEYOND_BONDS_A
        if needed > edges.min():
            raise InputError(
                f"a box with an edge of {edges.min():.2f} Å is too small for {molecule.formula}, "
                f"which would touch its own image: it needs {needed:.2f} Å",
                "raise system.box_A or the counts, or lower system.density_g_per_cm3",
            )


def _lattice(count: int, edges: Array, rng: np.random.Generator) -> Array:
    """Points for so many molecules, spread evenly, in random order, each shifted a little."""
    spacing = float(np.cbrt(np.prod(edges) / count))
    cells = np.maximum(1, np.round(edges / spacing)).astype(int)
    while int(np.prod(cells)) < count:
        cells[int(np.argmax(edges / cells))] += 1
    steps = edges / cells
    points = np.stack(np.meshgrid(*(np.arange(n) for n in cells), indexing="ij"), axis=-1)
    chosen = rng.permutation(points.reshape(-1, 3))[:count]
    jitter = rng.uniform(-_JITTER, _JITTER, size=(count, 3))
    return np.asarray((chosen + 0.5 + jitter) * steps)


def _give_way(
    centres: Array, arms: Array, members: NDArray[np.int64], radii: Array, edges: Array
) -> tuple[Array, Array]:
    """Push overlapping molecules apart and turn them, as rigid bodies, until none overlap."""
    reach = np.zeros(len(centres))  # mean square arm: how far a turn moves atoms
    np.add.at(reach, members, (arms * arms).sum(-1))
    reach = np.maximum(reach / np.bincount(members), 0.1)
    for _ in range(_STEPS):
        pairs, lines, overlaps = _overlaps(centres[members] + arms, members, radii, edges)
        if not len(pairs) or overlaps.max() <= _MARGIN_A:
            return centres, arms
        pushes = 0.5 * overlaps[:, None] * lines
        force, torque = np.zeros_like(centres), np.zeros_like(centres)
        touched = np.zeros(len(centres))
        for side, sign in ((0, -1.0), (1, 1.0)):
            atoms = pairs[:, side]
            np.add.at(force, members[atoms], sign * pushes)
            np.add.at(torque, members[atoms], np.cross(arms[atoms], sign * pushes))
            np.add.at(touched, members[atoms], 1.0)
        share = np.sqrt(np.maximum(touched, 1.0))[:, None]
        centres = centres + force / share
        turns = torque / (share * reach[:, None])
        arms = Rotation.from_rotvec(turns[members]).apply(arms)
    raise MethodError(
        f"no box of {len(centres)} molecules with edges {np.round(edges, 2).tolist()} Å was found: "
        f"after {_STEPS} steps {len(pairs)} contacts are up to {overlaps.max() - _MARGIN_A:.2f} Å "
        "too close",
        "raise system.box_A or lower system.density_g_per_cm3",
    )


def _overlaps(
    positions: Array, members: NDArray[np.int64], radii: Array, edges: Array
) -> tuple[NDArray[np.int64], Array, Array]:
    """Pairs of atoms of two molecules that are too close, lines from the first, by how much.

    Includes the margin that is aimed at.
    """
    wrapped = positions % edges
    wrapped[wrapped >= edges] = 0.0  # what rounding put on the far side
    reach = 2.0 * float(radii.max()) + _MARGIN_A
    found = cKDTree(wrapped, boxsize=edges).query_pairs(reach, output_type="ndarray")
    found = found[members[found[:, 0]] != members[found[:, 1]]]
    found = found[np.lexsort((found[:, 1], found[:, 0]))]  # the tree's own order is its own affair
    lines = wrapped[found[:, 1]] - wrapped[found[:, 0]]
    lines -= edges * np.round(lines / edges)
    distances = np.maximum(np.linalg.norm(lines, axis=-1), 1e-6)
    overlaps = radii[found].sum(1) + _MARGIN_A - distances
    close = overlaps > 0.0
    return found[close], lines[close] / distances[close, None], overlaps[close]


def contacts(box: PackedBox) -> Array:
    """Closest distance in Å of atoms of different molecules, over all images.

    Returns
    -------
    ndarray, shape (P,)
        Distance beyond the sum of covalent radii of each pair that is nearer than 4 Å.
    """
    wrapped = box.positions % box.edges_A
    wrapped[wrapped >= box.edges_A] = 0.0
    pairs = cKDTree(wrapped, boxsize=box.edges_A).query_pairs(
        min(4.0, 0.499 * float(box.edges_A.min())), output_type="ndarray"
    )
    pairs = pairs[box.molecule_of[pairs[:, 0]] != box.molecule_of[pairs[:, 1]]]
    lines = wrapped[pairs[:, 1]] - wrapped[pairs[:, 0]]
    lines -= box.edges_A * np.round(lines / box.edges_A)
    distances = np.linalg.norm(lines, axis=-1)
    return np.asarray(distances - COVALENT_RADII_A[box.numbers[pairs]].sum(1))
