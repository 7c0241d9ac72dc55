"""What strategies of selection owe that ask pre-trained models, and what each promises."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import wilcoxon

from apps.potential.asking import energy_features, forces
from apps.potential.neighbors import graph_batch
from apps.potential.protocol import Potential
from apps.potential.registry import make_potential
from apps.selection.committee import force_spread
from apps.selection.d_optimal import d_optimal_order, independent_directions
from apps.selection.registry import MODEL_STRATEGIES, ordered
from benchmarks.selection import thermal_pools
from data_store.errors import InputError
from data_store.streams import stream
from data_store.structures import Structures
from tests.laws.test_selection import METHANOL, moved, with_atoms_exchanged

SELECTED = 20
ALPHA = 1e-4

each_strategy = pytest.mark.parametrize("strategy", MODEL_STRATEGIES)


@pytest.fixture(scope="module")
def pool() -> Structures:
    return thermal_pools(METHANOL, 1, 120, 500.0, seed=2)[0]


@pytest.fixture(scope="module")
def models() -> list[Potential]:
    """Untrained, in double precision: what is owed does not depend on the weights."""
    return [make_potential("painn", "small", [1, 6, 8], 5.0, seed).double() for seed in range(3)]


@each_strategy
def test_it_is_an_order_of_all_candidates_and_always_the_same(
    strategy: str, pool: Structures, models: list[Potential]
) -> None:
    one, other = (ordered(strategy, pool, 4, models) for _ in range(2))
    np.testing.assert_array_equal(np.sort(one), np.arange(len(pool)))
    np.testing.assert_array_equal(one, other)


@each_strategy
def test_motion_and_exchange_of_like_atoms_change_nothing(
    strategy: str, pool: Structures, models: list[Potential]
) -> None:
    random = stream(0, "motion")
    expected = ordered(strategy, pool, 5, models)
    for changed in (moved(pool, random), with_atoms_exchanged(pool, random)):
        np.testing.assert_array_equal(ordered(strategy, changed, 5, models), expected)


@each_strategy
def test_what_is_selected_does_not_depend_on_where_it_stands(
    strategy: str, pool: Structures, models: list[Potential]
) -> None:
    places = stream(0, "places").permutation(len(pool))
    one = ordered(strategy, pool, 5, models)
    np.testing.assert_array_equal(places[ordered(strategy, pool.take(places), 5, models)], one)


@each_strategy
def test_other_models_give_another_order(
    strategy: str, pool: Structures, models: list[Potential]
) -> None:
    one, other = ordered(strategy, pool, 5, models[:2]), ordered(strategy, pool, 5, models[1:])
    assert not np.array_equal(one[:SELECTED], other[:SELECTED])


@each_strategy
def test_too_few_models_and_periodic_candidates_are_refused(
    strategy: str, models: list[Potential]
) -> None:
    water = Structures.from_dense([8, 1, 1], np.eye(3)[None])
    box = Structures.from_dense([8, 1, 1], np.eye(3)[None], cell=np.eye(3) * 9.0)
    with pytest.raises(InputError, match=f'"{strategy}" asks'):
        ordered(strategy, water, 0, models[: MODEL_STRATEGIES[strategy].models - 1])
    with pytest.raises(InputError, match="periodic"):
        ordered(strategy, box, 0, models)
    with pytest.raises(InputError, match=r"not \[9\]"):
        ordered(strategy, Structures.from_dense([9, 1, 1], np.eye(3)[None]), 0, models)


def test_features_are_the_same_by_a_list_of_pairs(
    pool: Structures, models: list[Potential]
) -> None:
    some = pool.slice(0, 5)
    numbers, positions = some.numbers.reshape(5, -1), some.dense_positions()
    listed = graph_batch(list(numbers), list(positions), list(some.cells), list(some.pbc), 5.0)
    found = models[0].energy_features(listed).detach().numpy()
    np.testing.assert_allclose(found, energy_features(models[0], some), rtol=1e-6)


# ---- d_optimal


def information(points: np.ndarray) -> float:
    """Logarithm of the determinant, with next to nothing known beforehand."""
    size = points.shape[1]
    return float(np.linalg.slogdet(1e-6 * np.eye(size) + points.T @ points)[1])


def most_informative(points: np.ndarray, taken: np.ndarray) -> float:
    """What the best next of all would bring it to."""
    left = np.setdiff1d(np.arange(len(points)), taken)
    return max(information(points[[*taken, one]]) for one in left)


def test_each_next_enlarges_the_determinant_most() -> None:
    features = stream(1, "features").normal(size=(40, 5)) @ np.diag([1.0, 3.0, 0.2, 10.0, 0.01])
    points = independent_directions(features)
    order, twin = d_optimal_order(features, 3), stream(0, "twin").permutation(40)
    steps = range(1, 30)
    best = np.array([most_informative(points, order[:k]) for k in steps])
    np.testing.assert_allclose([information(points[order[: k + 1]]) for k in steps], best)
    others = [information(points[twin[: k + 1]]) for k in steps]
    assert not np.allclose(others, [most_informative(points, twin[:k]) for k in steps])


def test_a_linear_map_of_the_features_changes_nothing_and_the_seed_draws_the_first() -> None:
    features = stream(2, "features").normal(size=(60, 4))
    turned = np.linalg.qr(stream(3, "turn").normal(size=(4, 4)))[0]
    points = independent_directions(features)
    alike = independent_directions(features @ turned * 7.0 + 3.0)
    np.testing.assert_allclose(points @ points.T, alike @ alike.T, atol=1e-9)
    assert len({int(d_optimal_order(features, seed)[0]) for seed in range(8)}) > 1


def test_directions_in_which_nothing_differs_are_left_out() -> None:
    features = np.repeat(stream(4, "features").normal(size=(30, 2)), 3, axis=1)
    assert independent_directions(features).shape == (30, 3)
    assert independent_directions(np.ones((30, 4))).shape == (30, 1)
    np.testing.assert_array_equal(np.sort(d_optimal_order(np.ones((7, 4)), 1)), np.arange(7))


def test_it_tells_more_than_random_selections(pool: Structures, models: list[Potential]) -> None:
    points = independent_directions(energy_features(models[0], pool))
    chosen = [
        information(points[ordered("d_optimal", pool, seed, models)[:SELECTED]])
        for seed in range(20)
    ]
    drawn = [
        [information(points[ordered("random", pool, seed + k)[:SELECTED]]) for seed in range(20)]
        for k in (0, 100)
    ]
    assert wilcoxon(chosen, drawn[0], alternative="greater").pvalue < ALPHA
    assert wilcoxon(drawn[1], drawn[0], alternative="greater").pvalue > ALPHA


def test_forces_are_the_gradient_of_what_is_linear_in_the_features(
    pool: Structures, models: list[Potential]
) -> None:
    model, x = models[0], pool.dense_positions()
    weights = model.readout.weight.detach().numpy()[0]  # type: ignore[union-attr, operator]
    step = 1e-5 * stream(0, "step").normal(size=x.shape)
    ends = [Structures.from_dense(pool.numbers_of(0), x + side * step) for side in (0.5, -0.5)]
    up, down = (energy_features(model, end) @ weights for end in ends)
    expected = -(forces(model, pool) * step).sum((1, 2))
    np.testing.assert_allclose(
        float(model.scale) * (up - down), expected, atol=1e-6 * np.abs(expected).max()
    )


def test_an_architecture_without_features_says_what_to_do(pool: Structures) -> None:
    class Silent(Potential):
        def network_energy(self, batch: object) -> object:  # type: ignore[override]
            raise NotImplementedError

    silent = Silent("silent", "small", [1, 6, 8], 5.0)
    with pytest.raises(InputError, match="silent tells no features"):
        ordered("d_optimal", pool, 0, [silent])


# ---- committee


def test_the_order_falls_with_the_spread(pool: Structures, models: list[Potential]) -> None:
    found = np.stack([forces(model, pool) for model in models])
    spread = force_spread(found)
    along = spread[ordered("committee", pool, 0, models)]
    assert np.all(np.diff(along) <= 0.0)
    assert not np.all(np.diff(spread) <= 0.0)
    by_hand = np.sqrt(((found - found.mean(0)) ** 2).mean(0).mean((1, 2)))
    np.testing.assert_allclose(spread, by_hand)


def test_models_that_agree_have_no_spread(pool: Structures, models: list[Potential]) -> None:
    same = [models[0]] * 2
    np.testing.assert_array_equal(ordered("committee", pool, 0, same), np.arange(len(pool)))
