"""What is told of how often some runs failed; intervals are exact, conditional on their models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from campaign.statistics.rates import exposure_ps, failed_fraction, failure_rate
from campaign.statistics.survival import median_ps, restricted_mean_ps
from data_store.runs import Run

__all__ = ["failure_summary"]


def failure_summary(runs: Sequence[Run]) -> dict[str, Any]:
    """Failures, rates, fractions and survival of these runs, as `report.json` has them.

    Parameters
    ----------
    runs : sequence of Run
        At least one.
    """
    failures, exposure = sum(run.failed for run in runs), exposure_ps(runs)
    rate, fraction = failure_rate(failures, exposure), failed_fraction(failures, len(runs))
    horizon = max(run.time_ps for run in runs)
    mean, error = restricted_mean_ps(runs, horizon) if horizon > 0 else (0.0, 0.0)
    return {
        "replicas": len(runs),
        "failures": failures,
        "censored": sum(run.outcome == "censored" for run in runs),
        "censored_causes": dict(
            sorted(Counter(r.cause for r in runs if r.outcome == "censored" and r.cause).items())
        ),
        "exposure_ps": round(exposure, 6),
        "rate_per_ns": rate.value,
        "rate_interval_per_ns": rate.interval,
        "failed_fraction": fraction.value,
        "failed_fraction_interval": fraction.interval,
        "restricted_mean_survival_ps": mean,
        "restricted_mean_survival_se_ps": error,
        "restricted_mean_survival_horizon_ps": horizon,
        "median_survival_ps": median_ps(runs),
        "causes": dict(sorted(Counter(run.cause for run in runs if run.failed).items())),
    }
