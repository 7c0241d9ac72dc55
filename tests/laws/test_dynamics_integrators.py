"""Laws of the integrators: conservation, reversibility, sampling. Known-bad twins must fail them.

A statistical test asks for z < 5 (a false alarm once in two million); the twins it must catch are
off by far more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chi2, kstest
from torch import Tensor

from apps.dynamics.integrators import (
    INTEGRATORS,
    PhasePoint,
    Thermostat,
    baoab,
    velocity_verlet,
)
from apps.dynamics.thermal import kinetic_energy, maxwell_boltzmann
from data_store.units import AMU_A2_PER_FS2_eV, BOLTZMANN_eV_PER_K
from tests.laws.dynamics_systems import CHAIN, MASSES, ForceFunction, anharmonic_chain, harmonic

TEMPERATURE_K = 500.0
kT_eV = BOLTZMANN_eV_PER_K * TEMPERATURE_K
NO_NOISE = torch.zeros(1, 1, 1)
Integrator = Callable[[PhasePoint, ForceFunction, Tensor, float, Thermostat, Tensor], PhasePoint]


def start(replicas: int, seed: int = 0) -> PhasePoint:
    generator = torch.Generator().manual_seed(seed)
    velocities = maxwell_boltzmann(MASSES, TEMPERATURE_K, replicas, generator, at_rest=True)
    positions = CHAIN.expand(replicas, -1, -1)
    return PhasePoint(positions, velocities, *reversed(anharmonic_chain(positions)))


def newton(point: PhasePoint, steps: int, step_fs: float, integrator: Integrator) -> PhasePoint:
    for _ in range(steps):
        point = integrator(
            point, anharmonic_chain, MASSES, step_fs, Thermostat(TEMPERATURE_K, 0.0), NO_NOISE
        )
    return point


def energy(point: PhasePoint) -> Tensor:
    return point.energies + kinetic_energy(point.velocities, MASSES)


def explicit_euler(
    point: PhasePoint,
    force_function: ForceFunction,
    masses: Tensor,
    step_fs: float,
    thermostat: Thermostat,
    noise: Tensor,
) -> PhasePoint:
    """Known bad: neither reversible nor symplectic, first order."""
    positions = point.positions + step_fs * point.velocities
    velocities = point.velocities + step_fs / AMU_A2_PER_FS2_eV * point.forces / masses[:, None]
    return PhasePoint(positions, velocities, *reversed(force_function(positions)))


def symplectic_euler(
    point: PhasePoint,
    force_function: ForceFunction,
    masses: Tensor,
    step_fs: float,
    thermostat: Thermostat,
    noise: Tensor,
) -> PhasePoint:
    """Known bad: symplectic, but of first order and not reversible."""
    velocities = point.velocities + step_fs / AMU_A2_PER_FS2_eV * point.forces / masses[:, None]
    positions = point.positions + step_fs * velocities
    return PhasePoint(positions, velocities, *reversed(force_function(positions)))


def energy_errors(integrator: Integrator, step_fs: float, length_fs: float) -> Tensor:
    """Largest excursion of the total energy of each replica along the way."""
    point = start(4)
    first, worst = energy(point), torch.zeros(4, dtype=torch.float64)
    for _ in range(round(length_fs / step_fs)):
        point = newton(point, 1, step_fs, integrator)
        worst = torch.maximum(worst, (energy(point) - first).abs())
    return worst


def order_of_energy_error(integrator: Integrator) -> float:
    coarse, fine = (energy_errors(integrator, step, 50.0).mean() for step in (0.4, 0.1))
    return math.log(float(coarse / fine), 4.0)


def test_energy_error_falls_with_the_square_of_the_step() -> None:
    assert order_of_energy_error(velocity_verlet) == pytest.approx(2.0, abs=0.15)


def test_known_bad_euler_is_not_of_second_order() -> None:
    order = order_of_energy_error(symplectic_euler)
    assert order == pytest.approx(1.0, abs=0.3)
    assert order != pytest.approx(2.0, abs=0.15)


def drift_eV_per_ps(integrator: Integrator) -> float:
    """Slope of the total energy over 2 ps, the largest of the replicas."""
    point = start(4)
    times, energies = [], []
    for block in range(40):
        point = newton(point, 200, 0.25, integrator)
        times.append(0.05 * (block + 1))
        energies.append(energy(point).numpy())
    slopes = np.polyfit(times, np.array(energies), 1)[0]
    return float(np.abs(slopes).max())


def test_energy_does_not_drift() -> None:
    assert drift_eV_per_ps(velocity_verlet) < 2e-4


def test_known_bad_euler_drifts() -> None:
    assert not drift_eV_per_ps(explicit_euler) < 2e-4


def forth_and_back(integrator: Integrator) -> float:
    begin = start(4)
    there = newton(begin, 400, 0.25, integrator)
    back = newton(replace(there, velocities=-there.velocities), 400, 0.25, integrator)
    return float((back.positions - begin.positions).abs().max())


def test_newton_runs_backwards_in_time() -> None:
    assert forth_and_back(velocity_verlet) < 1e-8


def test_known_bad_euler_does_not_run_backwards() -> None:
    assert not forth_and_back(symplectic_euler) < 1e-8


def test_momentum_and_angular_momentum_are_conserved() -> None:
    before, after = start(4), newton(start(4), 400, 0.5, velocity_verlet)
    weights = MASSES[:, None]
    for point in (before, after):
        assert float((weights * point.velocities).sum(1).abs().max()) < 1e-12
    spin = [
        (weights * torch.linalg.cross(p.positions, p.velocities)).sum(1) for p in (before, after)
    ]
    torch.testing.assert_close(spin[0], spin[1], atol=1e-10, rtol=0)


def test_langevin_without_friction_is_newton() -> None:
    noise = torch.ones(4, 4, 3, dtype=torch.float64)
    free = Thermostat(TEMPERATURE_K, 0.0)
    one = baoab(start(4), anharmonic_chain, MASSES, 0.5, free, noise)
    other = velocity_verlet(start(4), anharmonic_chain, MASSES, 0.5, free, noise)
    torch.testing.assert_close(one.positions, other.positions, atol=1e-14, rtol=0)
    torch.testing.assert_close(one.velocities, other.velocities, atol=1e-16, rtol=0)


def test_every_ensemble_has_an_integrator_that_asks_for_forces_once() -> None:
    calls = []

    def counted(x: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(len(x))
        return anharmonic_chain(x)

    for integrator in INTEGRATORS.values():
        calls.clear()
        integrator(start(2), counted, MASSES, 0.5, Thermostat(300.0, 1e-3), torch.zeros(2, 4, 3))
        assert calls == [2]


# Sampling of a harmonic well: 5000 replicas, each a sample of its own.

REPLICAS, STIFFNESS, STEP_fs = 5000, 30.0, 1.0
WELL_MASSES = torch.tensor([1.008, 12.0, 16.0, 12.0], dtype=torch.float64)


def wrong_noise(
    point: PhasePoint,
    force_function: ForceFunction,
    masses: Tensor,
    step_fs: float,
    thermostat: Thermostat,
    noise: Tensor,
) -> PhasePoint:
    """Known bad: noise of width √(1 − c) where it should be √(1 − c²)."""
    decay = math.exp(-thermostat.friction_per_fs * step_fs)
    factor = math.sqrt((1.0 - decay) / (1.0 - decay * decay))
    return baoab(point, force_function, masses, step_fs, thermostat, factor * noise)


def euler_maruyama(
    point: PhasePoint,
    force_function: ForceFunction,
    masses: Tensor,
    step_fs: float,
    thermostat: Thermostat,
    noise: Tensor,
) -> PhasePoint:
    """Known bad at any step that one would use: first order."""
    gamma = thermostat.friction_per_fs
    kick = torch.sqrt(2.0 * gamma * kT_eV / (masses * AMU_A2_PER_FS2_eV) * step_fs)[:, None]
    moved = explicit_euler(point, force_function, masses, step_fs, thermostat, noise)
    velocities = moved.velocities - step_fs * gamma * point.velocities + kick * noise
    return replace(moved, velocities=velocities)


def kinetic_factor() -> Tensor:
    """What BAOAB's velocities in a harmonic well lack of k_B T: 1 − h²ω²/4, (N,)."""
    return 1.0 - 0.25 * STEP_fs**2 * STIFFNESS / (AMU_A2_PER_FS2_eV * WELL_MASSES)


def sampled(integrator: Integrator, friction_per_ps: float, cold: bool = False) -> PhasePoint:
    """Replicas started as BAOAB leaves them (or all at the bottom) and run on for 300 fs."""
    generator = torch.Generator().manual_seed(5)
    shape = (REPLICAS, len(WELL_MASSES), 3)
    width = 0.0 if cold else math.sqrt(kT_eV / STIFFNESS)
    positions = width * torch.randn(shape, dtype=torch.float64, generator=generator)
    velocities = maxwell_boltzmann(WELL_MASSES, TEMPERATURE_K, REPLICAS, generator, at_rest=False)
    velocities = velocities * kinetic_factor().sqrt()[:, None]
    force_function = harmonic(STIFFNESS)
    point = PhasePoint(positions, velocities, *reversed(force_function(positions)))
    thermostat = Thermostat(TEMPERATURE_K, friction_per_ps * 1e-3)
    for _ in range(300):
        noise = torch.randn(shape, dtype=torch.float64, generator=generator)
        point = integrator(point, force_function, WELL_MASSES, STEP_fs, thermostat, noise)
    return point


def configurational_z(point: PhasePoint) -> Tensor:
    """Deviation of ⟨|∇U|²⟩/⟨∇²U⟩ from k_B T by atom, in standard errors of a χ² mean."""
    found = (point.forces**2).mean((0, 2)) / STIFFNESS
    return (found / kT_eV - 1.0).abs() / math.sqrt(2.0 / (3 * REPLICAS))


def kinetic_z(point: PhasePoint) -> Tensor:
    """Deviation of m⟨v²⟩ by atom from BAOAB's own k_B T (1 − h²ω²/4), in standard errors."""
    found = AMU_A2_PER_FS2_eV * WELL_MASSES * (point.velocities**2).mean((0, 2))
    return (found / (kT_eV * kinetic_factor()) - 1.0).abs() / math.sqrt(2.0 / (3 * REPLICAS))


def crossed_z(point: PhasePoint) -> Tensor:
    """Correlation of positions and velocities by atom, in standard errors: none at equilibrium."""
    x, v = point.positions, point.velocities
    correlation = (x * v).mean((0, 2)) / ((x**2).mean((0, 2)) * (v**2).mean((0, 2))).sqrt()
    return correlation.abs() * math.sqrt(3 * REPLICAS)


@pytest.mark.parametrize("friction_per_ps", [0.5, 2.0, 20.0, 200.0])
def test_positions_sample_a_harmonic_well_exactly(friction_per_ps: float) -> None:
    point = sampled(baoab, friction_per_ps)
    assert float(configurational_z(point).max()) < 5
    assert float(kinetic_z(point).max()) < 5
    assert float(crossed_z(point).max()) < 5


@pytest.mark.parametrize("friction_per_ps", [50.0, 200.0])
def test_a_cold_start_is_forgotten(friction_per_ps: float) -> None:
    point = sampled(baoab, friction_per_ps, cold=True)
    assert float(configurational_z(point).max()) < 5  # underdamped: e^(−γt) is left, below 1e-6
    assert float(kinetic_z(point).max()) < 5


@pytest.mark.parametrize("wrong", [wrong_noise, euler_maruyama])
@pytest.mark.parametrize("friction_per_ps", [20.0, 200.0])
def test_known_bad_integrators_do_not_sample_the_well(
    wrong: Integrator, friction_per_ps: float
) -> None:
    point = sampled(wrong, friction_per_ps)
    worst = torch.nan_to_num(configurational_z(point), nan=1e9)
    assert not float(worst.max()) < 5


# Starting velocities.


def standardised(at_rest: bool) -> tuple[np.ndarray, int]:
    """2 E_kin / k_B T of 4000 starts, and the degrees of freedom it should have."""
    generator = torch.Generator().manual_seed(11)
    velocities = maxwell_boltzmann(MASSES, TEMPERATURE_K, 4000, generator, at_rest=at_rest)
    freedom = 3 * len(MASSES) - (3 if at_rest else 0)
    return (2.0 / kT_eV * kinetic_energy(velocities, MASSES)).numpy(), freedom


@pytest.mark.parametrize("at_rest", [False, True])
def test_starting_kinetic_energies_are_chi_squared(at_rest: bool) -> None:
    values, freedom = standardised(at_rest)
    assert kstest(values, chi2(freedom).cdf).pvalue > 1e-6


@pytest.mark.parametrize("at_rest", [False, True])
def test_known_bad_degrees_of_freedom_are_noticed(at_rest: bool) -> None:
    values, freedom = standardised(at_rest)
    wrong = freedom + (3 if at_rest else -3)
    assert not kstest(values, chi2(wrong).cdf).pvalue > 1e-6


def test_a_start_at_rest_has_no_momentum() -> None:
    for at_rest in (True, False):
        generator = torch.Generator().manual_seed(3)
        velocities = maxwell_boltzmann(MASSES, TEMPERATURE_K, 50, generator, at_rest=at_rest)
        momentum = (MASSES[:, None] * velocities).sum(1).abs().max()
        assert (float(momentum) < 1e-13) is at_rest
