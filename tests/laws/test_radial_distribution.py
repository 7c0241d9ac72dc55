"""g(r): 1 in a gas, shells of a lattice, blind to what a box does not care about, ASE's counts."""

from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray
from scipy.stats import chi2

from campaign.statistics.radial_distribution import (
    PairCounts,
    added,
    coordination_numbers,
    count_pairs,
    radial_distribution,
    reach_A,
    rebinned,
)
from data_store.errors import InputError
from data_store.streams import stream

SKEW = np.array([[9.0, 0.0, 0.0], [2.5, 8.0, 0.0], [-1.5, 2.0, 10.0]])
CUBE = np.eye(3) * 8.0
MIXED = np.array([8, 1, 1, 8, 1, 1, 8, 1, 1, 7])


def gas(frames: int, atoms: int, cell: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    return np.asarray(stream(seed, "gas").uniform(size=(frames, atoms, 3)) @ cell)


def improbable(found: PairCounts) -> float:
    """Least p over the pairs: counts of pairs of a gas are uncorrelated and nearly Poisson."""
    step = 20
    bins = found.counts.shape[1] // step * step
    counts, expected = (
        values[:, :bins].reshape(len(found.pairs), -1, step).sum(-1)
        for values in (found.counts, found.expected)
    )
    kept = expected > 10.0
    squares = np.where(kept, (counts - expected) ** 2 / np.where(kept, expected, 1.0), 0.0)
    return float(chi2.sf(squares.sum(1), kept.sum(1)).min())


@pytest.mark.parametrize("cell", [CUBE, SKEW], ids=["cube", "parallelepiped"])
def test_an_ideal_gas_gives_one_within_its_own_error(cell: NDArray[np.float64]) -> None:
    found = count_pairs(gas(4000, len(MIXED), cell), MIXED, cell)
    assert found.pairs == ("O-O", "O-N", "O-H", "N-H", "H-H")
    assert improbable(found) > 1e-3


def test_known_bad_normalisations_fail_the_same_test() -> None:
    found = count_pairs(gas(4000, len(MIXED), CUBE), MIXED, CUBE)
    with_self = np.array([3.0 / 2.0, 1.0, 1.0, 1.0, 6.0 / 5.0])  # N² in place of N (N - 1)
    assert improbable(dataclasses.replace(found, expected=found.expected * with_self[:, None])) < (
        1e-6
    )
    # Without images: the same atoms in the middle of a box that no distance reaches across.
    alone = count_pairs(gas(4000, len(MIXED), CUBE), MIXED, 4.0 * CUBE)
    bins = found.counts.shape[1]
    blind = dataclasses.replace(found, counts=alone.counts[:, :bins])
    assert improbable(blind) < 1e-6


@pytest.mark.parametrize(
    ("basis", "shells"),
    [
        ([[0, 0, 0]], [(1.0, 6), (np.sqrt(2), 12), (np.sqrt(3), 8), (2.0, 6)]),
        ([[0, 0, 0], [0.5, 0.5, 0.5]], [(np.sqrt(3) / 2, 8), (1.0, 6), (np.sqrt(2), 12)]),
        ([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], [(np.sqrt(0.5), 12), (1.0, 6)]),
    ],
    ids=["simple", "body-centred", "face-centred"],
)
def test_a_lattice_has_its_shells(
    basis: list[list[float]], shells: list[tuple[float, int]]
) -> None:
    """Radii and coordination numbers, to a bin."""
    edge, times = 3.001, 5
    corners = np.stack(np.meshgrid(*[np.arange(times)] * 3), -1).reshape(-1, 1, 3)
    frame = ((corners + np.array(basis)).reshape(-1, 3) * edge)[None]
    found = count_pairs(frame, [29] * frame.shape[1], np.eye(3) * edge * times)
    around = coordination_numbers(found)[0]
    steps = np.flatnonzero(np.diff(around, prepend=0.0))
    # Rounding may part a shell that lies at a bin's edge in two neighbouring bins.
    firsts = steps[np.diff(steps, prepend=-9) > 1]
    before = 0.0
    for place, (radius, neighbours) in zip(firsts, shells, strict=False):
        assert found.edges_A[place] - 1e-4 <= radius * edge <= found.edges_A[place + 2]
        assert around[place + 1] - before == neighbours
        before = around[place + 1]


MOVES = {
    "shifted": lambda frames, cell: frames + np.array([3.1, -47.7, 0.4]),
    "wrapped": lambda frames, cell: (
        (frames @ np.linalg.inv(cell) + stream(3, "wrap").integers(-2, 3, frames.shape)) @ cell
    ),
    "like atoms permuted": lambda frames, cell: frames[:, [3, 2, 1, 6, 5, 4, 0, 8, 7, 9]],
    "mirrored": lambda frames, cell: -frames,
}


@pytest.mark.parametrize("how", sorted(MOVES))
@pytest.mark.parametrize("cell", [CUBE, SKEW], ids=["cube", "parallelepiped"])
def test_g_is_the_same_however_the_atoms_of_a_box_are_written(
    how: str, cell: NDArray[np.float64]
) -> None:
    """But for a distance that rounding carries over the edge of a bin."""
    frames = gas(30, len(MIXED), cell)
    one, other = (count_pairs(f, MIXED, cell).counts for f in (frames, MOVES[how](frames, cell)))
    assert np.abs(one - other).sum() <= 4


def test_other_cells_of_the_same_lattice_give_the_same() -> None:
    """A box may be cut in other ways; counts stop at half of its own least width."""
    other = SKEW + np.array([[0.0, 0, 0], [9.0, 0, 0], [0, 0, 0]])
    frames = gas(30, len(MIXED), SKEW)
    one, two = (count_pairs(frames, MIXED, cell).counts for cell in (SKEW, other))
    bins = min(one.shape[1], two.shape[1])
    assert reach_A(other) < reach_A(SKEW)
    assert np.abs(one[:, :bins] - two[:, :bins]).sum() <= 4


@pytest.mark.parametrize("cell", [CUBE, SKEW], ids=["cube", "parallelepiped"])
def test_the_counts_are_those_of_another_code(cell: NDArray[np.float64]) -> None:
    frames = gas(200, len(MIXED), cell)
    found = count_pairs(frames, MIXED, cell)
    counts = np.zeros_like(found.counts)
    for frame in frames:
        atoms = Atoms(MIXED, frame, cell=cell, pbc=True)
        i, j, d = neighbor_list("ijd", atoms, found.edges_A[-1])
        symbols = atoms.get_chemical_symbols()
        for row, pair in enumerate(found.pairs):
            a, b = pair.split("-")
            mine = [symbols[p] == a and symbols[q] == b for p, q in zip(i, j, strict=True)]
            counts[row] += np.histogram(d[mine], found.edges_A)[0] // (2 if a == b else 1)
    # A distance may lie within rounding of an edge; halved pairs are whole but there.
    assert np.abs(counts - found.counts).sum() <= 6
    assert found.counts.sum() > 2000


def test_counts_add_up_and_g_does_not_depend_on_how_frames_are_parted() -> None:
    frames = gas(12, len(MIXED), SKEW)
    whole = count_pairs(frames, MIXED, SKEW)
    parted = added([count_pairs(frames[a:b], MIXED, SKEW) for a, b in ((0, 5), (5, 5), (5, 12))])
    np.testing.assert_array_equal(whole.counts, parted.counts)
    np.testing.assert_allclose(whole.expected, parted.expected)
    with pytest.raises(InputError, match="do not add up"):
        _ = whole + count_pairs(frames, [8] * len(MIXED), SKEW)


def test_wider_bins_hold_what_the_narrow_ones_held() -> None:
    found = count_pairs(gas(50, len(MIXED), CUBE), MIXED, CUBE)
    edges = found.edges_A[::9]
    g = rebinned(found, "O-H", edges)
    row = found.pairs.index("O-H")
    shells = np.diff(edges**3) * 4.0 / 3.0 * np.pi / 8.0**3 * 18.0 * 50
    sums = np.add.reduceat(found.counts[row], np.arange(0, found.counts.shape[1], 9))
    np.testing.assert_allclose(g, sums[: len(g)] / shells, rtol=1e-9)
    same = rebinned(found, "O-H", found.edges_A)
    np.testing.assert_allclose(same, radial_distribution(found)[row], atol=1e-7)


def test_memory_does_not_grow_with_frames_or_pairs() -> None:
    """1500 atoms have a million pairs; a frame's are counted some at a time."""
    cell, peaks = np.eye(3) * 25.0, []
    for count in (1, 3):
        frames = gas(count, 1500, cell).astype(np.float32)
        tracemalloc.start()
        count_pairs(frames, [18] * 1500, cell)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[0] < 60e6


def test_what_is_no_box_is_refused() -> None:
    frames = gas(1, len(MIXED), CUBE)
    with pytest.raises(InputError, match="with a volume"):
        count_pairs(frames, MIXED, np.zeros((3, 3)))
    with pytest.raises(InputError, match="positions of 3 atoms"):
        count_pairs(frames, [1, 2, 3], CUBE)
    with pytest.raises(InputError, match="half of the least width"):
        rebinned(count_pairs(frames, MIXED, CUBE), "O-O", np.array([0.0, 4.5]))
    with pytest.raises(InputError, match="no atoms of the pair 'O-C'"):
        rebinned(count_pairs(frames, MIXED, CUBE), "O-C", np.array([0.0, 3.5]))
