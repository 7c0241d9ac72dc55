"""Cartesian noise: every atom displaced at random, by an amplitude drawn per structure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apps.sampling.settings import NoiseSettings

__all__ = ["add_noise"]


def add_noise(
    base: NDArray[np.float64], settings: NoiseSettings, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Displace all atoms by Gaussian noise of log-uniform amplitude.

    Parameters
    ----------
    base : ndarray, shape (S, N, 3)
        In Å.
    settings : NoiseSettings
    rng : numpy.random.Generator
    """
    low, high = np.log(settings.amplitude_A)
    amplitude = np.exp(rng.uniform(low, high, size=len(base)))
    return base + amplitude[:, None, None] * rng.normal(size=base.shape)
