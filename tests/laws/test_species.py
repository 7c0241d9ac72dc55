"""Laws of telling species: atoms are conserved, symmetries hold, hysteresis does not flicker."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from apps.dynamics import species
from apps.dynamics.species import (
    BREAK,
    FORM,
    bonded,
    bonds_per_atom,
    count_species,
    distances_A,
    fragments,
    pairs_of,
    species_of_fragments,
)
from data_store.errors import InputError

Floats = NDArray[np.float64]

ATOMS = {
    "H": ([1], [[0, 0, 0]]),
    "O": ([8], [[0, 0, 0]]),
    "H2": ([1, 1], [[0, 0, 0], [0.74, 0, 0]]),
    "O2": ([8, 8], [[0, 0, 0], [1.21, 0, 0]]),
    "OH": ([8, 1], [[0, 0, 0], [0.97, 0, 0]]),
    "H2O": ([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]),
    "HO2": ([8, 8, 1], [[0, 0, 0], [1.33, 0, 0], [-0.24, 0.94, 0]]),
    "H2O2": ([8, 8, 1, 1], [[0, 0, 0], [1.46, 0, 0], [-0.1, 0.95, 0.1], [1.56, -0.4, 0.86]]),
    "O3": ([8, 8, 8], [[0, 0, 0], [1.27, 0, 0], [-0.6, 1.12, 0]]),
    "H3O": ([8, 1, 1, 1], [[0, 0, 0], [0.98, 0, 0], [-0.4, 0.9, 0], [-0.4, -0.45, 0.78]]),
    "CH4": (
        [6, 1, 1, 1, 1],
        [[0, 0, 0], [0.63, 0.63, 0.63], [-0.63, -0.63, 0.63], [-0.63, 0.63, -0.63],
         [0.63, -0.63, -0.63]],
    ),
}  # fmt: skip
"""Every species that has a customary name, near rest."""

NAMES = [*ATOMS, "H2", "OH", "H2O"]
EXPECTED = {name: NAMES.count(name) for name in sorted(set(NAMES))}
CELL = np.array([[26.0, 0, 0], [4.0, 25.0, 0], [-3.0, 5.0, 24.0]])


def mixture(seed: int = 0) -> tuple[NDArray[Any], Floats]:
    """All species apart from each other, turned at random: numbers (N,), positions (N, 3)."""
    rng = np.random.default_rng(seed)
    numbers, positions = [], []
    for place, name in enumerate(NAMES):
        z, x = ATOMS[name]
        q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        corner = 6.0 * np.array([place % 3, place // 3 % 3, place // 9])
        numbers += z
        positions.append(np.array(x, dtype=np.float64) @ q + corner)
    return np.array(numbers), np.concatenate(positions)


def shaken(frames: int, size_A: float, seed: int = 1) -> tuple[NDArray[Any], Floats]:
    numbers, x = mixture()
    rng = np.random.default_rng(seed)
    return numbers, x + rng.normal(0, size_A, (frames, *x.shape))


def told(counts: dict[str, NDArray[np.int64]], frame: int = 0) -> dict[str, int]:
    return {name: int(found[frame]) for name, found in counts.items() if found[frame]}


def test_each_species_has_its_name() -> None:
    numbers, x = mixture()
    assert told(count_species(x[None], numbers)) == EXPECTED


def elements(counts: dict[str, NDArray[np.int64]]) -> NDArray[np.int64]:
    """Atoms of hydrogen and oxygen in each frame, (2, F), from the names alone."""
    found = np.zeros((2, len(next(iter(counts.values())))), dtype=np.int64)
    for name, series in counts.items():
        for symbol, count in re.findall(r"([A-Z][a-z]?)(\d*)", name):
            if symbol in ("H", "O"):
                found[("H", "O").index(symbol)] += int(count or 1) * series
    return found


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), size_A=st.floats(0.01, 3.0))
def test_atoms_are_conserved_in_every_frame(seed: int, size_A: float) -> None:
    numbers, x = shaken(7, size_A, seed)
    in_frames = elements(count_species(x, numbers))
    expected = np.array([[(numbers == 1).sum()], [(numbers == 8).sum()]])
    assert (in_frames == expected).all()


@pytest.mark.parametrize("seed", range(4))
def test_symmetries_hold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    numbers, x = shaken(20, 0.15, seed)
    expected = count_species(x, numbers)
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    order = rng.permutation(len(numbers))
    others = {
        "rotated": count_species(x @ q, numbers),
        "moved": count_species(x + rng.normal(0, 50, 3), numbers),
        "permuted": count_species(x[:, order], numbers[order]),
    }
    for name, found in others.items():
        assert found.keys() == expected.keys(), name
        assert all((found[s] == expected[s]).all() for s in expected), name


@pytest.mark.parametrize("seed", range(4))
def test_wrapping_into_a_box_changes_nothing_and_forgetting_the_box_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    numbers, x = shaken(20, 0.03, seed)
    expected = count_species(x, numbers, CELL)
    inside = (x + rng.normal(0, 30, 3)) @ np.linalg.inv(CELL)
    wrapped = (inside - np.floor(inside)) @ CELL
    found = count_species(wrapped, numbers, CELL)
    assert {n: s.tolist() for n, s in found.items()} == {n: s.tolist() for n, s in expected.items()}
    turns = rng.integers(-2, 3, size=(len(numbers), 3)) @ CELL  # each atom in an image of its own
    scattered = count_species(x + turns, numbers, CELL)
    assert told(scattered) == told(expected) == EXPECTED
    assert told(count_species(x + turns, numbers)) != EXPECTED


def test_a_thin_box_is_refused() -> None:
    numbers, x = mixture()
    with pytest.raises(InputError, match="too small"):
        count_species(x[None], numbers, 4.0 * np.eye(3))


def changes(bonds: NDArray[np.bool_]) -> int:
    return int((bonds[1:] != bonds[:-1]).sum())


def shaky_bond(mean_A: float, frames: int = 2000) -> tuple[NDArray[np.int64], Floats]:
    """An O–H pair about a length, with thermal noise."""
    rng = np.random.default_rng(3)
    x = np.zeros((frames, 2, 3))
    x[:, 1, 0] = mean_A + rng.normal(0, 0.03, frames)
    return np.array([8, 1]), x


@pytest.mark.parametrize("bound", [FORM, 0.5 * (FORM + BREAK), BREAK])
def test_hysteresis_does_not_flicker_and_plain_cutoffs_do(bound: float) -> None:
    numbers, x = shaky_bond(bound * 0.96966)
    pairs = pairs_of(numbers)
    distances = distances_A(x, pairs)
    assert changes(bonded(distances, pairs)) <= 1
    assert changes(distances < bound * 0.96966) > 500  # the known-bad twin


def test_bonds_form_and_break_at_their_bounds() -> None:
    path = np.concatenate([np.linspace(2.0, 0.9, 111), np.linspace(0.9, 2.0, 111)])
    x = np.zeros((len(path), 2, 3))
    x[:, 1, 0] = path
    pairs = pairs_of(np.array([8, 1]))
    is_bonded = bonded(distances_A(x, pairs), pairs)[:, 0]
    first, last = np.flatnonzero(is_bonded)[[0, -1]]
    assert path[first] < FORM * 0.96966 <= path[first - 1]
    assert path[last] <= BREAK * 0.96966 < path[last + 1]


def test_blocks_of_frames_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, x = shaken(60, 0.25)
    expected = count_species(x, numbers)
    monkeypatch.setattr(species, "_PAIRS_AT_ONCE", 3 * len(pairs_of(numbers).first))
    found = count_species(x, numbers)
    assert {n: s.tolist() for n, s in found.items()} == {n: s.tolist() for n, s in expected.items()}


def test_bonds_of_atoms_add_up_to_twice_the_bonds() -> None:
    numbers, x = shaken(30, 0.2)
    pairs = pairs_of(numbers)
    bonds = bonded(distances_A(x, pairs), pairs)
    assert (bonds_per_atom(bonds, pairs).sum(1) == 2 * bonds.sum(1)).all()


def test_no_atoms_and_no_frames() -> None:
    assert count_species(np.zeros((0, 2, 3)), np.array([1, 1])) == {}
    one = count_species(np.zeros((3, 1, 3)), np.array([8]))
    assert one["O"].tolist() == [1, 1, 1]
    pairs = pairs_of(np.array([1]))
    parts = fragments(bonded(np.zeros((2, 0)), pairs), pairs)
    assert species_of_fragments(np.array([1]), parts)["H"].tolist() == [1, 1]
