"""Integrators sample what theory says, conserve what they should, and leave no trace of stops."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chi2, kstest
from torch import Tensor

from apps.dynamics.checkpoint import load_state, save_state
from apps.dynamics.criteria import Watched
from apps.dynamics.engine import Block, State, simulate_block, start_block
from apps.dynamics.integrators import PhasePoint, Thermostat, baoab, velocity_verlet
from apps.dynamics.settings import DynamicsSettings
from apps.dynamics.thermal import kinetic_energy, maxwell_boltzmann
from data_store.units import AMU_A2_PER_FS2_eV, BOLTZMANN_eV_PER_K

STIFFNESS = 5.0  # eV/Å²
MASSES = torch.tensor([16.0, 1.0], dtype=torch.float64)
TEMPERATURE_K = 400.0

Integrator = Callable[..., PhasePoint]


def harmonic(x: Tensor) -> tuple[Tensor, Tensor]:
    """Each atom bound to the origin."""
    return 0.5 * STIFFNESS * (x * x).sum((1, 2)), -STIFFNESS * x


def anharmonic(x: Tensor) -> tuple[Tensor, Tensor]:
    """Two atoms joined by a Morse bond (4 eV, 2 /Å, 1 Å)."""
    line = x[:, 1] - x[:, 0]
    length = torch.linalg.vector_norm(line, dim=-1)
    decay = torch.exp(-2.0 * (length - 1.0))
    pull = (16.0 * decay * (1.0 - decay) / length)[:, None] * line
    return 4.0 * (1.0 - decay) ** 2, torch.stack([pull, -pull], dim=1)


def wrong_noise(*args: object, **kwargs: object) -> PhasePoint:
    """Known-bad twin: noise of a friction twice as strong as the one that damps."""
    point, force_function, masses, step, thermostat, noise = args
    strong = Thermostat(thermostat.temperature_K, 2.0 * thermostat.friction_per_fs)  # type: ignore[attr-defined]
    good = baoab(point, force_function, masses, step, thermostat, 0.0 * noise)  # type: ignore[arg-type, operator]
    noisy = baoab(point, force_function, masses, step, strong, noise)  # type: ignore[arg-type]
    silent = baoab(point, force_function, masses, step, strong, 0.0 * noise)  # type: ignore[arg-type, operator]
    return PhasePoint(
        good.positions + noisy.positions - silent.positions,
        good.velocities + noisy.velocities - silent.velocities,
        good.forces + noisy.forces - silent.forces,
        good.energies,
    )


def sampled_temperatures(
    integrator: Integrator, friction_per_ps: float, step_fs: float
) -> tuple[float, float]:
    """Kinetic and configurational temperature of many harmonic atoms, after a burn-in, in K.

    The configurational one is <|∇U|²> / (k_B <∇²U>), for which positions alone decide.
    """
    generator = torch.Generator().manual_seed(1)
    replicas = 400
    thermostat = Thermostat(TEMPERATURE_K, friction_per_ps * 1e-3)
    velocities = maxwell_boltzmann(MASSES, TEMPERATURE_K, replicas, generator, at_rest=False)
    width = math.sqrt(BOLTZMANN_eV_PER_K * TEMPERATURE_K / STIFFNESS)
    x = width * torch.randn(replicas, 2, 3, dtype=torch.float64, generator=generator)
    energies, forces = harmonic(x)
    point, kinetic, squared = PhasePoint(x, velocities, forces, energies), [], []
    for step in range(3000):
        noise = torch.randn(replicas, 2, 3, dtype=torch.float64, generator=generator)
        point = integrator(point, harmonic, MASSES, step_fs, thermostat, noise)
        if step >= 1000 and step % 10 == 0:
            kinetic.append(kinetic_energy(point.velocities, MASSES).mean())
            squared.append((point.forces**2).mean())
    freedom = 3 * len(MASSES)
    return (
        float(torch.stack(kinetic).mean()) * 2.0 / (freedom * BOLTZMANN_eV_PER_K),
        float(torch.stack(squared).mean()) / (STIFFNESS * BOLTZMANN_eV_PER_K),
    )


@pytest.mark.parametrize("friction_per_ps", [5.0, 50.0])
def test_langevin_has_both_temperatures(friction_per_ps: float) -> None:
    kinetic, configurational = sampled_temperatures(baoab, friction_per_ps, 0.5)
    assert kinetic == pytest.approx(TEMPERATURE_K, rel=0.02)
    assert configurational == pytest.approx(TEMPERATURE_K, rel=0.02)


def test_positions_are_exact_even_at_a_coarse_step() -> None:
    _, configurational = sampled_temperatures(baoab, 20.0, 2.0)
    assert configurational == pytest.approx(TEMPERATURE_K, rel=0.02)


def test_a_wrong_thermostat_is_caught() -> None:
    kinetic, configurational = sampled_temperatures(wrong_noise, 20.0, 0.5)
    assert abs(kinetic / TEMPERATURE_K - 1.0) > 0.2
    assert abs(configurational / TEMPERATURE_K - 1.0) > 0.2


def _nve(step_fs: float, steps: int, integrator: Integrator = velocity_verlet) -> Tensor:
    """Total energy along a run of a Morse molecule, shape (steps,)."""
    x = torch.tensor([[[0.0, 0, 0], [1.15, 0, 0]]], dtype=torch.float64)
    energies, forces = anharmonic(x)
    velocities = torch.tensor([[[0.0, 0.001, 0], [0.0, -0.016, 0]]], dtype=torch.float64)
    point = PhasePoint(x, velocities, forces, energies)
    totals = []
    for _ in range(steps):
        point = integrator(point, anharmonic, MASSES, step_fs, Thermostat(0.0, 0.0), x * 0)
        totals.append(point.energies + kinetic_energy(point.velocities, MASSES))
    return torch.cat(totals)


def test_verlet_does_not_drift_and_errs_by_the_square_of_its_step() -> None:
    coarse, fine = _nve(0.4, 5000), _nve(0.2, 10000)
    errors = [float((e - e[0]).abs().max()) for e in (coarse, fine)]
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.25)
    halves = fine[:5000].mean(), fine[5000:].mean()
    assert abs(float(halves[0] - halves[1])) < 0.05 * errors[1]


def test_explicit_euler_drifts_and_is_caught() -> None:
    def euler(
        point: PhasePoint, force: Callable[..., tuple[Tensor, Tensor]], masses: Tensor,
        step_fs: float, thermostat: Thermostat, noise: Tensor,
    ) -> PhasePoint:  # fmt: skip
        x = point.positions + step_fs * point.velocities
        pull = point.forces / masses[:, None] / AMU_A2_PER_FS2_eV
        energies, forces = force(x)
        return PhasePoint(x, point.velocities + step_fs * pull, forces, energies)

    energies = _nve(0.2, 10000, euler)
    halves = energies[:5000].mean(), energies[5000:].mean()
    assert abs(float(halves[0] - halves[1])) > 0.01


def test_verlet_runs_backwards() -> None:
    x = torch.tensor([[[0.0, 0, 0], [1.15, 0.1, 0]]], dtype=torch.float64)
    energies, forces = anharmonic(x)
    start = PhasePoint(x, 0.01 * torch.ones_like(x), forces, energies)
    point = start
    for direction in (1.0, -1.0):
        point = PhasePoint(point.positions, direction * point.velocities, point.forces, energies)
        for _ in range(500):
            point = velocity_verlet(point, anharmonic, MASSES, 0.2, Thermostat(0, 0), x * 0)
    torch.testing.assert_close(point.positions, start.positions, rtol=0, atol=1e-9)


def test_starting_velocities_are_maxwells() -> None:
    generator = torch.Generator().manual_seed(0)
    for at_rest, freedom in ((False, 6), (True, 3)):
        v = maxwell_boltzmann(MASSES, TEMPERATURE_K, 20_000, generator, at_rest=at_rest)
        kinetic = kinetic_energy(v, MASSES) * 2.0 / (BOLTZMANN_eV_PER_K * TEMPERATURE_K)
        assert kstest(kinetic.numpy(), chi2(freedom).cdf).pvalue > 1e-3
        assert kstest(kinetic.numpy(), chi2(freedom + 1).cdf).pvalue < 1e-6, "a wrong law is told"
        if at_rest:
            assert float((MASSES[:, None] * v).sum(1).abs().max()) < 1e-12


def leaky(x: Tensor) -> tuple[Tensor, Tensor]:
    """Harmonic, but a barrier of about 0.15 eV at 0.5 Å lets atoms escape, and then diverges."""
    r = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    outside = (r > 0.3).to(x.dtype)
    return harmonic(x)[0], -STIFFNESS * x * (1.0 - outside) + 60.0 * outside * x


def block(tmp_settings: dict[str, object] | None = None, replicas: int = 24) -> Block:
    settings = DynamicsSettings(
        **{
            "length_ps": 0.4, "timestep_fs": 0.5, "criteria": ("bond_stretch", "not_finite"),
            "keep_frames": 5, "compact_every_steps": 50, "save_stride_ps": 0.05,
            "friction_per_ps": 20.0, **(tmp_settings or {}),
        }
    )  # fmt: skip
    watched = Watched(
        masses_amu=MASSES,
        bonds=torch.tensor([[0, 1]]),
        bond_lengths_A=torch.tensor([0.3], dtype=torch.float64),
        others=torch.zeros((0, 2), dtype=torch.int64),
        least_distances_A=torch.zeros(0, dtype=torch.float64),
        hot_eV=math.inf,
    )
    return Block(leaky, watched, settings, 450.0, 7, replicas, torch.device("cpu"))


def stop_after(segments: int | None) -> Callable[[], bool]:
    asked = iter(range(1, 10**6))
    return lambda: next(asked) == segments


def finish(
    what: Block, folder: Path | None = None, stop_every: int | None = None
) -> tuple[State, int]:
    """Run a block to its end; stopped after every so many segments, it goes on from the file."""
    starts = torch.zeros(what.replicas, 2, 3, dtype=torch.float64)
    state, sittings = start_block(what, starts), 0
    while True:
        sittings += 1
        save = (lambda s: save_state(folder, s)) if folder else (lambda s: None)
        finished = simulate_block(what, state, save, 1e9, stop_after(stop_every))
        if finished:
            return state, sittings
        assert folder is not None
        loaded = load_state(folder, what.device)
        assert loaded is not None
        state = loaded


def story(state: State) -> list[tuple[object, ...]]:
    return sorted((f.replica, f.step, f.cause, f.value, f.atoms) for f in state.failures)


def test_stops_leave_no_trace(tmp_path: Path) -> None:
    whole, _ = finish(block())
    parts, sittings = finish(block(), tmp_path, stop_every=2)
    assert sittings > 3
    assert 0 < len(whole.failures) < 24, "some fail and some survive, or nothing was tested"
    assert story(parts) == story(whole)
    assert torch.equal(parts.point.positions, whole.point.positions)
    for replica, frames in whole.last_frames.items():
        np.testing.assert_array_equal(parts.last_frames[replica], frames)
    for one, two in zip(parts.saved, whole.saved, strict=True):
        assert one[:2] == two[:2]
        np.testing.assert_array_equal(one[2], two[2])


def test_leaving_the_batch_leaves_no_trace_in_others() -> None:
    state, _ = finish(block({"compact_every_steps": 50}))
    stories, positions = story(state), state.point.positions
    # Those that survived run again, in a batch that never held the others.
    lonely = block()
    starts = torch.zeros(24, 2, 3, dtype=torch.float64)
    state = start_block(lonely, starts)
    keep = [int(r) for r in range(24) if r not in {s[0] for s in stories}]
    state.alive = torch.tensor(keep)
    state.point = PhasePoint(**{k: v[keep] for k, v in vars(state.point).items()})
    state.ring = state.ring[:, keep]
    assert simulate_block(lonely, state, lambda s: None, 1e9, lambda: False)
    assert not state.failures
    torch.testing.assert_close(state.point.positions, positions, rtol=0, atol=0)


def test_failed_replicas_stop_counting_and_soon_cost_nothing() -> None:
    what = block()
    state, _ = finish(what)
    everything = what.replicas * what.total_steps
    exposure = sum(f.step for f in state.failures) + len(state.alive) * what.total_steps
    assert exposure <= state.replica_steps < everything
    assert state.replica_steps - exposure <= 50 * len(state.failures)


def test_the_last_frames_lead_to_the_failure() -> None:
    state, _ = finish(block())
    for failure in state.failures:
        frames = state.last_frames[failure.replica]
        assert 1 <= len(frames) <= 5
        lengths = np.linalg.norm(frames[:, 1] - frames[:, 0], axis=-1)
        assert abs(lengths[-1] - 0.3) == pytest.approx(failure.value, rel=1e-5)
        assert failure.value > 0.5
        assert (np.abs(lengths[:-1] - 0.3) <= 0.5).all(), "it is the first check that sees it"
        assert failure.atoms == (0, 1)


def test_noise_and_velocities_do_not_depend_on_the_potential() -> None:
    starts = torch.zeros(24, 2, 3, dtype=torch.float64)
    one = start_block(block(), starts)
    other = start_block(Block(**{**vars(block()), "force_function": harmonic}), starts)
    assert torch.equal(one.point.velocities, other.point.velocities)
