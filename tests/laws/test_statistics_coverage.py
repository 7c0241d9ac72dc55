"""Over the scatter that the interval assumes it covers 95 %, within 1.5 points; pooling does not.

Failures of one model share it: an interval that takes replicas of all models as independent is the
known-bad one. More cells, fixed scatters and more trials: benchmarks/coverage.py.
"""

from __future__ import annotations

import pytest

from benchmarks.coverage import BOTH, coverage

TRIALS, NOMINAL, POINTS = 2000, 0.95, 0.015


@pytest.mark.parametrize(
    ("seeds", "rates", "censored"),
    [(2, "apart", False), (3, "equal", True), (5, "equal", False)],
)
def test_the_ratios_interval_covers_what_it_says_over_its_prior_and_the_pooled_one_does_not(
    seeds: int, rates: str, censored: bool
) -> None:
    found = coverage(seeds, rates, censored, None, TRIALS, BOTH)
    assert found["used"] == pytest.approx(NOMINAL, abs=POINTS)
    assert found["pooled"] < NOMINAL - POINTS


@pytest.mark.parametrize(("seeds", "rates"), [(2, "none"), (5, "none"), (3, "rare")])
def test_with_few_failures_or_none_in_an_arm_it_covers_no_less(seeds: int, rates: str) -> None:
    """Whole numbers so small leave no interval that covers 95 % and not more."""
    assert coverage(seeds, rates, True, None, TRIALS // 2, BOTH)["used"] > NOMINAL - POINTS
