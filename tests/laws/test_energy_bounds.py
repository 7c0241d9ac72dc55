"""Laws of plausible energies: the labels' own are, whatever their zero; holes are not."""

from __future__ import annotations

import numpy as np
import pytest

from apps.dynamics.energy_bounds import energy_line, plausible_energies
from data_store.structures import Structures, concatenate

ZERO = {1: -13.6, 8: -2043.0}


def labels(seed: int = 0, shift: dict[int, float] | None = None) -> Structures:
    """Molecules of several compositions, their energies per atom scattered by 0.1 eV."""
    rng = np.random.default_rng(seed)
    made = []
    for numbers in ([1, 1], [8, 8], [8, 1], [8, 1, 1], [8, 8, 1, 1]):
        zero = sum((shift or ZERO)[z] for z in numbers)
        energies = zero + len(numbers) * rng.uniform(-0.1, 0.1, 20)
        x = rng.normal(size=(20, len(numbers), 3))
        made.append(
            Structures.from_dense(np.array(numbers), x, energies=energies, forces=np.zeros_like(x))
        )
    return concatenate(made)


def test_every_label_is_within_and_by_its_margins() -> None:
    found = labels()
    for row in range(len(found)):
        numbers = found.numbers_of(row)
        line, (low, high) = plausible_energies(found, numbers, 0.2, 1.0)
        value = (found.labelled_energies()[row] - line) / len(numbers)
        assert low + 0.2 - 1e-9 <= value <= high - 1.0 + 1e-9


def test_the_zero_of_each_element_does_not_matter() -> None:
    shifted = {1: 5.0, 8: 100.0}
    one, other = labels(), labels(shift=shifted)
    numbers = np.array([8, 1, 1, 8, 8])
    line, bounds = plausible_energies(one, numbers, 0.2, 1.0)
    moved, same = plausible_energies(other, numbers, 0.2, 1.0)
    np.testing.assert_allclose(bounds, same, atol=1e-6)
    assert moved - line == pytest.approx(2 * (5.0 + 13.6) + 3 * (100.0 + 2043.0), abs=1e-3)


def test_one_composition_has_the_range_of_its_labels() -> None:
    water = labels().take(np.arange(60, 80))
    energies = water.labelled_energies()
    line, (low, high) = plausible_energies(water, np.array([8, 1, 1]), 0.0, 0.0)
    assert line + 3 * low == pytest.approx(energies.min())
    assert line + 3 * high == pytest.approx(energies.max())


def test_an_element_that_no_label_has_cannot_be_judged() -> None:
    line, _ = plausible_energies(labels(), np.array([6, 1]), 0.2, 1.0)
    assert np.isnan(line)
    assert set(energy_line(labels())) == {1, 8}
