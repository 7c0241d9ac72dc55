"""Laws of metadynamics: the bias is what its hills say, and nothing leaves a trace in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from apps.dynamics.engine import Block, State, noise_of_segment, noise_to_come, segment, start_block
from apps.dynamics.ensemble import Member, simulate_blocks
from apps.dynamics.metadynamics import Hills, bias_at, biased, deposit, no_hills
from tests.laws.dynamics_systems import CHAIN, anharmonic_chain, make_block, run
from tests.laws.test_dynamics_engine import SHORT, assert_same, breaking_block, stopped_and_resumed

STRETCH = {
    "width": 0.1,
    "grid_lower": 1.2,
    "grid_upper": 2.2,
    "grid_bins": 40,
    "terms": [{"kind": "distance", "atoms": [2, 3]}],
}
COUNT = {
    "width": 0.04,
    "grid_lower": 0.0,
    "grid_upper": 2.0,
    "grid_bins": 120,
    "wall": 3.0,
    "terms": [{"kind": "coordination", "group_a": [0], "group_b": [1, 2, 3], "r0_A": 2.0}],
}
ONE: dict[str, Any] = {
    "variables": [STRETCH],
    "height_eV": 0.02,
    "pace_fs": 5.0,
    "bias_factor": 6.0,
}
TWO = {**ONE, "variables": [STRETCH, COUNT]}
BOTH = pytest.mark.parametrize("table", [ONE, TWO], ids=["one", "two"])


def quiet_block(table: dict[str, Any], **changes: Any) -> Block:
    """Eight chains, none of which fails."""
    settings = {**SHORT, "length_ps": 0.1, "stretch_A": 50.0, "metadynamics": table, **changes}
    return make_block(anharmonic_chain, **settings)


def failing_block(table: dict[str, Any], **changes: Any) -> Block:
    """Sixteen chains with low hills, of which some lose an atom."""
    return breaking_block(metadynamics={**table, "height_eV": 0.002}, **changes)


def hills_of(state: State) -> Hills:
    assert state.hills is not None
    return state.hills.laid()


def exact_bias(block: Block, hills: Hills, values: Tensor) -> Tensor:
    """Sum of Gaussians at points (P, D)."""
    assert block.bias is not None
    laid = hills.heights > 0.0
    widths = torch.tensor([v.width for v in block.bias.variables], dtype=torch.float64)
    apart = (values[:, None] - hills.centres[laid][None]) / widths
    return (hills.heights[laid] * torch.exp(-0.5 * (apart**2).sum(-1))).sum(-1)


def assert_same_hills(one: State, other: State) -> None:
    for name, value in vars(hills_of(one)).items():
        found = vars(hills_of(other))[name]
        if isinstance(value, Tensor):
            assert torch.equal(value.nan_to_num(-1.0), found.nan_to_num(-1.0)), name
        else:
            assert value == found, name


@BOTH
def test_the_grid_holds_the_sum_of_the_hills(table: dict[str, Any]) -> None:
    block = quiet_block(table)
    hills = hills_of(run(block))
    assert block.bias is not None
    generator = torch.Generator().manual_seed(1)
    bounds = torch.tensor([[v.grid_lower, v.grid_upper] for v in block.bias.variables]).double()
    drawn = torch.rand(300, len(bounds), generator=generator, dtype=torch.float64)
    values = torch.cat([bounds[:, 0] + drawn * (bounds[:, 1] - bounds[:, 0]),
                        hills.centres[hills.heights > 0.0]])  # fmt: skip
    found, slopes = bias_at(block.bias, hills.table, values)
    exact = exact_bias(block, hills, values)
    assert float(exact.max()) > 0.1
    torch.testing.assert_close(found, exact, rtol=0.0, atol=2e-3 * float(exact.max()))
    step = 1e-6
    for d in range(len(bounds)):
        by = torch.zeros(len(bounds), dtype=torch.float64)
        by[d] = step
        ahead, behind = (bias_at(block.bias, hills.table, v)[0] for v in (values + by, values - by))
        inside = ((values > bounds[:, 0] + step) & (values < bounds[:, 1] - step)).all(-1)
        numeric = (ahead - behind) / (2 * step)
        torch.testing.assert_close(slopes[inside, d], numeric[inside], atol=1e-6, rtol=1e-6)


@BOTH
def test_heights_are_tempered_by_the_bias_before(table: dict[str, Any]) -> None:
    block = quiet_block(table)
    hills = hills_of(run(block))
    assert block.bias is not None
    for row in (0, 1, 7, hills.count - 1):
        before = replace(hills, heights=hills.heights * (torch.arange(hills.count) < row)[:, None])
        laid = hills.heights[row] > 0.0
        assert int(laid.sum()) >= 2
        bias = exact_bias(block, before, hills.centres[row, laid])
        expected = 0.02 * torch.exp(-bias / block.bias.tempering_eV)
        torch.testing.assert_close(hills.heights[row, laid], expected, rtol=2e-3, atol=0.0)
    assert set(hills.heights[0].tolist()) <= {0.0, 0.02}
    assert float(hills.heights[-1].max()) < 0.02


@BOTH
def test_forces_are_biased_and_energies_are_not(table: dict[str, Any]) -> None:
    block = quiet_block(table)
    state = run(block)
    bias, hills, x = block.bias, hills_of(state), state.point.positions
    assert bias is not None
    function = biased(bias, hills, anharmonic_chain)
    energies, forces = function(x)
    assert torch.equal(energies, anharmonic_chain(x)[0])
    assert torch.equal(state.point.energies, energies)

    def whole(positions: Tensor) -> Tensor:
        from apps.dynamics.collective import collective_variables

        values = collective_variables(positions, bias.variables)
        return anharmonic_chain(positions)[0] + bias_at(bias, hills.table, values)[0]

    for atom, axis in [(0, 0), (2, 1), (3, 2), (3, 0)]:
        by = torch.zeros_like(x)
        by[:, atom, axis] = 1e-5
        slope = (whole(x + by) - whole(x - by)) / 2e-5
        torch.testing.assert_close(forces[:, atom, axis], -slope, atol=1e-6, rtol=1e-6)
    assert not torch.allclose(forces, anharmonic_chain(x)[1], atol=1e-3)


def test_outside_of_the_grid_the_bias_is_flat_and_the_wall_steep() -> None:
    block = quiet_block({**TWO, "variables": [{**STRETCH, "wall": 7.0}, {**COUNT, "wall": 0.0}]})
    hills = hills_of(run(block))
    assert block.bias is not None
    edge = torch.tensor([[1.2, 1.1], [2.2, 1.1], [1.5, 2.0]], dtype=torch.float64)
    beyond = torch.tensor([[-0.3, 0.0], [0.2, 0.0], [0.0, 0.4]], dtype=torch.float64)
    at_edge, _ = bias_at(block.bias, hills.table, edge)
    found, slopes = bias_at(block.bias, hills.table, edge + beyond)
    walls = torch.tensor([0.5 * 7.0 * 0.09, 0.5 * 7.0 * 0.04, 0.0], dtype=torch.float64)
    torch.testing.assert_close(found, at_edge + walls)
    across = slopes[[0, 1, 2], [0, 0, 1]]
    torch.testing.assert_close(across, torch.tensor([-2.1, 1.4, 0.0], dtype=torch.float64))


def test_hills_outside_are_left_out_and_counted() -> None:
    narrow = {**STRETCH, "grid_lower": 1.45, "grid_upper": 1.55, "grid_bins": 10}
    hills = hills_of(run(quiet_block({**ONE, "variables": [narrow]})))
    outside = ((hills.centres < 1.45) | (hills.centres > 1.55))[..., 0]
    assert 0 < hills.left_out == int(outside.sum()) < hills.heights.numel()
    assert torch.equal(hills.heights == 0.0, outside)


def test_what_is_no_number_lays_no_hill_even_before_a_check_saw_it() -> None:
    block = quiet_block(ONE)
    bias = block.bias
    assert bias is not None
    hills, everyone = no_hills(bias, block.device), torch.arange(8)
    x = CHAIN.expand(8, -1, -1).clone()
    x[3, 3, 0] = torch.nan
    deposit(bias, hills, bias.pace_steps, x, everyone, torch.ones(8, dtype=torch.bool))
    assert torch.isfinite(hills.table).all()
    assert (hills.heights[0] > 0.0).tolist() == [walker != 3 for walker in range(8)]
    assert hills.left_out == 0


@BOTH
def test_the_failed_lay_no_hills_from_the_check_on_that_saw_them(table: dict[str, Any]) -> None:
    block = failing_block(table)
    state = run(block)
    assert block.bias is not None
    assert 3 <= len(state.failures) < 16
    hills, ends = hills_of(state), {f.replica: f.step for f in state.failures}
    for walker in range(16):
        steps = torch.arange(1, hills.count + 1) * block.bias.pace_steps
        watched = steps < ends.get(walker, block.total_steps + 1)
        seen = torch.isfinite(hills.centres[:, walker]).all(-1)
        assert torch.equal(seen, watched)


@BOTH
@pytest.mark.parametrize("stride", [7, 10_000])
def test_compaction_leaves_no_trace(table: dict[str, Any], stride: int) -> None:
    once = run(failing_block(table))
    other = run(failing_block(table, compact_every_steps=stride))
    assert_same(once, other)
    assert_same_hills(once, other)


@BOTH
@pytest.mark.parametrize("segments", [0, 3])
def test_stopping_and_resuming_leaves_no_trace(
    table: dict[str, Any], segments: int, tmp_path: Path
) -> None:
    block = failing_block(table)
    straight, resumed = run(block), stopped_and_resumed(block, tmp_path, segments)
    assert_same(straight, resumed)
    assert_same_hills(straight, resumed)


def test_known_bad_a_forgotten_bias_leaves_a_trace(tmp_path: Path) -> None:
    block = failing_block(ONE, length_ps=0.1)
    state = start_block(block, CHAIN.expand(16, -1, -1).clone())
    with noise_to_come(block, state) as coming:
        segment(block, state, noise_of_segment(block, state, coming))
    bias = block.bias
    assert bias is not None
    state.hills = replace(no_hills(bias, block.device), count=hills_of(state).count)
    simulate_blocks([Member(block, state, lambda _: None)], 1e9, lambda: False)
    with pytest.raises(AssertionError):
        assert_same(run(block), state)


def test_blocks_with_a_bias_never_share_a_batch() -> None:
    like = failing_block(TWO, length_ps=0.1)
    given = [replace(like, seed=10 + i, replicas=size) for i, size in enumerate((16, 5, 9))]
    starts = [CHAIN.expand(block.replicas, -1, -1).clone() for block in given]
    members = [
        Member(block, start_block(block, x), lambda _: None)
        for block, x in zip(given, starts, strict=True)
    ]
    assert simulate_blocks(members, 1e9, lambda: False) == [True] * 3
    for member in members:
        assert_same(member.state, run(member.block))
        assert_same_hills(member.state, run(member.block))


def test_no_table_is_no_bias_and_a_bias_moves_them() -> None:
    plain = run(quiet_block(ONE, metadynamics=None))
    assert plain.hills is None
    assert not torch.equal(plain.point.positions, run(quiet_block(ONE)).point.positions)
    unfelt = run(quiet_block({**ONE, "height_eV": 1e-300}))
    assert_same(plain, unfelt)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ensemble": "nve"}, "langevin"),
        ({"metadynamics": {**ONE, "pace_fs": 0.7}}, "metadynamics.pace_fs must be a whole number"),
        ({"metadynamics": {**ONE, "bias_factor": 1.0}}, "greater than 1"),
        ({"metadynamics": {**ONE, "variables": [STRETCH] * 3}}, "at most 2"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        quiet_block(ONE, **changes)
