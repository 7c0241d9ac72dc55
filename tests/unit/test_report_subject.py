"""What a report on a box speaks of: all its atoms, in images that are near each other."""

from __future__ import annotations

import numpy as np

from campaign.report.subject import nearest_to, of_the_same_atoms, subject_of
from data_store.structures import concatenate
from tests.laws.box_toys import EDGE_A, toy_boxes, unwrapped
from tests.laws.training_toys import toy_structures


def test_a_box_is_all_its_atoms_and_no_bonds() -> None:
    molecule, cell = subject_of("water", toy_boxes(2))
    assert molecule.formula == "H16O8"
    assert molecule.bonds == ()
    np.testing.assert_array_equal(cell, EDGE_A * np.eye(3))
    alone, none = subject_of("water", toy_structures(2))
    assert alone.formula == "H2O"
    assert none is None


def test_atoms_are_seen_from_the_one_that_decided() -> None:
    structures = unwrapped(toy_boxes(3))
    frames = structures.dense_positions().astype(np.float32)
    cell = structures.cells[0]
    found = nearest_to(frames, 4, cell)
    assert np.abs(found - found[:, 4, None]).max() < 0.5 * EDGE_A + 1e-3
    moved = (found - frames) / EDGE_A
    np.testing.assert_allclose(moved, np.round(moved), atol=1e-4)
    assert nearest_to(frames, 4, None) is frames


def test_reference_structures_are_of_the_same_atoms() -> None:
    molecule, _ = subject_of("water", toy_structures(1))
    mixed = concatenate([toy_structures(2), toy_boxes(1), toy_structures(1, seed=1)])
    assert of_the_same_atoms(mixed, molecule).shape == (3, 3, 3)
    assert len(of_the_same_atoms(toy_boxes(1), molecule)) == 0
