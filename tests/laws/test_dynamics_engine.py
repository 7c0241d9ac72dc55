"""Laws of the engine: what may leave no trace leaves none, and every failure is accounted for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from apps.dynamics.checkpoint import load_state, save_state
from apps.dynamics.engine import Block, State, noise_of_segment, start_block
from apps.dynamics.ensemble import simulate_block
from apps.dynamics.noise import Noise, noise_of_steps
from data_store.units import BOLTZMANN_eV_PER_K
from tests.laws.dynamics_systems import (
    CHAIN,
    MASSES,
    anharmonic_chain,
    harmonic,
    make_block,
    repulsive_after,
    run,
    total_energies,
    watched,
)

SHORT: dict[str, Any] = {
    "length_ps": 0.2,
    "check_stride_fs": 2.0,
    "keep_stride_fs": 1.0,
    "keep_frames": 6,
    "save_stride_ps": 0.02,
    "compact_every_steps": 20,
    "stretch_A": 0.3,
}


def breaking_block(**changes: Any) -> Block:
    """Sixteen replicas, some of which lose an atom."""
    return make_block(
        repulsive_after(60.0), replicas=16, temperature_K=1000.0, **{**SHORT, **changes}
    )


def assert_same(one: State, other: State) -> None:
    """Equal to the bit in all that is kept (but not in who was computed in vain)."""
    assert one.step == other.step
    assert sorted(map(repr, one.failures)) == sorted(map(repr, other.failures))
    assert torch.equal(one.alive, other.alive)
    for name, value in vars(one.point).items():
        assert torch.equal(value, getattr(other.point, name)), name
    assert one.last_frames.keys() == other.last_frames.keys()
    for replica, frames in one.last_frames.items():
        np.testing.assert_array_equal(frames, other.last_frames[replica])
    rows = [sorted(state.saved, key=lambda row: row[:2]) for state in (one, other)]
    for left, right in zip(*rows, strict=True):
        assert (left[0], left[1], left[3], left[4]) == (right[0], right[1], right[3], right[4])
        np.testing.assert_array_equal(left[2], right[2])


def test_the_system_has_failures_and_survivors() -> None:
    state = run(breaking_block())
    assert 3 <= len(state.failures) <= 13
    assert len({failure.step for failure in state.failures}) > 2


@pytest.mark.parametrize("stride", [7, 10, 50, 10_000])
def test_compaction_leaves_no_trace(stride: int) -> None:
    once, other = run(breaking_block()), run(breaking_block(compact_every_steps=stride))
    assert_same(once, other)


def test_known_bad_noise_of_the_batch_leaves_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def noise_of_the_batch(block: Block, state: State, coming: Noise) -> Tensor:
        steps = len(noise_of_segment(block, state, coming))
        generator = torch.Generator().manual_seed(state.step)
        shape = (steps, *state.point.positions.shape)
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    monkeypatch.setattr("apps.dynamics.ensemble.noise_of_segment", noise_of_the_batch)
    once, other = run(breaking_block()), run(breaking_block(compact_every_steps=10_000))
    with pytest.raises(AssertionError):
        assert_same(once, other)


def stopped_and_resumed(block: Block, folder: Path, segments: int) -> State:
    """Run with a stop after every few segments, each time from the file."""
    save_state(folder, start_block(block, CHAIN.expand(block.replicas, -1, -1).clone()))
    for _ in range(1000):
        state = load_state(folder, block.device)
        assert state is not None
        asked = iter(range(segments))
        if simulate_block(
            block,
            state,
            lambda s: save_state(folder, s),
            1e9,
            lambda asked=asked: next(asked, None) is None,  # type: ignore[misc]
        ):
            return state
    raise AssertionError("never ended")


@pytest.mark.parametrize("segments", [0, 3])
def test_stopping_and_resuming_leaves_no_trace(tmp_path: Path, segments: int) -> None:
    block = breaking_block()
    straight, resumed = run(block), stopped_and_resumed(block, tmp_path, segments)
    assert_same(straight, resumed)
    assert straight.replica_steps == resumed.replica_steps


def test_a_kill_loses_what_came_after_the_checkpoint_and_nothing_else(tmp_path: Path) -> None:
    block = breaking_block()
    killed = start_block(block, CHAIN.expand(16, -1, -1).clone())

    def save_then_die(state: State) -> None:
        save_state(tmp_path, state)
        if state.step >= 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_block(block, killed, save_then_die, 0.0, lambda: False)
    state = load_state(tmp_path, block.device)
    assert state is not None
    assert state.step == 100
    assert simulate_block(block, state, lambda _: None, 1e9, lambda: False)
    assert_same(run(block), state)


def test_noise_is_a_function_of_seed_replica_and_step() -> None:
    shape = (5, 2, 3)
    whole = noise_of_steps(3, 0, 90, shape)
    for first, steps in [(0, 20), (13, 41), (59, 1), (20, 20)]:
        assert torch.equal(noise_of_steps(3, first, steps, shape), whole[first : first + steps])
    assert not torch.equal(noise_of_steps(4, 0, 20, shape), whole[:20])
    assert len(torch.unique(whole)) == whole.numel(), "no number comes twice"


@pytest.mark.parametrize("ahead", [False, True])
def test_noise_drawn_meanwhile_is_the_same_noise(ahead: bool) -> None:
    segments = [(20, 30), (50, 30), (80, 7)]
    with Noise(3, (5, 2, 3), segments, torch.device("cpu"), ahead=ahead) as noise:
        for first, steps in segments:
            assert torch.equal(noise.next(), noise_of_steps(3, first, steps, (5, 2, 3)))


def test_replicas_do_not_see_each_other() -> None:
    """One replica's start moves; no other replica changes by a bit."""
    block = breaking_block()
    starts = CHAIN.expand(16, -1, -1).clone()
    states = []
    for shift in (0.0, 0.05):
        starts[5, 0, 0] = shift
        state = start_block(block, starts.clone())
        simulate_block(block, state, lambda _: None, 1e9, lambda: False)
        states.append(state)
    for one, other in zip(
        *(sorted(s.saved, key=lambda r: r[:2]) for s in map(without_5, states)), strict=True
    ):
        assert one[:2] == other[:2]
        np.testing.assert_array_equal(one[2], other[2])


def without_5(state: State) -> State:
    return replace(state, saved=[row for row in state.saved if row[0] != 5])


def test_the_same_seed_gives_the_same_velocities_and_noise_whatever_the_forces() -> None:
    """Arms are paired: with no forces at all, two models' replicas move alike."""
    one = run(make_block(harmonic(0.0), **{**SHORT, "criteria": ("not_finite",)}))
    other = run(
        make_block(
            lambda x: (7.0 + 0 * x.sum((1, 2)), 0 * x), **{**SHORT, "criteria": ("not_finite",)}
        )
    )
    assert torch.equal(one.point.positions, other.point.positions)


def poisoned(after_calls: int, replica: int) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Forces of the chain that turn into NaN for one replica."""
    calls = [0]

    def force_function(x: Tensor) -> tuple[Tensor, Tensor]:
        calls[0] += 1
        energies, forces = anharmonic_chain(x)
        if calls[0] > after_calls and len(x) > replica:
            forces[replica] = torch.nan
        return energies, forces

    return force_function


def test_a_replica_that_is_no_number_harms_no_other() -> None:
    settings = {**SHORT, "compact_every_steps": 10_000}
    sick = run(make_block(poisoned(101, 2), **settings))
    sound = run(make_block(anharmonic_chain, **settings))
    assert [(f.replica, f.step, f.cause) for f in sick.failures] == [(2, 104, 0)]
    assert 2 not in sick.alive
    others = [r for r in range(8) if r != 2]
    assert torch.equal(sick.point.positions, sound.point.positions[others])
    assert all(np.isfinite(frames).all() for frames in sick.last_frames.values())


def test_a_failure_is_seen_by_the_first_check_after_it() -> None:
    """The atom flies off at a known speed, so the step at which it is too far is known."""
    masses = torch.tensor([1.0, 1.0], dtype=torch.float64)
    block = make_block(
        lambda x: (0 * x.sum((1, 2)), 0 * x),
        replicas=3,
        masses=masses,
        ensemble="nve",
        **{**SHORT, "stretch_A": 0.5},
    )
    starts = torch.tensor([[0.0, 0, 0], [1.5, 0, 0]]).double().expand(3, -1, -1).clone()
    state = start_block(block, starts)
    speeds = torch.tensor([0.0, 0.013, 0.02], dtype=torch.float64)
    velocities = torch.zeros(3, 2, 3, dtype=torch.float64)
    velocities[:, 1, 0] = speeds
    state.point = replace(state.point, velocities=velocities)
    assert simulate_block(block, state, lambda _: None, 1e9, lambda: False)
    seen = {f.replica: (f.step, f.atoms) for f in state.failures}
    # 0.5 Å at 0.013 Å/fs is 38.5 fs, at 0.02 Å/fs 25 fs; checks come every 2 fs = 4 steps.
    assert seen == {1: (80, (0, 1)), 2: (52, (0, 1))}
    assert state.alive.tolist() == [0]


def test_last_frames_are_those_before_the_failure_in_order_of_time() -> None:
    """Replicas at constant speed: where they are is when it was."""
    masses = torch.tensor([1.0, 1.0], dtype=torch.float64)
    block = make_block(
        lambda x: (0 * x.sum((1, 2)), 0 * x),
        replicas=2,
        masses=masses,
        ensemble="nve",
        **{**SHORT, "keep_stride_fs": 1.5, "check_stride_fs": 2.0, "stretch_A": 0.5},
    )
    state = start_block(block, torch.tensor([[0.0, 0, 0], [1.5, 0, 0]]).double().repeat(2, 1, 1))
    velocities = torch.zeros(2, 2, 3, dtype=torch.float64)
    velocities[1, 1, 0] = 0.01
    state.point = replace(state.point, velocities=velocities)
    assert simulate_block(block, state, lambda _: None, 1e9, lambda: False)
    (failure,) = state.failures
    times = (state.last_frames[1][:, 1, 0] - 1.5) / 0.01
    assert failure.step == 104  # 52 fs
    np.testing.assert_allclose(times, [43.5, 45.0, 46.5, 48.0, 49.5, 51.0, 52.0], atol=1e-3)


def test_a_start_that_is_broken_fails_at_time_zero() -> None:
    block = breaking_block(ensemble="nve")
    starts = CHAIN.expand(16, -1, -1).clone()
    starts[3, 3, 2] = 2.5
    state = start_block(block, starts)
    assert [(f.replica, f.step, f.atoms) for f in state.failures] == [(3, 0, (2, 3))]
    assert state.failures[0].value == pytest.approx(1.0)
    assert 3 not in state.alive
    assert len(state.last_frames[3]) == 1
    np.testing.assert_allclose(state.last_frames[3][0], starts[3])


def test_when_all_have_failed_it_ends() -> None:
    block = breaking_block()
    starts = CHAIN.expand(16, -1, -1).clone()
    starts[:, 3, 2] = 2.5
    state = start_block(block, starts)
    assert simulate_block(block, state, lambda _: None, 1e9, lambda: False)
    assert (state.step, state.replica_steps, len(state.failures)) == (0, 0, 16)


def test_the_last_step_is_checked_even_off_the_stride() -> None:
    """Length 10 steps, checks every 4: what breaks in steps 9 and 10 is no survivor."""
    block = make_block(
        poisoned(9, 0),
        ensemble="nve",
        **{**SHORT, "length_ps": 0.005, "check_stride_fs": 2.0, "save_stride_ps": 0.001},
    )
    assert [(f.replica, f.step) for f in run(block).failures] == [(0, 10)]


def test_saved_frames_are_of_replicas_not_yet_failed() -> None:
    state = run(breaking_block())
    ends = {failure.replica: failure.step for failure in state.failures}
    for replica in range(16):
        steps = [row[1] for row in state.saved if row[0] == replica]
        expected = [s for s in range(0, 401, 40) if s < ends.get(replica, 401)]
        assert steps == expected


def test_exposure_is_the_sum_of_what_was_watched() -> None:
    """Steps computed = exposure + those of failed replicas until the batch let them go."""
    state, alone = run(breaking_block()), run(breaking_block(compact_every_steps=1))
    watched_steps = sum(f.step for f in alone.failures) + 400 * len(alone.alive)
    wasted = sum(-f.step % 20 for f in state.failures)
    assert alone.replica_steps == watched_steps
    assert state.replica_steps == watched_steps + wasted


def test_energy_is_conserved_through_the_engine() -> None:
    block = make_block(anharmonic_chain, ensemble="nve", **{**SHORT, "timestep_fs": 0.25})
    before = start_block(block, CHAIN.expand(8, -1, -1).clone())
    drift = (total_energies(run(block)) - total_energies(before)).abs().max()
    assert float(drift) < 2e-3


def hot_block(tail: float, replicas: int) -> Block:
    threshold = 0.5 * BOLTZMANN_eV_PER_K * 500.0 * float(chi2.isf(tail, 12))
    return make_block(
        harmonic(0.0),
        replicas=replicas,
        looked_at=watched(MASSES, hot_eV=threshold),
        criteria=("not_finite", "hot"),
        friction_per_ps=2000.0,  # velocities forgotten from one check to the next
        length_ps=0.005,
        timestep_fs=0.5,
        check_stride_fs=5.0,
        save_stride_ps=0.005,
        compact_every_steps=1000,
    )


def test_hot_calls_as_many_sound_replicas_as_its_tail_says() -> None:
    """Two checks of 20 000 sound replicas at a tail of 1 %: 398 ± 20."""
    failures = len(run(hot_block(0.01, 20_000)).failures)
    assert abs(failures - 398) < 5 * 20


def test_hot_calls_no_sound_replica_at_its_usual_tail() -> None:
    assert not run(hot_block(1e-12, 20_000)).failures
