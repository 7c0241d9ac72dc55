"""Laws of boxes that are built: counts, density, distances, whole molecules, seeds."""

from __future__ import annotations

from functools import cache

import numpy as np
import openmm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openmm import unit

from apps.sampling import boxes
from apps.sampling.boxes import (
    BEYOND_BONDS_A,
    PackedBox,
    box_edges,
    contacts,
    cubic_edge,
    density_of,
    pack,
)
from apps.sampling.molecule import molecule_from_smiles
from apps.sampling.water import Q_SPC_FW, FlexibleWater
from data_store.errors import InputError, MethodError
from data_store.molecules import Molecule
from data_store.streams import stream

CASES = [
    pytest.param(("O",), (64,), 1.0, id="water"),
    pytest.param(("CCO", "O"), (12, 30), 0.9, id="ethanol and water"),
    pytest.param(("[H][H]", "O=O"), (32, 16), 0.25, id="hydrogen and oxygen"),
    pytest.param(("CC(=O)Oc1ccccc1C(=O)O",), (12,), 1.2, id="aspirin"),
    pytest.param(("ClC(Cl)(Cl)Cl",), (20,), 1.59, id="carbon tetrachloride"),
]
each_case = pytest.mark.parametrize(("smiles", "counts", "density"), CASES)


@cache
def molecules(smiles: tuple[str, ...]) -> list[Molecule]:
    return [molecule_from_smiles(one, name=one) for one in smiles]


def built(smiles: tuple[str, ...], counts: tuple[int, ...], density: float, seed: int) -> PackedBox:
    kinds = molecules(smiles)
    edges = np.full(3, cubic_edge(kinds, counts, density))
    return pack(kinds, counts, edges, stream(seed, "box"))


@each_case
@pytest.mark.parametrize("seed", [0, 1])
def test_molecules_keep_their_distance(
    smiles: tuple[str, ...], counts: tuple[int, ...], density: float, seed: int
) -> None:
    found = contacts(built(smiles, counts, density, seed))
    assert len(found) > sum(counts), "a box this dense has contacts"
    assert found.min() >= BEYOND_BONDS_A


def test_overlaps_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes, "_give_way", lambda centres, arms, *rest: (centres, arms))
    assert contacts(built(("CCO", "O"), (12, 30), 0.9, 0)).min() < BEYOND_BONDS_A


@each_case
def test_it_holds_what_was_asked_for(
    smiles: tuple[str, ...], counts: tuple[int, ...], density: float
) -> None:
    box, kinds = built(smiles, counts, density, 0), molecules(smiles)
    assert density_of(kinds, counts, box.edges_A) == pytest.approx(density, rel=1e-12)
    expected = [z for kind, count in zip(kinds, counts, strict=True) for z in kind.numbers * count]
    assert box.numbers.tolist() == expected
    assert box.molecule_of.max() + 1 == sum(counts)


@each_case
def test_molecules_are_whole_and_as_they_were(
    smiles: tuple[str, ...], counts: tuple[int, ...], density: float
) -> None:
    """Turned, never mirrored: aspirin's and ethanol's hands stay what they were."""
    box, kinds = built(smiles, counts, density, 0), molecules(smiles)
    kind_of = np.repeat(np.arange(len(kinds)), counts)
    for place, which in enumerate(kind_of):
        x, rest = box.positions[box.molecule_of == place], kinds[which].reference_positions
        x, rest = x - x.mean(0), rest - rest.mean(0)
        u, _, v = np.linalg.svd(rest.T @ x)
        turn = u @ v
        np.testing.assert_allclose(rest @ turn, x, atol=1e-9)
        if np.linalg.matrix_rank(rest, tol=1e-6) == 3:
            assert np.linalg.det(turn) == pytest.approx(1.0)
        centre = box.positions[box.molecule_of == place].mean(0)
        assert (centre > -3.0).all()
        assert (centre < box.edges_A + 3.0).all()


def test_a_seed_is_a_box() -> None:
    one, again, other = (built(("CCO", "O"), (6, 12), 0.9, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.positions, again.positions)
    assert np.abs(one.positions - other.positions).max() > 1.0


def alignment(directions: np.ndarray) -> float:
    """Largest eigenvalue of the mean of u u: 1/3 where directions have no order."""
    return float(np.linalg.eigvalsh(np.einsum("nx,ny->xy", directions, directions)).max()) / len(
        directions
    )


def test_molecules_point_anywhere() -> None:
    """Of 256 directions without order 1/3 is met to some 0.05."""
    box = built(("O",), (256,), 1.0, 0)
    x = box.positions.reshape(-1, 3, 3)
    dipoles = x[:, 1] + x[:, 2] - 2.0 * x[:, 0]
    dipoles /= np.linalg.norm(dipoles, axis=1, keepdims=True)
    assert alignment(dipoles) < 0.42
    assert np.linalg.norm(dipoles.mean(0)) < 0.2
    assert alignment(np.abs(dipoles) / np.linalg.norm(dipoles, axis=1)[:, None]) > 0.42, "a twin"


def test_it_is_no_lattice() -> None:
    """A crystal's molecules all have the same surroundings."""
    box = built(("O",), (64,), 1.0, 0)
    oxygens = box.positions[::3]
    lines = oxygens[:, None] - oxygens[None]
    lines -= box.edges_A * np.round(lines / box.edges_A)
    distances = np.sort(np.linalg.norm(lines, axis=-1), axis=1)[:, 1]
    assert distances.std() > 0.1


@settings(max_examples=30, deadline=None)
@given(
    counts=st.tuples(st.integers(1, 20), st.integers(0, 20)),
    density=st.floats(0.05, 0.9),
    seed=st.integers(0, 2**31),
    stretch=st.floats(0.8, 1.25),
)
def test_whatever_is_asked_for_is_built_or_refused(
    counts: tuple[int, int], density: float, seed: int, stretch: float
) -> None:
    kinds = molecules(("O", "CO"))
    edges = cubic_edge(kinds, counts, density) * np.array([stretch, 1.0, 1.0 / stretch])
    if edges.min() < 6.0:
        with pytest.raises(InputError, match="too small"):
            pack(kinds, counts, np.full(3, 3.0), stream(seed, "box"))
        return
    box = pack(kinds, counts, edges, stream(seed, "box"))
    assert len(box.numbers) == 3 * counts[0] + 6 * counts[1]
    found = contacts(box)
    assert len(found) == 0 or found.min() >= BEYOND_BONDS_A - 1e-9


def test_a_box_too_dense_is_refused_and_says_so() -> None:
    with pytest.raises(MethodError, match=r"64 molecules.*too close") as caught:
        built(("O",), (64,), 3.0, 0)
    assert "lower system.density_g_per_cm3" in caught.value.hint


def test_a_molecule_that_would_touch_itself_is_refused() -> None:
    with pytest.raises(InputError, match=r"too small for C9H8O4.*it needs"):
        built(("CC(=O)Oc1ccccc1C(=O)O",), (1,), 1.0, 0)


def test_edges_are_given_or_follow_from_a_density() -> None:
    kinds = molecules(("O",))
    assert box_edges(kinds, [64], None, [10.0, 11.0, 12.0]).tolist() == [10.0, 11.0, 12.0]
    # 64 waters of 18.015 amu at 0.997 g/cm³: the box of 12.4 Å that everybody simulates.
    assert box_edges(kinds, [64], 0.997, None) == pytest.approx([12.43] * 3, abs=0.01)
    with pytest.raises(InputError, match="either a density or edges"):
        box_edges(kinds, [64], None, None)


def by_openmm(box: PackedBox) -> openmm.Context:
    """The box with q-SPC/Fw, periodic, ready to run at 300 K."""
    bound = FlexibleWater(Q_SPC_FW, molecules(("O",))[0])
    count = len(box.numbers) // 3
    system = bound.openmm_system(count)
    between = openmm.NonbondedForce()
    between.setNonbondedMethod(openmm.NonbondedForce.PME)
    between.setCutoffDistance(0.6)
    for _ in range(count):
        between.addParticle(-0.84, 0.3165492, 0.6502995)
        between.addParticle(0.42, 0.1, 0.0)
        between.addParticle(0.42, 0.1, 0.0)
    for first in range(0, 3 * count, 3):
        for one, other in ((0, 1), (0, 2), (1, 2)):
            between.addException(first + one, first + other, 0.0, 1.0, 0.0)
    system.addForce(between)
    system.setDefaultPeriodicBoxVectors(*(0.1 * np.diag(box.edges_A)))
    integrator = openmm.LangevinMiddleIntegrator(300.0, 20.0, 0.0005)
    integrator.setRandomNumberSeed(1)
    platform = openmm.Platform.getPlatformByName("CPU")
    context = openmm.Context(system, integrator, platform, {"Threads": "1"})
    context.setPositions(0.1 * box.positions)
    context.setVelocitiesToTemperature(300.0, 1)
    return context


def longest_bond(context: openmm.Context, box: PackedBox, steps: int) -> float:
    context.getIntegrator().step(steps)
    state = context.getState(getPositions=True)
    x = np.asarray(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
    lines = x[1:] - x[:-1]
    bonds = box.molecule_of[1:] == box.molecule_of[:-1]
    return float(np.linalg.norm(lines[bonds & (np.arange(len(lines)) % 3 == 0)], axis=1).max())


def test_dynamics_can_start_from_it() -> None:
    """A picosecond of water by its own force field: no bond beyond what 300 K gives it."""
    box = built(("O",), (64,), 0.997, 0)
    context = by_openmm(box)
    assert max(longest_bond(context, box, 100) for _ in range(20)) < 1.35


def test_a_start_with_overlaps_blows_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes, "_give_way", lambda centres, arms, *rest: (0.5 * centres, arms))
    box = built(("O",), (64,), 0.997, 0)
    assert not longest_bond(by_openmm(box), box, 100) < 1.35
