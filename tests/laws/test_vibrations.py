"""Density of states: lines of oscillators in their place, 3 N in all, no line out of the dark."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from campaign.statistics.vibrations import (
    LIGHT_CM_PER_FS,
    degrees_of_freedom,
    density_of_states,
    longest_stride_fs,
)
from data_store.errors import InputError
from data_store.streams import stream
from data_store.units import AMU_A2_PER_FS2_eV, ATOMIC_MASSES_amu, BOLTZMANN_eV_PER_K

NUMBERS = np.array([8, 1, 1] * 40)
LINES = {8: 1595.0, 1: 3657.0}
"""Wavenumbers of the oscillators of each element, per cm."""
T, STRIDE = 300.0, 2.0


def oscillators(seed: int, frames: int = 1501, stride_fs: float = STRIDE) -> NDArray[np.float64]:
    """Velocities of harmonic oscillators of thermal amplitudes and random phases."""
    rng = stream(seed, "oscillators")
    kT, shape = BOLTZMANN_eV_PER_K * T, (len(NUMBERS), 3)
    width = np.sqrt(kT / (ATOMIC_MASSES_amu[NUMBERS] * AMU_A2_PER_FS2_eV))[:, None]
    cosine, sine = rng.normal(size=(2, *shape)) * width
    turn = 2.0 * np.pi * LIGHT_CM_PER_FS * np.array([LINES[z] for z in NUMBERS])[:, None]
    angle = turn * stride_fs * np.arange(frames)[:, None, None]
    return np.asarray(cosine * np.cos(angle) + sine * np.sin(angle))


def test_lines_are_where_the_oscillators_are() -> None:
    found = density_of_states(oscillators(0), STRIDE, NUMBERS, T)
    assert found.elements == ("O", "H")
    for row, z in enumerate((8, 1)):
        peak = found.wavenumbers_per_cm[found.density_cm[row].argmax()]
        assert peak == pytest.approx(LINES[z], abs=0.3 * found.resolution_per_cm)
        near = np.abs(found.wavenumbers_per_cm - LINES[z]) < 2.0 * found.resolution_per_cm
        assert found.density_cm[row, near].sum() > 0.97 * found.density_cm[row].sum()


def test_the_integral_is_the_degrees_of_freedom_where_equipartition_holds() -> None:
    """Exactly twice the kinetic energy over kT; three for each atom within its scatter."""
    total = {"O": 0.0, "H": 0.0}
    for seed in range(10):
        velocities = oscillators(seed)
        found = degrees_of_freedom(density_of_states(velocities, STRIDE, NUMBERS, T))
        squares = (velocities**2).sum(-1).mean(0) * ATOMIC_MASSES_amu[NUMBERS]
        kinetic = AMU_A2_PER_FS2_eV * squares / (BOLTZMANN_eV_PER_K * T)
        assert found["O"] == pytest.approx(kinetic[NUMBERS == 8].sum(), rel=1e-9)
        assert found["H"] == pytest.approx(kinetic[NUMBERS == 1].sum(), rel=1e-9)
        total = {name: total[name] + value / 10.0 for name, value in found.items()}
    # Each degree of freedom is exponential about 1 (two quadratures): 10 draws of 3 N of them.
    for name, atoms in (("O", 40), ("H", 80)):
        assert total[name] == pytest.approx(3 * atoms, abs=5.0 * np.sqrt(3 * atoms / 10.0))


def test_known_bad_oscillators_do_not_share_alike() -> None:
    """Hydrogens at twice the temperature: equipartition is seen to fail."""
    velocities = oscillators(0)
    velocities[:, NUMBERS == 1] *= np.sqrt(2.0)
    found = degrees_of_freedom(density_of_states(velocities, STRIDE, NUMBERS, T))
    assert found["H"] > 3 * 80 + 5.0 * np.sqrt(3 * 80)


def test_white_noise_is_even_and_a_flight_is_at_zero() -> None:
    noise = stream(0, "noise").normal(size=(4001, 30, 3))
    found = density_of_states(noise, STRIDE, [6] * 30, T)
    halves = np.array_split(found.density_cm[0], 2)
    assert halves[0].mean() == pytest.approx(halves[1].mean(), rel=0.02)
    flight = np.ones((1501, 30, 3))
    found = density_of_states(flight, STRIDE, [6] * 30, T)
    assert found.density_cm[0].argmax() == 0


def test_too_coarse_a_stride_is_refused_with_nyquists_limit_and_would_be_wrong() -> None:
    """At 6 fs the line of 3657 per cm would stand at 1902, where no oscillator is."""
    coarse = oscillators(0, stride_fs=6.0)
    with pytest.raises(InputError, match=r"up to 2780 per cm \(Nyquist\), and 4500 are wanted"):
        density_of_states(coarse, 6.0, NUMBERS, T)
    found = density_of_states(coarse, 6.0, NUMBERS, T, highest_per_cm=2000.0)
    peak = found.wavenumbers_per_cm[found.density_cm[1].argmax()]
    assert peak == pytest.approx(1.0 / (6.0 * LIGHT_CM_PER_FS) - 3657.0, abs=10.0)
    assert longest_stride_fs() == pytest.approx(3.706, abs=1e-3)


def test_too_short_a_run_is_refused() -> None:
    with pytest.raises(InputError, match="save velocities for 2000 fs or more"):
        density_of_states(oscillators(0, frames=400), STRIDE, NUMBERS, T)
