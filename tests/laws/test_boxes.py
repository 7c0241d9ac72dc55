"""Replicas of a periodic box: the same forces whatever the list, its skin, its age and company."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from apps.dynamics import boxes, forces
from apps.dynamics.boxes import Box, BoxForces, box_forces_for
from apps.dynamics.engine import Block, State, start_block
from apps.dynamics.ensemble import simulate_block
from apps.potential.evaluate import energies_and_forces, total_energies
from apps.potential.neighbors import graph_batch
from apps.potential.protocol import Potential
from apps.potential.registry import make_potential
from data_store.errors import InputError
from data_store.units import ATOMIC_MASSES_amu
from tests.laws.dynamics_systems import make_block, watched
from tests.laws.dynamics_systems import total_energies as kinetic_and_potential

CELL = torch.tensor([[7.0, 0.0, 0.0], [1.5, 6.5, 0.0], [-0.5, 0.8, 6.0]], dtype=torch.float64)
NUMBERS = torch.tensor([8, 1, 1] * 8)
CUTOFF_A = 4.0


@pytest.fixture(params=["native", "tables", "graphs"])
def potential(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Potential:
    """By each of the three ways of evaluating it."""
    made = make_potential("painn", "small", [1, 8], CUTOFF_A, 3).double()
    made.shift_eV[[1, 8]] = torch.tensor([-13.0, -2040.0], dtype=torch.float64)
    made.tables = request.param != "graphs"
    native = request.param == "native"
    monkeypatch.setattr(boxes, "suits_native", lambda _: native)
    return made


def water(replicas: int, seed: int = 0) -> Tensor:
    """Molecules on a lattice, turned at random, whole across the boundary."""
    rng = np.random.default_rng(seed)
    molecule = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    places = np.array(list(np.ndindex(2, 2, 2))) / 2.0 @ CELL.numpy()
    x = np.zeros((replicas, len(NUMBERS), 3))
    for row in range(replicas):
        for number, place in enumerate(places):
            turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
            x[row, 3 * number : 3 * number + 3] = molecule @ turn + place + rng.normal(0, 0.1, 3)
    return torch.from_numpy(x)


def expected(potential: Potential, positions: Tensor) -> tuple[Tensor, Tensor]:
    """By the list of an independent code, for each replica."""
    count, cell, pbc = len(positions), CELL.numpy(), np.ones(3, bool)
    batch = graph_batch(
        [NUMBERS.numpy()] * count, list(positions.numpy()), [cell] * count, [pbc] * count, CUTOFF_A
    )
    network, found = energies_and_forces(potential, batch)
    return total_energies(potential, batch, network), found.view(positions.shape)


def close(found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor], within: float) -> bool:
    return all(
        float((ours - theirs).abs().max()) < within
        for ours, theirs in zip(found, wanted, strict=True)
    )


def test_forces_are_those_of_an_independent_list(potential: Potential) -> None:
    force_function, x = BoxForces(potential, Box(NUMBERS, CELL), compile=False), water(3)
    assert close(force_function(x), expected(potential, x), 1e-9)
    assert float(expected(potential, x)[1].abs().max()) > 1e-3


def test_wherever_atoms_go_lists_are_good(potential: Potential) -> None:
    """A walk of many times the skin; lists are made anew for those who moved, and seldom."""
    force_function, x = BoxForces(potential, Box(NUMBERS, CELL), compile=False), water(2)
    generator = torch.Generator().manual_seed(0)
    steps = torch.tensor([[[0.02]], [[0.1]]])  # the second replica runs
    for _ in range(60):
        x = x + steps * torch.randn(x.shape, generator=generator, dtype=torch.float64)
        assert close(force_function(x), expected(potential, x), 1e-8)
    assert 30 < force_function.lists_made < 100


def test_a_list_that_is_too_old_is_seen(
    potential: Potential, monkeypatch: pytest.MonkeyPatch
) -> None:
    force_function, x = BoxForces(potential, Box(NUMBERS, CELL), compile=False), water(1)
    force_function(x)
    monkeypatch.setattr(force_function, "_renew", lambda *_: None)
    x[0, :3] += torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)
    assert not close(force_function(x), expected(potential, x), 1e-4)


def test_skin_company_and_age_leave_the_same(potential: Potential) -> None:
    x = water(4)
    found = BoxForces(potential, Box(NUMBERS, CELL), compile=False)(x)
    for skin_A in (0.1, 1.5):
        other = BoxForces(potential, Box(NUMBERS, CELL), compile=False, skin_A=skin_A)
        assert close(other(x), found, 1e-10)
    aged = BoxForces(potential, Box(NUMBERS, CELL), compile=False)
    aged(x + 0.02)
    left = aged(x[[1, 3]])  # two have left
    assert close(left, (found[0][[1, 3]], found[1][[1, 3]]), 1e-10)
    aged.forget()
    fresh = BoxForces(potential, aged.box, compile=False)
    assert torch.equal(aged(x[[1, 3]])[1], fresh(x[[1, 3]])[1])


def test_what_is_no_number_spoils_no_other_replica(potential: Potential) -> None:
    force_function, x = BoxForces(potential, Box(NUMBERS, CELL), compile=False), water(3)
    sound = force_function(x)
    x[1, 4] = float("nan")
    for _ in range(2):
        energies, found = force_function(x)
        assert close((energies[[0, 2]], found[[0, 2]]), (sound[0][[0, 2]], sound[1][[0, 2]]), 1e-10)
        assert not torch.isfinite(found[1]).all()
        force_function.forget()


def test_lists_made_a_few_at_a_time_are_the_same(
    potential: Potential, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of replicas whose atoms have unlike numbers of neighbours: all get as many places."""
    x = water(4)
    x[2] = (x[2] - x[2, :1]) * 0.8
    whole = BoxForces(potential, Box(NUMBERS, CELL), compile=False)
    found = whole(x)
    monkeypatch.setattr(boxes, "_TABLE_PAIRS", {"cpu": 1})
    single = BoxForces(potential, Box(NUMBERS, CELL), compile=False)
    assert close(single(x), found, 1e-10)
    moved = x + 0.3 * torch.tensor([1.0, 0.0, 1.0, 0.0]).view(4, 1, 1)
    assert close(single(moved), whole(moved), 1e-10)
    for ours, theirs in zip(single._lists, whole._lists, strict=True):
        assert ours.shape == theirs.shape


def test_chunks_are_halved_where_memory_runs_out(
    potential: Potential, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = water(7)
    expected = BoxForces(potential, Box(NUMBERS, CELL), compile=False)(x)
    monkeypatch.setattr(boxes, "rows_of_chunk", lambda *_: 7)
    short = BoxForces(potential, Box(NUMBERS, CELL), compile=False, at_most=7)
    evaluated = short._evaluated

    def of_two_at_most(positions: Tensor, *lists: Tensor) -> tuple[Tensor, Tensor]:
        if len(positions) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return evaluated(positions, *lists)

    monkeypatch.setattr(short, "_evaluated", of_two_at_most)
    assert close(short(x), expected, 1e-10)
    assert (short.fitting.backed_off, short.fitting.limit) == (2, 1)


def block_of(potential: Potential, skin_A: float = 0.5, **settings: Any) -> Block:
    """Langevin dynamics in segments of ten steps, whose lists are its own."""
    force_function = BoxForces(potential, Box(NUMBERS, CELL), compile=False, skin_A=skin_A)
    masses = torch.tensor(ATOMIC_MASSES_amu[NUMBERS.tolist()])
    bonds = torch.tensor([[first, first + n] for first in range(0, 24, 3) for n in (1, 2)])
    looked_at = watched(
        masses, bonds=bonds, bond_lengths_A=torch.full((16,), 0.96).double(), cell=CELL
    )
    given = {"length_ps": 0.02, "compact_every_steps": 10, "check_stride_fs": 5.0, **settings}
    made = make_block(
        force_function, masses=masses, looked_at=looked_at,
        **{"replicas": 3, "temperature_K": 10.0, "save_stride_ps": 0.01, **given},
    )  # fmt: skip
    return replace(made, begin_segment=force_function.forget)


def test_a_run_that_is_resumed_meets_the_same_lists(potential: Potential) -> None:
    straight, x = block_of(potential), water(3)
    state = start_block(straight, x)
    assert simulate_block(straight, state, lambda _: None, 1e9, lambda: False)
    resumed = start_block(block_of(potential), x)
    stops = 0
    while not simulate_block(block_of(potential), resumed, lambda _: None, 1e9, lambda: True):
        stops += 1
    assert stops == 3
    assert len(state.alive) == 3
    difference = float((state.point.positions - resumed.point.positions).abs().max())
    native = BoxForces(potential, Box(NUMBERS, CELL), compile=False).native
    assert difference == 0.0 if native else difference < 1e-10


def finished(block: Block, x: Tensor) -> State:
    state = start_block(block, x)
    assert simulate_block(block, state, lambda _: None, 1e9, lambda: False)
    return state


def test_a_trajectory_is_the_same_with_and_without_a_skin(potential: Potential) -> None:
    """By our own code to the bit; the order of sums over tables and graphs follows the places."""
    with_skin, without = block_of(potential), block_of(potential, skin_A=0.0)
    found, expected = finished(with_skin, water(3)), finished(without, water(3))
    made = [block.force_function.lists_made for block in (with_skin, without)]  # type: ignore[attr-defined]
    assert made[0] < made[1] // 5, "lists lasted"
    difference = float((found.point.positions - expected.point.positions).abs().max())
    native = BoxForces(potential, Box(NUMBERS, CELL), compile=False).native
    assert difference == 0.0 if native else difference < 1e-10


def test_known_bad_lists_that_are_never_renewed_are_seen(
    potential: Potential, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin: without a skin and without new lists pairs come and go unseen."""
    hot = {"replicas": 1, "temperature_K": 1000.0, "length_ps": 0.03, "criteria": ("not_finite",)}
    expected = finished(block_of(potential, 0.0, **hot), water(1))
    block = block_of(potential, 0.0, **hot)
    made = block.force_function
    assert isinstance(made, BoxForces)
    made(water(1))
    monkeypatch.setattr(made, "_renew", lambda *_: None)
    found = finished(replace(block, begin_segment=lambda: None), water(1))
    assert float((found.point.positions - expected.point.positions).abs().max()) > 1e-6


def energy_drift(potential: Potential, scale: float = 1.0) -> float:
    """Largest change of total energy in meV per atom, over 30 fs at constant energy."""
    block = block_of(
        potential, ensemble="nve", length_ps=0.03, timestep_fs=0.25, save_stride_ps=0.03,
        criteria=("not_finite",), replicas=1, temperature_K=1000.0,
    )  # fmt: skip
    exact = block.force_function

    def scaled(x: Tensor) -> tuple[Tensor, Tensor]:
        energies, found = exact(x)
        return energies, scale * found

    block, masses = replace(block, force_function=scaled), block.watched.masses_amu
    before = kinetic_and_potential(start_block(block, water(1)), masses)
    after = kinetic_and_potential(finished(block, water(1)), masses)
    return 1e3 * float((after - before).abs().max()) / len(NUMBERS)


def test_energy_is_kept_in_a_box_and_not_by_forces_that_are_not_its_slope(
    potential: Potential,
) -> None:
    potential.scale.fill_(0.2)
    kept, lost = energy_drift(potential), energy_drift(potential, 1.02)
    assert kept < 1e-3
    assert lost > 10.0 * kept


def test_lists_are_made_anew_at_each_segment_and_once(potential: Potential) -> None:
    block = block_of(potential)
    state = start_block(block, water(3))
    made = block.force_function
    assert isinstance(made, BoxForces)
    assert made.lists_made == 3
    simulate_block(block, state, lambda _: None, 1e9, lambda: False)
    assert made.lists_made == 3 + 4 * 3


def test_what_takes_no_tables_is_not_said_to_be_compiled() -> None:
    potential = make_potential("painn", "small", [1, 8], CUTOFF_A, 3)
    potential.tables = False
    _, evaluation = box_forces_for(potential, Box(NUMBERS, CELL), water(1), 10**6)
    assert str(evaluation) == "as defined (painn takes no tables)"


def test_elements_it_does_not_know_are_refused(potential: Potential) -> None:
    with pytest.raises(InputError, match="knows the elements"):
        BoxForces(potential, Box(torch.tensor([79]), CELL), compile=False)


@pytest.mark.parametrize("native", [True, False], ids=["native", "tables"])
def test_compiled_it_is_the_same(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes, "suits_native", lambda _: native)
    forces._graph.cache_clear()
    potential = make_potential("painn", "small", [1, 8], CUTOFF_A, 3)
    x = water(3)
    fast, evaluation = box_forces_for(potential, Box(NUMBERS, CELL), x, 10**6)
    assert evaluation.compiled, evaluation
    assert evaluation.native == native
    plain, why = box_forces_for(potential, Box(NUMBERS, CELL), x, 1)
    assert not why.compiled
    assert close(fast(x), plain(x), 1e-4)
