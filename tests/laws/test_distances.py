"""h(r): normalised, blind to what a molecule does not care about, zero against itself, exact."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from campaign.statistics.distances import (
    BIN_A,
    count_distances,
    density_per_A,
    distribution_error,
)
from data_store.streams import stream

RNG = stream(0, "distances")
FRAMES = RNG.uniform(0.0, 6.0, size=(40, 7, 3))


def moved(how: str) -> NDArray[np.float64]:
    if how == "rotated":
        turn = Rotation.random(len(FRAMES), random_state=3).as_matrix()
        return np.asarray(np.einsum("sij,snj->sni", turn, FRAMES))
    if how == "shifted":
        return FRAMES + RNG.normal(size=(len(FRAMES), 1, 3))
    if how == "mirrored":
        return FRAMES * [-1.0, 1.0, 1.0]
    if how == "atoms permuted":
        return FRAMES[:, RNG.permutation(FRAMES.shape[1])]
    return FRAMES[RNG.permutation(len(FRAMES))]


@pytest.mark.parametrize(
    "how", ["rotated", "shifted", "mirrored", "atoms permuted", "frames permuted"]
)
def test_h_is_the_same_however_a_molecule_lies(how: str) -> None:
    """But for a distance that rounding carries over the edge of a bin."""
    assert np.abs(count_distances(moved(how)) - count_distances(FRAMES)).sum() <= 4


def test_h_integrates_to_one_and_counts_each_pair_once() -> None:
    counts = count_distances(FRAMES)
    assert counts.sum() == 40 * 7 * 6 // 2
    assert density_per_A(counts).sum() * BIN_A == pytest.approx(1.0)


def test_counts_add_up_over_blocks() -> None:
    many = np.tile(FRAMES, (60, 1, 1))
    np.testing.assert_array_equal(count_distances(many), 60 * count_distances(FRAMES))


def diatomic(lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    frames = np.zeros((len(lengths), 2, 3))
    frames[:, 1, 2] = lengths
    return frames


@pytest.mark.parametrize("shift_A", [0.0, 0.1, 0.4, 1.0, 3.0])
def test_a_shifted_uniform_distribution_has_the_analytic_error(shift_A: float) -> None:
    """Uniform on [1, 2] against [1 + s, 2 + s]: min(2 s, 2)."""
    lengths = 1.0 + (np.arange(20_000) + 0.5) / 20_000
    counts, other = (count_distances(diatomic(lengths + s)) for s in (0.0, shift_A))
    assert distribution_error(counts, other) == pytest.approx(min(2.0 * shift_A, 2.0), abs=1e-3)


def test_a_stretched_bond_among_many_is_seen_by_its_share() -> None:
    """One of the 21 pairs moves wholly elsewhere: 2/21."""
    other = FRAMES[:1].copy()
    other[0, 0] = other[0, 1] + [2.0, 0.0, 0.0]
    counts = count_distances(FRAMES[:1])
    further = counts.copy()
    further[np.flatnonzero(counts)[0]] -= 1
    further[-2] += 1
    assert distribution_error(further, counts) == pytest.approx(2.0 / 21.0)


def test_the_error_is_symmetric_and_none_where_nothing_is() -> None:
    one, other = count_distances(FRAMES[:20]), count_distances(FRAMES[20:])
    assert distribution_error(one, other) == pytest.approx(distribution_error(other, one))
    assert distribution_error(one, one) == 0.0
    assert distribution_error(one, np.zeros_like(one)) is None


def test_what_is_far_is_counted_too() -> None:
    assert count_distances(diatomic(np.array([1e6])))[-1] == 1
