"""Stated power is what independent simulations find; with a quarter of the replicas it is less."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from campaign.cli.main import main
from campaign.costs.benchmark import Benchmark
from campaign.statistics.comparison import rate_ratio, ratio_interval
from campaign.statistics.design import (
    Design,
    Guess,
    guess_of,
    power_of_design,
    simulated_counts,
    smallest,
)
from campaign.statistics.rates import exposure_ps
from data_store.errors import InputError
from data_store.streams import stream
from tests.e2e.tiny import TINY
from tests.laws.test_statistics import HORIZON_PS, Arm, simulate

GUESS = Guess(rate_per_ps=0.17, rate_ratio=5.0, scatter=0.5)


@pytest.mark.parametrize(("fraction", "correlation"), [(0.5, 0.1), (0.2, 0.3), (0.9, 0.0)])
def test_guesses_give_the_fraction_and_correlation_they_are_made_for(
    fraction: float, correlation: float
) -> None:
    guess = guess_of(fraction, 10.0, 3.0, correlation)
    rng = stream(0, "guess", repr(fraction))
    rates = guess.rate_per_ps * np.exp(guess.scatter * rng.normal(size=40_000))
    fails = rng.exponential(size=(40_000, 2)) / rates[:, None] < 10.0
    assert fails.mean() == pytest.approx(fraction, abs=0.01)
    assert np.asarray(np.corrcoef(fails.T))[0, 1] == pytest.approx(correlation, abs=0.02)
    with pytest.raises(InputError, match=r"comparison\.correlation"):
        guess_of(0.5, 10.0, 3.0, 1.0)


def test_simulated_counts_have_their_means() -> None:
    ends = np.array([1.0, 4.0, 4.0])
    k, e = simulated_counts(stream(1, "counts"), np.full((20_000, 2), 0.3), ends)
    failing = 1 - np.exp(-0.3 * ends)
    assert k.mean() == pytest.approx(failing.sum(), rel=0.02)
    assert e.mean() == pytest.approx(failing.sum() / 0.3, rel=0.02)


@pytest.mark.parametrize("seeds", [1, 3])
def test_what_is_simulated_is_the_reports_headline(seeds: int) -> None:
    rng = stream(2, "headline")
    arms: list[Arm] = [{s: simulate(r, 12, rng) for s in range(seeds)} for r in (0.05, 0.4)]
    counts = [
        np.array([value(arm[s]) for s in range(seeds)], dtype=float)
        for arm in arms
        for value in (lambda runs: sum(r.failed for r in runs), exposure_ps)
    ]
    found = rate_ratio(*arms)
    assert (found.low, found.high) == pytest.approx(tuple(map(float, ratio_interval(*counts))))


def _told(design: Design, trials: int) -> int:
    """Campaigns of made-up runs, through the report's own door, that tell the ratio."""
    rng, told = stream(3, "told", design.replicas), 0
    for _ in range(trials):
        base, other = (
            {s: simulate(rate * math.exp(GUESS.scatter * rng.normal()), design.replicas, rng)
             for s in range(design.seeds)}
            for rate in (GUESS.rate_per_ps / GUESS.rate_ratio, GUESS.rate_per_ps)
        )  # fmt: skip
        told += (rate_ratio(base, other).low or 0.0) > 1.0
    return told


def test_the_stated_power_is_reached_and_with_a_quarter_of_the_replicas_it_is_not() -> None:
    ladder = [Design(4, n, HORIZON_PS) for n in (4, 8, 12, 16, 24, 32, 64)]
    found = smallest(ladder, GUESS, 400)
    assert found is not None
    assert found.power >= 0.8
    trials = 250
    told = _told(found.design, trials)
    error = math.hypot(found.error, math.sqrt(0.16 / trials))
    assert told / trials == pytest.approx(found.power, abs=3 * error)
    quarter = Design(4, found.design.replicas // 4, HORIZON_PS)
    assert binom.cdf(_told(quarter, 100), 100, 0.8) < 1e-3


def test_power_is_reproducible_and_without_a_difference_it_is_an_error_rate() -> None:
    design = Design(3, 16, HORIZON_PS)
    assert power_of_design(design, GUESS, 60) == power_of_design(design, GUESS, 60)
    none = power_of_design(design, Guess(0.17, 1.0, 0.5), 200)
    assert binom.sf(none.power * 200 - 1, 200, 0.05) > 1e-3
    assert smallest([Design(2, 4, 0.1)], GUESS, 60) is None


def test_the_plan_says_items_labels_and_power(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("campaign.plan.power._TRIALS", 40)
    monkeypatch.setattr("campaign.plan.power._TRIALS_OF_SEARCH", 20)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    unmeasured = Benchmark("local", "nowhere")
    monkeypatch.setattr("campaign.costs.prediction.run_benchmark", lambda *_: unmeasured)
    (tmp_path / "campaign.toml").write_text(TINY)

    def said(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["campaign", "plan", str(tmp_path), *arguments])
        with pytest.raises(SystemExit, match="0"):
            main()
        return capsys.readouterr().out

    usual = ("--set", "dynamics.replicas=64", "--set", "labels.candidates=100")
    found = json.loads(said("--json", *usual))
    assert found["stages"]["label"] == {"items": 12, "done": 0, "to_do": 12}
    assert found["expert"]["calls"] == 12
    assert found["study"]["campaign"]["seeds"] == 1
    assert [option["seeds"] for option in found["study"]["options"]] == [2, 3, 4, 5, 6, 8, 10]
    assert found["power"]["replicas"] == 64
    quiet = found["study"]["if_nothing_fails"]["model"]
    assert quiet["failed_fraction_bound"] == pytest.approx(0.056, abs=5e-4)
    text = said()
    assert "expert labels: 12 computed" in text
    assert "For 80 % power" in text
    assert "too few" in text
    alone = said("--set", 'finetuning.arms=["pretrained"]')
    assert "no comparison to plan" in alone
    assert not (tmp_path / "workspace").exists(), "nothing is written"
