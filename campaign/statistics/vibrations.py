r"""Vibrational density of states: the spectrum of a simulation's velocities, by element.

.. math:: S_e(\nu) = \frac{2}{k_B T} \int_{-\infty}^{\infty}
    \sum_{i \in e} m_i \langle v_i(t_0 + t) \cdot v_i(t_0) \rangle\, e^{-2 \pi i \nu t}\,dt

after Lin, Blanco and Goddard (2003, doi:10.1063/1.1624057), per wavenumber :math:`\nu / c`. Its
integral is twice the kinetic energy over :math:`k_B T`: three degrees of freedom for each atom
where equipartition holds, which is thereby seen and not assumed. Sums over the wavenumbers that are
given keep this exactly.

Correlations are taken to a lag, under half of a Hann window, which widens every line to about the
resolution that is told. A stride of frames knows no wavenumber above Nyquist's, and puts what is
there elsewhere: too coarse a stride is refused. Classical: nothing here knows of quantum nuclei.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_store.errors import InputError
from data_store.units import (
    SYMBOLS,
    AMU_A2_PER_FS2_eV,
    ATOMIC_MASSES_amu,
    BOLTZMANN_eV_PER_K,
)

__all__ = [
    "CORRELATION_FS",
    "HIGHEST_PER_CM",
    "Spectrum",
    "degrees_of_freedom",
    "density_of_states",
    "longest_stride_fs",
]

HIGHEST_PER_CM = 4500.0
"""What a spectrum must know: bonds of hydrogen, H2's at 4400 among them."""

CORRELATION_FS = 1000.0
"""Longest lag."""

LIGHT_CM_PER_FS = 2.99792458e-5
"""Speed of light, exact (SI 2019)."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Density of states.

    Parameters
    ----------
    wavenumbers_per_cm : ndarray, shape (J,)
        From 0, at even distances.
    elements : tuple of str, length E
    density_cm : ndarray, shape (E, J)
        Degrees of freedom per wavenumber, of all atoms of an element.
    resolution_per_cm : float
    """

    wavenumbers_per_cm: Array
    elements: tuple[str, ...]
    density_cm: Array
    resolution_per_cm: float


def longest_stride_fs(highest_per_cm: float = HIGHEST_PER_CM) -> float:
    """Time between frames that still knows a wavenumber: half of its period."""
    return 0.5 / (highest_per_cm * LIGHT_CM_PER_FS)


def density_of_states(
    velocities: NDArray[np.floating],
    stride_fs: float,
    numbers: ArrayLike,
    temperature_K: float,
    correlation_fs: float = CORRELATION_FS,
    highest_per_cm: float = HIGHEST_PER_CM,
) -> Spectrum:
    """Density of states of one run.

    Parameters
    ----------
    velocities : ndarray, shape (F, N, 3)
        In Å/fs, at even distances in time.
    stride_fs : float
        Time between frames.
    numbers : ndarray of int, shape (N,)
        Atomic numbers.
    temperature_K : float
        Of the thermostat, or what a run's kinetic energy says.
    correlation_fs : float
        Longest lag; no longer than half of the run.
    highest_per_cm : float
        Largest wavenumber that must be known.

    Raises
    ------
    InputError
        If the stride is too coarse, or the run too short.
    """
    if stride_fs > longest_stride_fs(highest_per_cm) * (1.0 + 1e-9):
        nyquist = 0.5 / (stride_fs * LIGHT_CM_PER_FS)
        raise InputError(
            f"velocities every {stride_fs:g} fs know wavenumbers up to {nyquist:.0f} per cm "
            f"(Nyquist), and {highest_per_cm:g} are wanted",
            f"save velocities at least every {longest_stride_fs(highest_per_cm):.2f} fs",
        )
    lags = round(min(correlation_fs / stride_fs, (len(velocities) - 1) / 2))
    if lags < 2 or lags * stride_fs < 0.5 * correlation_fs:
        raise InputError(
            f"{len(velocities)} frames of velocities every {stride_fs:g} fs are too few for "
            f"correlations over {correlation_fs:g} fs",
            f"save velocities for {2.0 * correlation_fs:g} fs or more",
        )
    elements = np.asarray(numbers, dtype=np.int64)
    kinds = np.unique(elements)[::-1]
    scale = AMU_A2_PER_FS2_eV / (BOLTZMANN_eV_PER_K * temperature_K)
    spectra = [
        scale * ATOMIC_MASSES_amu[z] * _spectrum(velocities[:, elements == z], lags, stride_fs)
        for z in kinds
    ]
    wavenumbers: Array = np.fft.rfftfreq(_padded(lags), stride_fs).astype(np.float64)
    return Spectrum(
        wavenumbers / LIGHT_CM_PER_FS,
        tuple(SYMBOLS[z] for z in kinds),
        np.stack(spectra),
        1.0 / (lags * stride_fs * LIGHT_CM_PER_FS),
    )


def _padded(lags: int) -> int:
    """Length of the transform: odd, so that no wavenumber stands for two, and four times finer."""
    return 8 * lags + 1


def _spectrum(velocities: NDArray[np.floating], lags: int, stride_fs: float) -> Array:
    """Transform of the windowed correlation, times 2 c, in Å²/fs² cm."""
    frames = len(velocities)
    found = np.fft.rfft(velocities.astype(np.float64), n=2 * frames, axis=0)
    products = np.fft.irfft((np.abs(found) ** 2).sum((1, 2)), n=2 * frames)
    lag = np.arange(lags + 1)
    kept = products[lag] / (frames - lag) * np.cos(0.5 * np.pi * lag / lags) ** 2
    both = np.zeros(_padded(lags))
    both[: lags + 1], both[-lags:] = kept, kept[:0:-1]
    return np.asarray(2.0 * stride_fs * LIGHT_CM_PER_FS * np.fft.rfft(both).real)


def degrees_of_freedom(found: Spectrum) -> dict[str, float]:
    """Integral over all wavenumbers, by element; 0 stands at the edge and counts half."""
    step = float(found.wavenumbers_per_cm[1])
    sums = found.density_cm.sum(1) - 0.5 * found.density_cm[:, 0]
    return dict(zip(found.elements, (sums * step).tolist(), strict=True))
