r"""Free-energy profiles from the hills of well-tempered metadynamics, with error bars.

Two estimates of :math:`F(s) = -k_B T \ln p(s)`:

- from the bias at the end, :math:`F = -\frac{\gamma}{\gamma - 1} V` up to a constant (Barducci,
  Bussi and Parrinello 2008, doi:10.1103/PhysRevLett.100.020603), which is smooth and has no error
  bar of its own;
- reweighted (Tiwary and Parrinello 2015, doi:10.1021/jp504920s): a walker that is at s when it lays
  a hill counts :math:`\exp((V(s, t) - c(t)) / k_B T)`, with

.. math:: c(t) = k_B T \ln \frac{\int \exp\left(\frac{\gamma}{\gamma - 1}
    \frac{V(s, t)}{k_B T}\right) ds}{\int \exp\left(\frac{1}{\gamma - 1}
    \frac{V(s, t)}{k_B T}\right) ds}

Walkers are nearly independent given the bias they share; the error is that of a jackknife over
them. What the bias itself got wrong in common is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_store.units import BOLTZMANN_eV_PER_K

__all__ = [
    "Hills",
    "Profile",
    "bias_of_hills",
    "offsets_eV",
    "profile_of_bias",
    "reweighted_profile",
]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Hills:
    """Hills that the walkers of one bias laid, in order of time, and what was asked for.

    Parameters
    ----------
    times_ps : ndarray, shape (H,)
    walkers : ndarray of int, shape (H,)
    centres : ndarray, shape (H, D)
        In the units of the variables.
    heights_eV : ndarray, shape (H,)
    widths : tuple of float
        Standard deviations, one for each variable.
    height_eV : float
        Of a hill where there is no bias.
    bias_factor : float
    temperature_K : float
    """

    times_ps: Array
    walkers: NDArray[np.int64]
    centres: Array
    heights_eV: Array
    widths: tuple[float, ...]
    height_eV: float
    bias_factor: float
    temperature_K: float

    @property
    def kT_eV(self) -> float:
        """Thermal energy."""
        return BOLTZMANN_eV_PER_K * self.temperature_K

    @property
    def bias_before_eV(self) -> Array:
        """Bias at the centre of each hill before it was laid, from its height, shape (H,)."""
        tempering = self.kT_eV * (self.bias_factor - 1.0)
        return np.asarray(-tempering * np.log(self.heights_eV / self.height_eV))


@dataclass(frozen=True, eq=False)
class Profile:
    """Free energy along one variable.

    Parameters
    ----------
    edges : ndarray, shape (B + 1,)
        Of the bins.
    free_energy_eV : ndarray, shape (B,)
        Mean over the bins, weighted by probability, is 0; not a number where no sample was.
    error_eV : ndarray, shape (B,)
        Standard error by the jackknife over walkers.
    without_walker_eV : ndarray, shape (W, B)
        The profile without each walker in turn: what the errors, and those of differences, come
        from.
    """

    edges: Array
    free_energy_eV: Array
    error_eV: Array
    without_walker_eV: Array


def bias_of_hills(hills: Hills, nodes: Sequence[Array]) -> Array:
    """Bias of all hills in eV on a grid of nodes, one array of them for each variable."""
    return _sum_of_bells(hills, nodes, np.arange(len(hills.times_ps)))


def _sum_of_bells(hills: Hills, nodes: Sequence[Array], rows: NDArray[np.int64]) -> Array:
    bells = [
        np.exp(-0.5 * ((along - hills.centres[rows, d, None]) / hills.widths[d]) ** 2)
        for d, along in enumerate(nodes)
    ]
    if len(bells) == 1:
        return np.asarray(hills.heights_eV[rows] @ bells[0])
    return np.asarray((hills.heights_eV[rows, None] * bells[0]).T @ bells[1])


def profile_of_bias(hills: Hills, nodes: Sequence[Array]) -> Array:
    """Free energy on a grid from the bias at the end, in eV; its least value is 0."""
    factor = hills.bias_factor / (hills.bias_factor - 1.0)
    found = -factor * bias_of_hills(hills, nodes)
    return np.asarray(found - found.min())


def offsets_eV(hills: Hills, nodes: Sequence[Array]) -> Array:
    """c(t) before each hill, shape (H,), by sums over an even grid of nodes."""
    kT, gamma = hills.kT_eV, hills.bias_factor
    offsets = np.zeros(len(hills.times_ps))
    bias = np.zeros(tuple(len(along) for along in nodes))
    for rows in np.split(np.arange(len(offsets)), np.flatnonzero(np.diff(hills.times_ps)) + 1):
        if not len(rows):
            continue
        above = _log_of_sum(bias * (gamma / (gamma - 1.0) / kT))
        offsets[rows] = kT * (above - _log_of_sum(bias / ((gamma - 1.0) * kT)))
        bias += _sum_of_bells(hills, nodes, rows)
    return offsets


def _log_of_sum(exponents: Array) -> float:
    largest = float(exponents.max())
    return largest + math.log(float(np.exp(exponents - largest).sum()))


def reweighted_profile(
    hills: Hills, nodes: Sequence[Array], edges: Array, variable: int = 0, after_ps: float = 0.0
) -> Profile:
    """Free energy along one variable, from where walkers were when they laid hills.

    Parameters
    ----------
    hills : Hills
    nodes : sequence of ndarray
        Even grid over which c(t) is summed, for each variable.
    edges : ndarray, shape (B + 1,)
        Of the bins along the variable.
    variable : int
    after_ps : float
        Hills until then are left out as samples: the bias grew fast.
    """
    logs = (hills.bias_before_eV - offsets_eV(hills, nodes)) / hills.kT_eV
    late = hills.times_ps > after_ps
    logs, places, owners = logs[late], hills.centres[late, variable], hills.walkers[late]
    weights = np.exp(logs - logs.max(initial=-math.inf)) if len(logs) else logs
    names = np.unique(owners)
    counts = np.stack(
        [np.histogram(places[owners == w], edges, weights=weights[owners == w])[0] for w in names]
    ) if len(names) else np.zeros((0, len(edges) - 1))  # fmt: skip
    whole = _free_energy(counts.sum(0), edges, hills.kT_eV)
    without = np.stack(
        [_free_energy(counts.sum(0) - own, edges, hills.kT_eV) for own in counts]
    ) if len(names) else counts  # fmt: skip
    return Profile(edges, whole, _jackknife_error(without), without)


def _free_energy(counts: Array, edges: Array, kT_eV: float) -> Array:
    sound = counts > 1e-12 * counts.sum()
    probabilities = np.where(sound, counts, np.nan)
    found = -kT_eV * np.log(probabilities / np.diff(edges))
    if not sound.any():
        return np.asarray(found)
    return np.asarray(found - np.average(found[sound], weights=counts[sound]))


def _jackknife_error(without: Array) -> Array:
    """Of values without each block in turn; not a number where one of them is the only one."""
    count = len(without)
    if count < 2:
        return np.full(without.shape[1], np.nan)
    squares = ((without - without.mean(0)) ** 2).sum(0)
    return np.asarray(np.sqrt((count - 1) / count * squares))
