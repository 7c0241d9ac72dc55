"""Coverage: histograms against exact quantiles, contacts and duplicates against what was put in."""

from __future__ import annotations

from dataclasses import replace

import ase
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.coverage.distances import all_distances, shortest_contacts
from campaign.coverage.duplicates import NEAR_A, Duplicates
from campaign.coverage.figure import coverage_figure, figure_bytes
from campaign.coverage.histogram import Histogram, linear, logarithmic
from campaign.coverage.inspection import WORST, formula_of, inspect_structures
from campaign.coverage.measures import MEASURES, Coverage, coverage_of
from data_store.molecules import Molecule
from data_store.streams import stream
from data_store.structures import TIER_CODES, Structures, concatenate
from data_store.units import COVALENT_RADII_A

WATER = Molecule(
    "water", (8, 1, 1), ((0, 1), (0, 2)), (1, 1), (0, 0, 0), 1,
    np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]),
)  # fmt: skip


def shaken(count: int, sigma_A: float = 0.05, tier: str = "noise", seed: int = 0) -> Structures:
    rng = stream(seed, "shaken")
    x = WATER.reference_positions + sigma_A * rng.normal(size=(count, 3, 3))
    return Structures.from_dense(
        WATER.numbers, x, energies=rng.exponential(size=count), forces=rng.normal(size=x.shape),
        tiers=TIER_CODES[tier],
    )  # fmt: skip


def turned(structures: Structures) -> Structures:
    turn, _ = np.linalg.qr(stream(1, "turn").normal(size=(3, 3)))
    return replace(structures, positions=structures.positions @ turn.T + 3.0)


@given(st.lists(st.floats(-1.0, 6.0), min_size=1, max_size=300), st.floats(0.0, 1.0))
def test_quantiles_are_right_to_a_bin(values: list[float], share: float) -> None:
    found = linear(0.0, 5.0, 50)
    found.add(np.array(values))
    assert found.total == len(values)
    value = found.quantile(share)
    assert min(values) <= value <= max(values)
    low, high = (np.quantile(values, share, method=m) for m in ("inverted_cdf", "inverted_cdf"))
    if low >= 0.0 and high < 5.0 and share > 0.0:
        assert low - 0.1001 <= value <= high + 0.1001


def test_what_is_counted_in_pieces_is_counted_alike() -> None:
    values = stream(0, "values").lognormal(size=1000)
    whole, pieces, merged = logarithmic(1e-3, 1e3), logarithmic(1e-3, 1e3), logarithmic(1e-3, 1e3)
    whole.add(values)
    for piece in np.split(values, 10):
        pieces.add(piece)
    for half in np.split(values, 2):
        other = logarithmic(1e-3, 1e3)
        other.add(half)
        merged.merge(other)
    assert whole.summary() == pieces.summary() == merged.summary()


def test_what_is_no_number_is_not_counted_and_nothing_has_no_summary() -> None:
    found = linear(0.0, 1.0, 10)
    found.add(np.array([np.nan, np.inf, -np.inf]))
    assert found.total == 0
    assert found.summary() is None
    with pytest.raises(ValueError, match="of nothing"):
        found.quantile(0.5)
    found.add(np.array([0.25]))
    assert found.summary() == dict.fromkeys(("min", "p5", "median", "p95", "max"), 0.25)


@pytest.mark.parametrize("skew", [0.0, 1.5])
def test_distances_are_ases_periodic_ones(skew: float) -> None:
    cell = np.array([[5.0, 0, 0], [skew, 5.5, 0], [0.0, skew, 6.0]])
    x = stream(0, "box").uniform(-6.0, 12.0, size=(3, 8, 3))
    boxes = Structures.from_dense([8] * 8, x, cell=cell)
    mixed = replace(boxes, pbc=np.array([[True] * 3, [True, False, True], [False] * 3]))
    i, j = np.triu_indices(8, 1)
    for row, distances in enumerate(all_distances(mixed)):
        atoms = ase.Atoms("O8", x[row], cell=cell, pbc=mixed.pbc[row])
        np.testing.assert_allclose(distances, atoms.get_all_distances(mic=True)[i, j], atol=1e-9)


def test_the_shortest_contact_is_by_covalent_radii() -> None:
    """An O–H of 0.8 Å is closer than an H–H of 0.6 Å: radii of 0.66 and 0.31 Å."""
    x = np.array([[[0.0, 0, 0], [0.8, 0, 0], [0.8, 0.6, 0]]])
    ratios, distances, i, j = shortest_contacts(
        np.array(WATER.numbers), all_distances(Structures.from_dense(WATER.numbers, x))
    )
    assert (int(i[0]), int(j[0])) == (0, 1)
    assert distances[0] == pytest.approx(0.8)
    assert ratios[0] == pytest.approx(0.8 / (COVALENT_RADII_A[8] + COVALENT_RADII_A[1]))


def test_tiers_are_measured_apart_and_blocks_do_not_matter() -> None:
    noise, scan = shaken(40), shaken(20, 0.3, "scan", seed=1)
    both = concatenate([noise, scan])
    whole = coverage_of([both], WATER)
    cut = coverage_of([both.slice(start, start + 7) for start in range(0, 60, 7)], WATER)
    assert whole.rows() == cut.rows()
    rows = {row["tier"]: row for row in whole.rows()}
    assert [rows["noise"]["structures"], rows["scan"]["structures"]] == [40, 20]
    assert rows["scan"]["bond_stretch"]["max"] > rows["noise"]["bond_stretch"]["max"]
    per_atom = noise.labelled_energies() / 3
    assert rows["noise"]["energy_eV_per_atom"]["max"] == pytest.approx(per_atom.max())
    norms = np.linalg.norm(noise.labelled_forces(), axis=-1)
    found = rows["noise"]["force_eV_per_A"]["median"]
    assert found == pytest.approx(np.median(norms), rel=0.06)


def test_bonds_of_two_copies_are_measured_and_of_others_are_not() -> None:
    pair = np.concatenate([WATER.reference_positions, WATER.reference_positions + 3.0])
    two = Structures.from_dense(WATER.numbers * 2, pair[None], tiers=TIER_CODES["pair"])
    other = Structures.from_dense([1, 8, 1], WATER.reference_positions[None])
    rows = {row["tier"]: row for row in coverage_of([two, other], WATER).rows()}
    assert rows["pair"]["bond_stretch"] == pytest.approx(
        dict.fromkeys(("min", "p5", "median", "p95", "max"), 1.0)
    )
    assert rows["unknown"]["bond_stretch"] is None
    assert rows["unknown"]["energy_eV_per_atom"] is None


def scattered(count: int, seed: int = 0) -> Structures:
    x = stream(seed, "scattered").normal(size=(count, 6, 3))
    return Structures.from_dense([6, 6, 8, 1, 1, 1], x)


def test_duplicates_are_those_put_in() -> None:
    one = scattered(50)
    found = Duplicates()
    for block in (one, one.slice(0, 5), turned(one.slice(5, 9)), scattered(30, seed=2)):
        found.add(block)
    assert found.exact() == 5
    # Each of the five and the four, and what each was made from.
    assert found.near() == 2 * (5 + 4)
    moved = Duplicates()
    moved.add(concatenate([one, replace(one, positions=one.positions + 1e-4)]))
    assert (moved.exact(), moved.near()) == (0, 100)


@pytest.mark.parametrize(("growth_A", "near"), [(0.5 * NEAR_A, 100), (2.0 * NEAR_A, 0)])
def test_near_is_what_differs_by_less_than_the_limit(growth_A: float, near: int) -> None:
    """Structures grown until their distances differ by so much in the root mean square."""
    one = scattered(50)
    rms = np.sqrt((all_distances(one) ** 2).mean(1))
    grown = one.positions * np.repeat(1.0 + growth_A / rms, 6)[:, None]
    found = Duplicates()
    found.add(concatenate([one, replace(one, positions=grown)]))
    # An estimate by 16 projections: some 18 % off, so that factors of two are told, but for a few.
    assert found.near() == pytest.approx(near, abs=4)


def test_an_inspection_counts_what_is_there() -> None:
    close = shaken(1)
    squeezed = replace(close, positions=close.positions * 0.5)
    hydrogen = Structures.from_dense([1], np.zeros((1, 1, 3)))
    blocks = [shaken(20), squeezed, replace(hydrogen)]
    found = inspect_structures(lambda: blocks, WATER).found
    assert found["structures"] == 22
    assert found["elements"] == {"H": 43, "O": 21}
    assert found["formulae"] == {"H2O": 21, "H": 1}
    assert (found["without_energies"], found["without_forces"]) == (1, 1)
    assert len(found["shortest_contacts"]) == WORST
    assert found["shortest_contacts"][0]["structure"] == 20
    ratios = [row["over_radii"] for row in found["shortest_contacts"]]
    assert ratios == sorted(ratios)
    assert found["all"]["energy_eV_per_atom"]["min"] == 0.0
    assert {row["tier"]: row["structures"] for row in found["tiers"]} == {"noise": 21, "unknown": 1}


def test_nothing_is_inspected_without_falling_over() -> None:
    found = inspect_structures(lambda: []).found
    assert found["structures"] == 0
    assert found["all"]["structures"] == 0
    assert found["shortest_contacts"] == []


def test_formulae_are_in_hills_order() -> None:
    assert formula_of(np.array([8, 1, 6, 1, 6, 7])) == "C2H2NO"
    assert formula_of(np.array([8, 1, 1])) == "H2O"


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_figures_are_drawn_of_what_was_counted(suffix: str) -> None:
    figure = coverage_figure(coverage_of([shaken(30), shaken(10, 0.2, "scan")], WATER))
    assert len([ax for ax in figure.axes if ax.axison]) == len(MEASURES)
    assert len(figure_bytes(figure, suffix)) > 1000
    empty = Coverage()
    empty.add(Structures.from_dense([1], np.zeros((1, 1, 3))))
    assert figure_bytes(coverage_figure(empty), suffix)


def test_a_histogram_holds_no_more_for_more() -> None:
    found = Histogram(np.linspace(0.0, 1.0, 11))
    for _ in range(3):
        found.add(np.full(1000, 0.5))
    assert found.counts.shape == (12,)
    assert found.total == 3000
