"""What every registered potential must obey, on every prior, by whichever path it is evaluated.

Float64 throughout, so that a violated law shows as more than round-off. On a prior, geometries are
squeezed until it is felt.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from apps.potential import radial
from apps.potential.batch import AnyBatch, DenseBatch, PairBatch, TableBatch
from apps.potential.evaluate import energies_and_forces, total_energies
from apps.potential.neighbors import graph_batch
from apps.potential.painn import PaiNN
from apps.potential.prior import PRIORS
from apps.potential.protocol import Potential
from apps.potential.registry import make_potential, potential_names
from apps.potential.tables import Table, neighbour_table, pairs_once
from data_store.streams import stream

CUTOFF_A = 4.0
NUMBERS = np.array([6, 8, 1, 1, 1, 1])
SQUEEZE = {"factor": 1.0}
BatchOf = Callable[[np.ndarray, np.ndarray], AnyBatch]


def dense(numbers: np.ndarray, positions: np.ndarray) -> AnyBatch:
    return DenseBatch(torch.tensor(numbers)[None], torch.tensor(positions)[None])


def listed(numbers: np.ndarray, positions: np.ndarray) -> AnyBatch:
    return graph_batch([numbers], [positions], [np.zeros((3, 3))], [np.zeros(3, bool)], CUTOFF_A)


def tabled(numbers: np.ndarray, positions: np.ndarray) -> AnyBatch:
    return periodic_table(numbers, positions, np.zeros((3, 3)), np.zeros(3, bool))


def periodic_table(
    numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
) -> TableBatch:
    """Table with a skin of half an Ångström."""
    x, box = torch.tensor(positions)[None], torch.tensor(cell)
    periodic = (bool(pbc[0]), bool(pbc[1]), bool(pbc[2]))
    table = neighbour_table(x, box, periodic, CUTOFF_A + 0.5)
    return TableBatch(torch.tensor(numbers)[None], x, **vars(table))


def once(numbers: np.ndarray, positions: np.ndarray) -> AnyBatch:
    return periodic_once(numbers, positions, np.zeros((3, 3)), np.zeros(3, bool))


def periodic_once(
    numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
) -> PairBatch:
    """Pairs of a table, each once."""
    table = periodic_table(numbers, positions, cell, pbc)
    kept = {name: getattr(table, name) for name in ("neighbours", "reverse", "shifts", "used")}
    pairs, shifts = pairs_once(Table(**kept))
    return PairBatch(table.numbers, table.positions, pairs, shifts)


CASES = [(name, prior) for name in potential_names() for prior in ("none", *PRIORS)]


@pytest.fixture(params=CASES, ids="-".join)
def potential(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Potential:
    name, prior = request.param
    made = make_potential(name, "small", [1, 6, 8], CUTOFF_A, 3, prior).double()
    if prior != "none":
        monkeypatch.setitem(SQUEEZE, "factor", 0.75)
    made.shift_eV[[1, 6, 8]] = torch.tensor([-13.0, -1030.0, -2040.0], dtype=torch.float64)
    made.scale.fill_(2.5)
    return made


@pytest.fixture(params=[dense, listed, tabled, once])
def batch_of(request: pytest.FixtureRequest, potential: Potential) -> BatchOf:
    chosen: BatchOf = request.param
    if chosen in (tabled, once) and not potential.tables:
        pytest.skip(f"{potential.architecture} takes no tables")
    return chosen


def geometry(seed: int = 0) -> np.ndarray:
    base = np.array(
        [
            [0.0, 0, 0], [1.42, 0, 0], [1.7, 0.9, 0],
            [-0.4, 1.0, 0], [-0.4, -0.5, 0.9], [-0.4, -0.5, -0.9],
        ]
    )  # fmt: skip
    return SQUEEZE["factor"] * base + 0.1 * stream(seed, "geometry").normal(size=base.shape)


def evaluate(potential: Potential, batch: AnyBatch) -> tuple[float, np.ndarray]:
    network, forces = energies_and_forces(potential, batch)
    return float(total_energies(potential, batch, network)[0]), forces.reshape(-1, 3).numpy()


def rotation(seed: int, *, proper: bool) -> np.ndarray:
    q, _ = np.linalg.qr(stream(seed, "rotation").normal(size=(3, 3)))
    return q if (np.linalg.det(q) > 0) == proper else -q


def test_a_prior_is_felt(potential: Potential, batch_of: BatchOf) -> None:
    batch = batch_of(NUMBERS, geometry())
    bare = make_potential(potential.architecture, "small", [1, 6, 8], CUTOFF_A, seed=3).double()
    bare.scale.copy_(potential.scale)
    bare.shift_eV.copy_(potential.shift_eV)
    added = evaluate(potential, batch)[0] - evaluate(bare, batch)[0]
    assert (added > 0.5) == (potential.prior != "none")


@pytest.mark.parametrize("proper", [True, False], ids=["rotation", "reflection"])
def test_energy_is_invariant_and_forces_turn(
    potential: Potential, batch_of: BatchOf, proper: bool
) -> None:
    x, q = geometry(), rotation(1, proper=proper)
    energy, forces = evaluate(potential, batch_of(NUMBERS, x))
    turned, turned_forces = evaluate(
        potential, batch_of(NUMBERS, x @ q.T + np.array([3.0, -7.0, 1.0]))
    )
    assert turned == pytest.approx(energy, abs=1e-10)
    np.testing.assert_allclose(turned_forces, forces @ q.T, atol=1e-10)
    assert np.abs(forces).max() > 1e-3, "a law of zeros would hold for anything"


def test_atoms_have_no_order(potential: Potential, batch_of: BatchOf) -> None:
    x, order = geometry(), stream(2, "order").permutation(len(NUMBERS))
    energy, forces = evaluate(potential, batch_of(NUMBERS, x))
    permuted, permuted_forces = evaluate(potential, batch_of(NUMBERS[order], x[order]))
    assert permuted == pytest.approx(energy, abs=1e-10)
    np.testing.assert_allclose(permuted_forces, forces[order], atol=1e-10)


def test_forces_are_the_gradient(potential: Potential, batch_of: BatchOf) -> None:
    x, step = geometry(), 1e-4
    _, forces = evaluate(potential, batch_of(NUMBERS, x))
    numerical = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        moved = [x.copy(), x.copy()]
        moved[0][index] += step
        moved[1][index] -= step
        up, down = (evaluate(potential, batch_of(NUMBERS, m))[0] for m in moved)
        numerical[index] = -(up - down) / (2 * step)
    np.testing.assert_allclose(forces, numerical, atol=1e-6)
    np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-10)


def test_all_batches_agree(potential: Potential, batch_of: BatchOf) -> None:
    x = geometry()
    one, two = (evaluate(potential, make(NUMBERS, x)) for make in (dense, batch_of))
    assert one[0] == pytest.approx(two[0], abs=1e-10)
    np.testing.assert_allclose(one[1], two[1], atol=1e-10)


def test_padding_and_company_change_nothing(potential: Potential) -> None:
    x, small = geometry(), geometry(1)[:4]
    padded = DenseBatch(
        torch.tensor([[*NUMBERS, 0, 0], [*NUMBERS[:4], 0, 0, 0, 0]]),
        torch.tensor(np.stack([np.vstack([x, x[:2]]), np.vstack([small, x[:4]])])),
    )
    network, forces = energies_and_forces(potential, padded)
    total = total_energies(potential, padded, network)
    for row, (numbers, positions) in enumerate([(NUMBERS, x), (NUMBERS[:4], small)]):
        energy, alone = evaluate(potential, dense(numbers, positions))
        assert float(total[row]) == pytest.approx(energy, abs=1e-10)
        np.testing.assert_allclose(forces[row, : len(numbers)], alone, atol=1e-10)
        assert not forces[row, len(numbers) :].any()


def test_far_fragments_add_up(potential: Potential, batch_of: BatchOf) -> None:
    x, far = geometry(), geometry(1) + np.array([CUTOFF_A + 8.0, 0.0, 0.0])
    together, forces = evaluate(
        potential, batch_of(np.concatenate([NUMBERS, NUMBERS]), np.vstack([x, far]))
    )
    apart = [evaluate(potential, batch_of(NUMBERS, y)) for y in (x, far)]
    assert together == pytest.approx(sum(energy for energy, _ in apart), abs=1e-9)
    np.testing.assert_allclose(forces, np.vstack([f for _, f in apart]), atol=1e-10)


def _largest_jumps(potential: Potential, batch_of: BatchOf) -> tuple[float, float, float]:
    """Jumps of energy, force and force derivative when an atom leaves the cutoff of two others.

    The derivative of the force is taken from each side by a one-sided difference.
    """
    numbers, step, near = np.array([8, 1, 6]), 1e-5, 1e-7

    def at(distance: float) -> tuple[float, np.ndarray]:
        x = np.array([[0.0, 0, 0], [0.3, 0.9, 0], [distance, 0, 0]])
        return evaluate(potential, batch_of(numbers, x))

    (e_in, f_in), (e_out, f_out) = at(CUTOFF_A - near), at(CUTOFF_A + near)
    inside = (f_in - at(CUTOFF_A - near - step)[1]) / step
    outside = (at(CUTOFF_A + near + step)[1] - f_out) / step
    return (
        abs(e_in - e_out),
        float(np.abs(f_in - f_out).max()),
        float(np.abs(inside - outside).max()),
    )


def test_nothing_jumps_at_the_cutoff(potential: Potential, batch_of: BatchOf) -> None:
    energy, force, derivative = _largest_jumps(potential, batch_of)
    assert energy < 1e-9
    assert force < 1e-6
    assert derivative < 1e-3


@pytest.mark.parametrize("made_of", [dense, listed, tabled])
def test_bare_bessel_functions_jump_and_are_caught(
    monkeypatch: pytest.MonkeyPatch, made_of: BatchOf
) -> None:
    def no_envelope(ratio: Tensor) -> Tensor:
        # What is left vanishes at the cutoff, but its slope does not.
        return (ratio < 1.0).to(ratio.dtype)

    monkeypatch.setattr(radial, "quintic_envelope", no_envelope)
    potential = make_potential("painn", "small", [1, 6, 8], CUTOFF_A, seed=3).double()
    _, force, derivative = _largest_jumps(potential, made_of)
    assert force > 1e-6
    assert derivative > 1e-3


@pytest.mark.parametrize("form", [None, periodic_table, periodic_once])
def test_a_supercell_has_the_energy_of_its_cells(
    potential: Potential, form: Callable[..., AnyBatch] | None
) -> None:
    if form and not potential.tables:
        pytest.skip(f"{potential.architecture} takes no tables")
    x, cell = geometry(), np.diag([5.0, 4.5, 4.2]) + 0.1
    pbc = np.ones(3, bool)

    def periodic(numbers: np.ndarray, positions: np.ndarray, box: np.ndarray) -> AnyBatch:
        if form:
            return form(numbers, positions, box, pbc)
        return graph_batch([numbers], [positions], [box], [pbc], CUTOFF_A)

    energy, forces = evaluate(potential, periodic(NUMBERS, x, cell))
    doubled = np.diag([2.0, 1.0, 1.0]) @ cell
    twice = periodic(np.concatenate([NUMBERS, NUMBERS]), np.vstack([x, x + cell[0]]), doubled)
    both, both_forces = evaluate(potential, twice)
    assert both == pytest.approx(2 * energy, abs=1e-8)
    np.testing.assert_allclose(both_forces, np.vstack([forces, forces]), atol=1e-9)
    wrapped = x + np.array([[0], [1], [-2], [0], [3], [1]]) * cell[1]
    assert evaluate(potential, periodic(NUMBERS, wrapped, cell))[0] == pytest.approx(energy)
    isolated, _ = evaluate(potential, listed(NUMBERS, x))
    assert abs(isolated - energy) > 1e-3, "images must be felt, or nothing was tested"


def assert_traceable(potential: Potential) -> None:
    """What is written down on some atoms holds for others, at other places."""

    def found(numbers: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        return energies_and_forces(potential, DenseBatch(numbers, positions))

    def batch(seed: int, order: list[int]) -> tuple[Tensor, Tensor]:
        places = np.stack([geometry(seed), geometry(seed + 1)])
        kinds = np.stack([NUMBERS[order], NUMBERS[order[::-1]]])
        return torch.tensor(kinds), torch.tensor(places)

    graph = make_fx(found)(*batch(0, [2, 3, 4, 5, 0, 1]))
    other = batch(2, [0, 1, 2, 3, 4, 5])
    for ours, theirs in zip(graph(*other), found(*other), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_what_says_it_is_traceable_is_one_sequence_of_operations(potential: Potential) -> None:
    if not potential.traceable:
        pytest.skip(f"{potential.architecture} does not say that it is")
    assert_traceable(potential)


def test_a_choice_by_values_is_caught() -> None:
    class Choosing(PaiNN):
        def network_energy(self, batch: AnyBatch) -> Tensor:
            energy = super().network_energy(batch)
            return energy if float(batch.positions.max()) > 2.0 else 2.0 * energy

    with pytest.raises(RuntimeError):
        assert_traceable(Choosing("small", [1, 6, 8], CUTOFF_A).double())
