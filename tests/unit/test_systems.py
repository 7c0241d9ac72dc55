"""Which atoms of a box are bonded, to which molecules, and how long their bonds are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from apps.dynamics.systems import System, reference_lengths, system_of
from apps.sampling.boxes import cubic_edge, pack
from data_store.errors import InputError
from data_store.molecules import Molecule
from data_store.structures import Structures, concatenate

CELL = np.array([[9.0, 0.0, 0.0], [1.0, 8.5, 0.0], [-0.5, 0.8, 8.0]])


def molecule(name: str, symbols: str, bonds: list[tuple[int, int]], x: object) -> Molecule:
    numbers = tuple({"H": 1, "C": 6, "O": 8}[s] for s in symbols)
    paired = (sum(numbers) % 2) + 1
    return Molecule(
        name, numbers, tuple(bonds), (1,) * len(bonds), (0,) * len(numbers), paired,
        np.array(x, dtype=np.float64),
    )  # fmt: skip


WATER = molecule("water", "OHH", [(0, 1), (0, 2)], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
HYDROGEN = molecule("hydrogen", "HH", [(0, 1)], [[0, 0, 0], [0.74, 0, 0]])
METHANOL = molecule(
    "methanol", "COHHHH", [(0, 1), (0, 2), (0, 3), (0, 4), (1, 5)],
    [[0.0, 0, 0], [1.42, 0, 0], [-0.36, 1.03, 0], [-0.36, -0.51, 0.89], [-0.36, -0.51, -0.89],
     [1.74, -0.90, 0]],
)  # fmt: skip


def box(
    places: list[tuple[Molecule, tuple[float, float, float]]], order: list[int] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Numbers and positions of molecules at fractional places, in any order of atoms."""
    numbers = np.concatenate([m.numbers for m, _ in places])
    x = np.concatenate([m.reference_positions + np.array(at) @ CELL for m, at in places])
    chosen = np.arange(len(x)) if order is None else np.array(order)
    return numbers[chosen], x[chosen]


PLACES = [(WATER, (0.1, 0.1, 0.1)), (HYDROGEN, (0.6, 0.1, 0.5)), (METHANOL, (0.5, 0.6, 0.1)),
          (WATER, (0.1, 0.6, 0.6))]  # fmt: skip
KINDS = (WATER, HYDROGEN, METHANOL)


def starts(count: int = 2, order: list[int] | None = None) -> Structures:
    numbers, x = box(PLACES, order)
    noise = np.random.default_rng(0).normal(0, 0.01, (count, *x.shape))
    return Structures.from_dense(numbers, x + noise, cell=CELL)


def bonds(system: System) -> set[tuple[int, int]]:
    return {(i, j) for i, j in system.bonds.tolist()}


EXPECTED = {(0, 1), (0, 2), (3, 4), (5, 6), (5, 7), (5, 8), (5, 9), (6, 10), (11, 12), (11, 13)}


def test_bonds_are_those_of_the_molecules() -> None:
    system = system_of(KINDS, starts())
    assert bonds(system) == EXPECTED
    assert system.molecule_of.tolist() == [0] * 3 + [1] * 2 + [2] * 6 + [3] * 3
    np.testing.assert_array_equal(system.cell, CELL)


def test_wherever_the_boundary_is_and_in_any_order_of_atoms() -> None:
    order = np.random.default_rng(3).permutation(14).tolist()
    mixed, plain = starts(2, order), starts()
    for given in (mixed, plain):
        x = given.dense_positions()
        wrapped = (x @ np.linalg.inv(CELL) % 1.0) @ CELL
        again = Structures.from_dense(given.numbers_of(0), wrapped, cell=CELL)
        assert bonds(system_of(KINDS, again)) == bonds(system_of(KINDS, given))
    named = {tuple(sorted((order[i], order[j]))) for i, j in system_of(KINDS, mixed).bonds.tolist()}
    assert named == EXPECTED


def test_bonds_that_symmetry_makes_alike_are_of_one_kind() -> None:
    system = system_of(KINDS, starts())
    kind = dict(zip(map(tuple, system.bonds.tolist()), system.kinds, strict=True))
    assert len(set(system.kinds)) == 5, "O–H of water, H–H, C–O, C–H, O–H of methanol"
    assert kind[0, 1] == kind[0, 2] == kind[11, 12]
    assert kind[5, 7] == kind[5, 8] == kind[5, 9]
    assert kind[6, 10] != kind[0, 1]


def test_lengths_are_means_over_labels_of_any_size_by_kind() -> None:
    system = system_of(KINDS, starts())
    waters = [
        replace(WATER, reference_positions=scale * WATER.reference_positions)
        for scale in (0.9, 1.1, 1.15)
    ]
    alone = Structures.from_dense(WATER.numbers, np.array([w.reference_positions for w in waters]))
    order = [2, 0, 1, 5, 3, 4]
    two = [(WATER, (0.99, 0.1, 0.1)), (WATER, (0.1, 0.6, 0.6))]
    boxed = Structures.from_dense(box(two, order)[0], box(two, order)[1][None], cell=CELL)
    labels = concatenate([alone, boxed])
    lengths, without = reference_lengths(system, labels)
    by_bond = dict(zip(map(tuple, system.bonds.tolist()), lengths, strict=True))
    rest = np.linalg.norm(WATER.reference_positions[1:], axis=1)
    expected = ((0.9 + 1.1 + 1.15) * rest.sum() + 2 * rest.sum()) / 10
    assert by_bond[0, 1] == pytest.approx(expected)
    assert by_bond[0, 1] == by_bond[11, 13]
    assert without == 1 + 5, "hydrogen's and methanol's"
    assert by_bond[3, 4] == pytest.approx(0.74), "of its own geometry"


def test_starts_of_no_box_are_of_one_molecule() -> None:
    alone = Structures.from_dense(WATER.numbers, WATER.reference_positions[None])
    system = system_of([WATER], alone)
    assert system.cell is None
    assert bonds(system) == {(0, 1), (0, 2)}
    with pytest.raises(InputError, match="are of one molecule, and 2 were prepared"):
        system_of([WATER, HYDROGEN], alone)


def changed(structures: Structures, **fields: object) -> Structures:
    return replace(structures, **fields)  # type: ignore[arg-type]


def test_starts_that_are_not_alike_are_refused() -> None:
    good = starts()
    cells, pbc = good.cells.copy(), good.pbc.copy()
    cells[1, 0, 0] += 0.1
    pbc[1, 2] = False
    other = Structures.from_dense(
        *[v[None] if v.ndim == 2 else v for v in box(PLACES[:2])], cell=CELL
    )
    turned = changed(good, numbers=np.concatenate([good.numbers_of(0), good.numbers_of(0)[::-1]]))
    for wrong, told in (
        (changed(good, cells=cells), "start 1 has another box"),
        (changed(good, pbc=pbc), r"start 1 is periodic along \[True, True, False\]"),
        (concatenate([good, other]), "start 2 has other atoms"),
        (turned, "start 1 has other atoms"),
    ):
        with pytest.raises(InputError, match=told):
            system_of(KINDS, wrong)


def test_a_start_that_falls_apart_otherwise_is_refused() -> None:
    with pytest.raises(InputError, match=r"atoms 3, 4 .* H2, which is none of the molecules"):
        system_of([WATER, METHANOL], starts())
    x = starts().dense_positions().copy()
    x[1, 2] += np.array([-1.5, 0.5, 0.0])
    torn = Structures.from_dense(starts().numbers_of(0), x, cell=CELL)
    with pytest.raises(InputError, match="start 1 has other bonds than the first: 0–2 less"):
        system_of(KINDS, torn)
    fused = starts(1).dense_positions().copy()
    fused[0, 3:5] += fused[0, 2] + np.array([-0.6, 0.3, 0.0]) - fused[0, 3]
    with pytest.raises(InputError, match="none of the molecules"):
        system_of(KINDS, Structures.from_dense(starts().numbers_of(0), fused, cell=CELL))


def test_packed_boxes_are_systems() -> None:
    """Those that a campaign starts from: any orientation, dense, no two molecules touch."""
    counts = [12, 5, 4]
    edges = np.full(3, cubic_edge(KINDS, counts, 0.9))
    packed = pack(KINDS, counts, edges, np.random.default_rng(5))
    given = Structures.from_dense(packed.numbers, packed.positions[None], cell=np.diag(edges))
    system = system_of(KINDS, given)
    np.testing.assert_array_equal(system.molecule_of, packed.molecule_of)
    assert len(system.bonds) == 2 * 12 + 5 + 5 * 4
