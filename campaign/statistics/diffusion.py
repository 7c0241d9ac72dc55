r"""Self-diffusion from mean squared displacements, and what a periodic box takes from it.

Einstein's relation over a window of lags,

.. math:: \mathrm{MSD}(\tau) = \langle |x_i(t + \tau) - x_i(t)|^2 \rangle_{i,t},\qquad
    D = \tfrac16 \frac{d\,\mathrm{MSD}}{d\tau}

with the drift of the centre of mass removed, and the slope by least squares over the window, which
begins where displacements no longer know their first collisions. Whether it did is told by the
exponent: MSD grows with :math:`\tau^1` in free diffusion, slower where atoms rattle before they
leave, and not at all where they are frozen.

A box of edge L holds back its own flow. Yeh and Hummer (doi:10.1021/jp0477147):

.. math:: D_\infty = D + \frac{\xi k_B T}{6 \pi \eta L},\qquad \xi = 2.837297

for a cube, with the viscosity η of the liquid that is simulated. A thermostat's friction lowers D
too, and nothing here corrects that: D of Langevin dynamics is that of the liquid only where the
friction is far below the liquid's own.

Positions must be unwrapped. Removing the drift of N independent particles of one mass takes
1/N of D; particles that keep their momentum among themselves lose nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_store.errors import InputError
from data_store.units import ELEMENTARY_CHARGE_C, BOLTZMANN_eV_PER_K

__all__ = [
    "WINDOW_PS",
    "Diffusion",
    "WATER_VISCOSITY_mPa_s",
    "diffusion_of_run",
    "even_stride",
    "finite_size_A2_per_ps",
    "mean_squared_displacement",
    "without_drift",
]

WINDOW_PS = (1.0, 5.0)
"""Lags that the slope is taken over."""

WATER_VISCOSITY_mPa_s = 0.890
"""Of water at 298.15 K and 1 bar (IAPWS 2008, doi:10.1063/1.3088050): not that of a model."""

_XI = 2.837297

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Diffusion:
    """Self-diffusion in one run.

    Parameters
    ----------
    blocks_A2_per_ps : ndarray, shape (K,)
        Coefficient of each block of the run.
    exponent : float
        Of the growth of displacements over the window: 1 in free diffusion, 0 where frozen.
    """

    blocks_A2_per_ps: Array
    exponent: float


def even_stride(times: ArrayLike, what: str) -> float:
    """Time between frames.

    Raises
    ------
    InputError
        If there are fewer than two, or they do not follow each other evenly.
    """
    moments = np.asarray(times, dtype=np.float64)
    gaps = np.diff(moments)
    if not len(gaps) or gaps.min() <= 0.0 or np.ptp(gaps) > 1e-3 * gaps.mean():
        raise InputError(
            f"{what} of a run are to follow each other at even distances in time, at least two; "
            f"there are {len(moments)}"
            + (f", {gaps.min():g} to {gaps.max():g} apart" if len(gaps) else ""),
            "save frames of a whole run at one stride",
        )
    return float(gaps.mean())


def without_drift(positions: NDArray[np.floating], masses_amu: ArrayLike) -> Array:
    """Positions (F, N, 3) less those of their centre of mass, in Å."""
    weights = np.asarray(masses_amu, dtype=np.float64)
    found = positions.astype(np.float64)
    return np.asarray(found - np.average(found, axis=1, weights=weights)[:, None])


def mean_squared_displacement(positions: Array) -> Array:
    """MSD in Å² at every lag, over all atoms and origins, shape (F,).

    By Fourier transforms (Calandrini et al. 2011, doi:10.1051/sfn/201112010), in a time that grows
    as F log F.

    Parameters
    ----------
    positions : ndarray, shape (F, N, 3)
        Unwrapped, in Å, drift removed.
    """
    frames = len(positions)
    moved = positions - positions[:1]  # small numbers: squares are subtracted below
    spectrum = np.fft.rfft(moved, n=2 * frames, axis=0)
    products = np.fft.irfft((np.abs(spectrum) ** 2).sum((1, 2)), n=2 * frames)[:frames]
    squares = (moved**2).sum((1, 2))
    ends = np.concatenate([[0.0], squares.cumsum()])
    lags = np.arange(frames)
    both = ends[frames - lags] + ends[frames] - ends[lags]
    found = (both - 2.0 * products) / (frames - lags) / positions.shape[1]
    return np.asarray(np.maximum(found, 0.0))


def diffusion_of_run(
    positions: NDArray[np.floating],
    stride_ps: float,
    masses_amu: ArrayLike,
    chosen: NDArray[np.bool_],
    window_ps: tuple[float, float] = WINDOW_PS,
) -> Diffusion:
    """Self-diffusion of some atoms of a run, in blocks of twice the largest lag or more.

    Parameters
    ----------
    positions : ndarray, shape (F, N, 3)
        Unwrapped, of the whole box, in Å, at even distances in time.
    stride_ps : float
    masses_amu : ndarray, shape (N,)
    chosen : ndarray of bool, shape (N,)
        Atoms that displacements are averaged over.
    window_ps : (float, float)
        Least and largest lag of the slope.

    Raises
    ------
    InputError
        If the run is shorter than twice the largest lag, or the window has fewer than three lags.
    """
    low = max(math.ceil(window_ps[0] / stride_ps - 1e-6), 1)
    high = math.floor(window_ps[1] / stride_ps + 1e-6)
    length = (len(positions) - 1) * stride_ps
    count = math.floor(length / (2.0 * window_ps[1]) + 1e-6)
    if count < 1:
        raise InputError(
            f"diffusion is read off lags up to {window_ps[1]:g} ps, which wants runs of "
            f"{2.0 * window_ps[1]:g} ps; this one has {length:g} ps",
            "simulate longer",
        )
    if high - low < 2:
        raise InputError(
            f"a window of {window_ps[0]:g} to {window_ps[1]:g} ps has fewer than three lags of "
            f"frames {stride_ps:g} ps apart",
            "save frames more often",
        )
    moving = without_drift(positions, masses_amu)[:, chosen]
    size = (len(positions) - 1) // count
    curves = [
        mean_squared_displacement(moving[k * size : (k + 1) * size + 1])[low : high + 1]
        for k in range(count)
    ]
    lags = np.arange(low, high + 1) * stride_ps
    slopes = np.array([np.polyfit(lags, curve, 1)[0] for curve in curves]) / 6.0
    mean = np.mean(curves, axis=0)
    grown = math.log(mean[-1] / mean[0]) if mean[0] > 0.0 and mean[-1] > 0.0 else 0.0
    return Diffusion(slopes, grown / math.log(lags[-1] / lags[0]))


def finite_size_A2_per_ps(
    temperature_K: float, edge_A: float, viscosity_mPa_s: float = WATER_VISCOSITY_mPa_s
) -> float:
    """What a cubic box takes from D, in Å²/ps; Yeh and Hummer 2004, doi:10.1021/jp0477147."""
    thermal_J = BOLTZMANN_eV_PER_K * temperature_K * ELEMENTARY_CHARGE_C
    return 1e8 * _XI * thermal_J / (6.0 * math.pi * viscosity_mPa_s * 1e-3 * edge_A * 1e-10)
