"""What correlated frames are worth: known for an autoregressive series."""

from __future__ import annotations

import numpy as np
import pytest

from apps.sampling.effective import effective_samples, statistical_inefficiency
from data_store.streams import stream


def autoregressive(memory: float, frames: int, copies: int) -> np.ndarray:
    noise = stream(0, "series", frames).normal(size=(frames, copies))
    series = noise.copy()
    for frame in range(1, frames):
        series[frame] = memory * series[frame - 1] + np.sqrt(1.0 - memory**2) * noise[frame]
    return series


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_inefficiency_is_that_of_the_process(memory: float) -> None:
    """(1 + φ) / (1 − φ); over 600 copies of 300 frames to some 5 %."""
    found = statistical_inefficiency(autoregressive(memory, 300, 600))
    assert found == pytest.approx((1 + memory) / (1 - memory), rel=0.12)


def test_short_trajectories_are_worth_their_number_at_least() -> None:
    series = autoregressive(0.999, 10, 500)
    assert 500 <= effective_samples(series) < 600


def test_frames_in_disorder_are_caught() -> None:
    series = autoregressive(0.9, 300, 100)
    shuffled = stream(1, "order").permutation(series.ravel()).reshape(series.shape)
    assert statistical_inefficiency(shuffled) < 2.0 < 10.0 < statistical_inefficiency(series)


def test_what_does_not_move_is_worth_one_a_trajectory_and_what_is_no_number_is_left_out() -> None:
    assert effective_samples(np.ones((5, 3))) == 3.0
    assert statistical_inefficiency(np.full((4, 2), np.nan)) == 1.0
    series = autoregressive(0.0, 300, 50)
    series[7, 3] = np.nan
    assert statistical_inefficiency(series) == pytest.approx(1.0, abs=0.2)
