r"""How many independent structures a round of dynamics is worth, by the memory of its energy.

Frames of one trajectory resemble each other. With :math:`\rho_t` the autocorrelation of the
potential energy over frames, F frames of C trajectories are worth

.. math:: n = F C / g, \qquad g = 1 + 2 \sum_{t=1} (1 - t / F) \rho_t

independent ones (Chodera et al. 2007, doi:10.1021/ct0502864), summed up to the first
:math:`\rho_t \le 0`. Slower motions than the energy's (a torsion that turns once) are not seen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["effective_samples", "statistical_inefficiency"]


def statistical_inefficiency(energies: NDArray[np.float64]) -> float:
    """Frames of a trajectory that are worth one independent structure, ``g``, 1 or more.

    Parameters
    ----------
    energies : ndarray, shape (F, C)
        Of frames of trajectories of one distribution. What is not finite counts as the mean.
    """
    frames = len(energies)
    finite = np.isfinite(energies)
    if not finite.any():
        return 1.0
    deviations = np.where(finite, energies - energies[finite].mean(), 0.0)
    variance = float((deviations**2).mean())
    if variance == 0.0:
        return float(frames)
    total = 1.0
    for lag in range(1, frames):
        correlation = float((deviations[:-lag] * deviations[lag:]).mean()) / variance
        if correlation <= 0.0:
            break
        total += 2.0 * (1.0 - lag / frames) * correlation
    return total


def effective_samples(energies: NDArray[np.float64]) -> float:
    """Independent structures that frames (F, C) of trajectories are worth."""
    return energies.size / statistical_inefficiency(energies)
