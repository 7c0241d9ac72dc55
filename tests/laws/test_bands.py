"""Bands of curves cover what they say, over models; runs pooled as if of one model do not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from campaign.statistics.bands import band_over_models
from data_store.streams import stream

TRIALS, MODELS, RUNS = 2000, 4, 8


def covered(pooled: bool) -> int:
    """Trials of which the band holds the truth, 0, where models scatter as much as runs."""
    rng = stream(0, "bands")
    models = rng.normal(size=(TRIALS, MODELS, 1))
    runs = models + rng.normal(size=(TRIALS, MODELS, RUNS))
    found = 0
    for trial in runs:
        curves = [trial.reshape(-1, 1)] if pooled else [row[:, None] for row in trial]
        band = band_over_models(curves)
        found += bool(band.low[0] <= 0.0 <= band.high[0])
    return found


def test_bands_cover_over_models_and_pooled_runs_do_not() -> None:
    low, high = binom.interval(0.999, TRIALS, 0.95)
    assert low <= covered(pooled=False) <= high
    assert covered(pooled=True) < low


def test_one_model_has_a_band_over_its_runs_and_one_run_none() -> None:
    curves = stream(1, "bands").normal(size=(6, 3))
    band = band_over_models([curves])
    np.testing.assert_allclose(band.mean, curves.mean(0))
    assert band.kind == "over runs, conditional on one model"
    assert (band.low < band.mean).all()
    alone = band_over_models([curves[:1]])
    assert np.isnan(alone.low).all()
    assert alone.kind == "none: a single run"


def test_models_count_alike_however_many_runs_they_have() -> None:
    band = band_over_models([np.zeros((1, 2)), np.ones((50, 2))])
    assert band.mean == pytest.approx(0.5)
    assert band.kind == "over models"
