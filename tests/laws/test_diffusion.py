"""Self-diffusion: Brownian particles of known D lie within the error bar, wrapped ones do not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from campaign.statistics.bands import band_over_models
from campaign.statistics.diffusion import (
    diffusion_of_run,
    even_stride,
    finite_size_A2_per_ps,
    mean_squared_displacement,
    without_drift,
)
from data_store.errors import InputError
from data_store.streams import stream

D, STRIDE, ATOMS, EDGE = 0.23, 0.1, 24, 9.0
MASSES = np.tile([16.0, 1.0, 1.0], 8)
ALL = np.ones(ATOMS, dtype=bool)


def brownian(seed: int, frames: int = 301) -> NDArray[np.float64]:
    """Paths of independent particles, from places within a box."""
    rng = stream(seed, "brownian")
    steps = rng.normal(scale=np.sqrt(2.0 * D * STRIDE), size=(frames, ATOMS, 3))
    steps[0] = rng.uniform(0.0, EDGE, size=(ATOMS, 3))
    return np.asarray(steps.cumsum(0))


def share_lost() -> float:
    """What removing the drift takes from independent particles: 1 - 1/N where masses are alike."""
    w = MASSES / MASSES.sum()
    return float(1.0 - 2.0 * w.mean() + (w**2).sum())


def intervals(wrapped: bool) -> int:
    """Of 100 sets of six runs: those of which the band of D holds the truth."""
    held = 0
    for trial in range(100):
        found = []
        for run in range(6):
            path = brownian(6 * trial + run, 151)
            if wrapped:
                path = path - EDGE * np.floor(path / EDGE)
            one = diffusion_of_run(path, STRIDE, MASSES, ALL)
            found.append([one.blocks_A2_per_ps.mean()])
        band = band_over_models([np.array(found)])
        held += bool(band.low[0] <= D * share_lost() <= band.high[0])
    return held


def test_known_diffusion_is_within_the_error_bar_and_wrapped_paths_are_not() -> None:
    low, high = binom.interval(0.9999, 100, 0.95)
    assert low <= intervals(wrapped=False) <= high
    assert intervals(wrapped=True) < low


def test_the_exponent_tells_what_diffuses_from_what_does_not() -> None:
    assert diffusion_of_run(brownian(0, 2001), STRIDE, MASSES, ALL).exponent == pytest.approx(
        1.0, abs=0.1
    )
    rng = stream(0, "cage")
    caged = rng.normal(scale=0.3, size=(301, ATOMS, 3))
    frozen = diffusion_of_run(caged, STRIDE, MASSES, ALL)
    assert abs(frozen.exponent) < 0.05
    assert abs(frozen.blocks_A2_per_ps.mean()) < 0.02 * D
    flying = rng.normal(size=(1, ATOMS, 3)) * (np.arange(301)[:, None, None] * STRIDE)
    assert diffusion_of_run(flying, STRIDE, MASSES, ALL).exponent == pytest.approx(2.0)


def test_displacements_are_those_of_all_origins() -> None:
    path = without_drift(brownian(1, 40), MASSES)
    slow = [
        float(((path[lag:] - path[: len(path) - lag]) ** 2).sum(-1).mean()) for lag in range(40)
    ]
    np.testing.assert_allclose(mean_squared_displacement(path), slow, atol=1e-9)


def test_drift_and_place_and_turning_do_not_matter() -> None:
    path = brownian(2)
    turn = np.linalg.qr(stream(0, "turn").normal(size=(3, 3)))[0]
    drift = 3.0 * STRIDE * np.arange(len(path))[:, None, None] * np.array([1.0, -2.0, 0.5])
    one, other = (
        diffusion_of_run(p, STRIDE, MASSES, MASSES > 2.0).blocks_A2_per_ps
        for p in (path, (path + drift + 1e3) @ turn)
    )
    np.testing.assert_allclose(one, other, rtol=1e-6)
    assert len(one) == 3


def test_the_correction_for_size_is_that_of_yeh_and_hummer() -> None:
    """k_B T / (6 π η L) of 298.15 K, 0.89 mPa s and 10 Å is 2.4537e-10 m²/s, by hand."""
    assert finite_size_A2_per_ps(298.15, 10.0) == pytest.approx(2.837297 * 2.4537e-2, rel=1e-4)
    assert finite_size_A2_per_ps(300.0, 20.0) == 0.5 * finite_size_A2_per_ps(300.0, 10.0)
    assert finite_size_A2_per_ps(300.0, 10.0, 1.78) == 0.5 * finite_size_A2_per_ps(300.0, 10.0)


def test_what_is_too_short_or_uneven_is_refused_with_what_to_do() -> None:
    with pytest.raises(InputError, match=r"runs of 10 ps; this one has 9\.9 ps"):
        diffusion_of_run(brownian(0, 100), STRIDE, MASSES, ALL)
    with pytest.raises(InputError, match="fewer than three lags"):
        diffusion_of_run(brownian(0, 100), 3.0, MASSES, ALL)
    assert even_stride([0.0, 0.1, 0.2, 0.3], "positions") == pytest.approx(0.1)
    for times in ([], [1.0], [0.0, 0.1, 0.3], [0.0, 0.0, 0.0]):
        with pytest.raises(InputError, match="positions of a run are to follow each other"):
            even_stride(times, "positions")
