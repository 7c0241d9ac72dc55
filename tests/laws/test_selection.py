"""What every strategy of selection owes, and what each promises: shown on thermal methanol."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation
from scipy.stats import wilcoxon

from apps.sampling.molecule import molecule_from_smiles
from apps.sampling.teacher import make_teacher
from apps.selection.descriptors import inverse_distances
from apps.selection.energy_stratified import stratified_ranks
from apps.selection.farthest_point import farthest_point_order
from apps.selection.registry import STRATEGIES
from benchmarks.selection import coverage, thermal_pools
from data_store.errors import InputError, StoreError
from data_store.streams import stream
from data_store.structures import Structures, concatenate

METHANOL = "CO"
SELECTED = 20
ALPHA = 1e-4

each_strategy = pytest.mark.parametrize("strategy", STRATEGIES)


@pytest.fixture(scope="module")
def pools() -> list[Structures]:
    return thermal_pools(METHANOL, 30, 200, 500.0, seed=1)


@pytest.fixture(scope="module")
def pool(pools: list[Structures]) -> Structures:
    return pools[0]


def moved(found: Structures, random: np.random.Generator) -> Structures:
    """Every structure reflected, turned and shifted by itself, with the energies it then has."""
    turns = Rotation.random(len(found), rng=random).as_matrix()
    turns[random.random(len(found)) < 0.5] *= -1.0
    x = np.einsum("snj,sij->sni", found.dense_positions(), turns)
    x = x + random.normal(scale=5.0, size=(len(found), 1, 3))
    teacher = make_teacher("mmff94", molecule_from_smiles(METHANOL, name="methanol"))
    return Structures.from_dense(found.numbers_of(0), x, energies=teacher.energies_and_forces(x)[0])


def with_atoms_exchanged(found: Structures, random: np.random.Generator) -> Structures:
    """Atoms of every structure in another order, its own; like atoms change places thereby."""
    size = len(found.numbers_of(0))
    places = np.stack([random.permutation(size) for _ in range(len(found))])
    flat = (places + found.offsets[:-1, None]).reshape(-1)
    return replace(found, numbers=found.numbers[flat], positions=found.positions[flat])


@each_strategy
@given(count=st.integers(1, 40), seed=st.integers(0, 2**40))
def test_it_is_an_order_of_all_candidates(strategy: str, count: int, seed: int) -> None:
    x = stream(seed, "positions").normal(size=(count, 3, 3))
    some = Structures.from_dense([8, 1, 1], x, energies=x[:, 0, 0])
    np.testing.assert_array_equal(np.sort(STRATEGIES[strategy](some, seed)), np.arange(count))


@each_strategy
def test_the_seed_decides(strategy: str, pool: Structures) -> None:
    orders = [STRATEGIES[strategy](pool, seed) for seed in (0, 0, 1, 2, 3)]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert len({tuple(order[:SELECTED]) for order in orders[1:]}) == 4
    assert len({order[0] for order in orders[1:]}) > 1


@each_strategy
def test_motion_and_exchange_of_like_atoms_change_nothing(strategy: str, pool: Structures) -> None:
    random = stream(0, "motion")
    expected = STRATEGIES[strategy](pool, 5)
    for changed in (moved(pool, random), with_atoms_exchanged(pool, random)):
        assert np.abs(changed.positions - pool.positions).max() > 1.0
        np.testing.assert_array_equal(STRATEGIES[strategy](changed, 5), expected)


@pytest.mark.parametrize("strategy", ["energy_stratified", "farthest_point"])
def test_what_is_selected_does_not_depend_on_where_it_stands(
    strategy: str, pool: Structures
) -> None:
    places = stream(0, "places").permutation(len(pool))
    one, other = STRATEGIES[strategy](pool, 5), STRATEGIES[strategy](pool.take(places), 5)
    np.testing.assert_array_equal(places[other], one)


def test_random_selection_is_of_places() -> None:
    # It looks at nothing: other structures in the same places give the same order.
    one, other = (Structures.from_dense([1, 1], np.eye(2, 3) * k * np.ones((9, 1, 1)))
                  for k in (1.0, 2.0))  # fmt: skip
    random = STRATEGIES["random"]
    np.testing.assert_array_equal(random(one, 1), random(other, 1))


@each_strategy
def test_candidates_that_are_equal_are_still_ordered(strategy: str) -> None:
    same = Structures.from_dense([1, 1], np.tile(np.eye(2, 3), (7, 1, 1)), energies=np.zeros(7))
    np.testing.assert_array_equal(np.sort(STRATEGIES[strategy](same, 2)), np.arange(7))


# ---- energy_stratified


def is_even(order: np.ndarray, bins: int) -> bool:
    """Whether every beginning of the order is spread over equal bins as evenly as can be."""
    members = np.arange(bins) == (order * bins // len(order))[:, None]
    counts = np.cumsum(members, axis=0)
    return bool(np.all(np.ptp(counts, axis=1) <= 1))


@pytest.mark.parametrize("bins", [2, 4, 8, 16, 32])
@pytest.mark.parametrize("seed", range(5))
def test_every_beginning_is_even_over_all_bins(bins: int, seed: int) -> None:
    assert is_even(stratified_ranks(192, seed), bins)
    assert not is_even(stream(seed, "twin").permutation(192), bins)


def test_within_bins_it_is_drawn() -> None:
    # 4 of 16: each rank of each quarter in a quarter of the selections; χ² of 16 cells, 12 free.
    drawn = np.array([stratified_ranks(16, seed)[:4] for seed in range(2000)])
    counts = np.bincount(drawn.ravel(), minlength=16)
    assert np.sum((counts - 500.0) ** 2 / 500.0) < 40.0
    fixed = np.bincount(np.tile([0, 4, 8, 12], 2000), minlength=16)
    assert np.sum((fixed - 500.0) ** 2 / 500.0) > 40.0


def test_candidates_without_energies_are_refused() -> None:
    bare = Structures.from_dense([1, 1], np.tile(np.eye(2, 3), (3, 1, 1)))
    with pytest.raises(StoreError, match="carry no energies"):
        STRATEGIES["energy_stratified"](bare, 0)


# ---- farthest_point


def radii(points: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Distance of each point to the nearest one before it in the order."""
    between = cdist(points[order], points[order])
    return np.array([between[k, :k].min() for k in range(1, len(order))])


def left_over(points: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Largest distance that the first k leave, for each k."""
    between = cdist(points, points[order])
    return np.array([between[:, :k].min(axis=1).max() for k in range(1, len(order))])


def test_each_next_is_the_farthest(pool: Structures) -> None:
    points = inverse_distances(pool)
    order = farthest_point_order(points, 3)
    np.testing.assert_allclose(radii(points, order), left_over(points, order), rtol=1e-12)
    twin = stream(0, "twin").permutation(len(points))
    assert np.any(radii(points, twin) < 0.9 * left_over(points, twin))


def test_the_descriptor_is_of_pairs_of_elements() -> None:
    water = Structures.from_dense([8, 1, 1], [[[0.0, 0, 0], [0, 0, 1.0], [2.0, 0, 0]]])
    expected = [[1 / np.sqrt(5.0), 1.0, 0.5]]  # HH, then HO in falling order
    np.testing.assert_allclose(inverse_distances(water), expected)
    other = Structures.from_dense([1, 8, 1], water.dense_positions())
    assert np.abs(inverse_distances(other) - expected).max() > 0.01


def test_the_descriptor_is_the_distance_of_the_best_matching(pool: Structures) -> None:
    # Never larger than by any exchange of the hydrogens, taken pair by pair and unsorted.
    one, other = pool.dense_positions()[:2]
    pairs = np.triu_indices(6, k=1)
    exchanged = np.inf
    for drawn in range(50):
        hydrogens = 2 + stream(drawn, "exchange").permutation(4)
        x = other[np.concatenate([[0, 1], hydrogens])]
        inverse = [1.0 / cdist(y, y)[pairs] for y in (one, x)]
        exchanged = min(exchanged, float(np.linalg.norm(inverse[0] - inverse[1])))
    points = inverse_distances(pool)
    assert 0.0 < np.linalg.norm(points[0] - points[1]) <= exchanged + 1e-12


def test_what_cannot_be_compared_is_refused() -> None:
    water, x = [8, 1, 1], np.eye(3)[None]
    mixed = concatenate([Structures.from_dense(z, x) for z in (water, [8, 8, 1])])
    periodic = Structures.from_dense(water, x, cell=np.eye(3) * 9.0)
    coinciding = Structures.from_dense(water, np.zeros((1, 3, 3)))
    for found, words in (
        (mixed, "several compositions"),
        (periodic, "periodic"),
        (coinciding, "coincide"),
    ):
        with pytest.raises(InputError, match=words):
            inverse_distances(found)


# ---- coverage: each strategy against random, paired by pool, and random against itself


def p_value(smaller: np.ndarray, larger: np.ndarray) -> float:
    """One-sided signed-rank test that the first figures are smaller than those paired with them."""
    return float(wilcoxon(smaller, larger, alternative="less").pvalue)


@pytest.mark.parametrize(
    ("strategy", "figure"),
    [("energy_stratified", "energy_gap"), ("farthest_point", "max_distance")],
)
def test_it_covers_better_than_random(strategy: str, figure: str, pools: list[Structures]) -> None:
    at_random = coverage(pools, "random", SELECTED, figure)
    assert p_value(coverage(pools, strategy, SELECTED, figure), at_random) < ALPHA
    twin = coverage(pools, "random", SELECTED, figure, first_seed=1000)
    assert p_value(twin, at_random) > 0.01
    assert p_value(at_random, twin) > 0.01


def test_farthest_points_leave_the_middle_thin(pools: list[Structures]) -> None:
    # The price that its docstring names: the mean distance is larger than at random.
    farthest, at_random = (
        coverage(pools, name, SELECTED, "mean_distance") for name in ("farthest_point", "random")
    )
    assert p_value(at_random, farthest) < ALPHA
