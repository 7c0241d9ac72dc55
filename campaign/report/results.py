"""`report.json`: rows per model and temperature, arms compared, cost; schema 1 of the design.

Rows are per seed, one trained model each; their intervals are conditional on that model. What is
not finite is null. The function is pure: equal parts give equal rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from campaign.report.channels import channel_results
from campaign.report.failure_summary import failure_summary
from campaign.report.failures import failure_kinds
from campaign.report.free_energy import free_energy_rows
from campaign.report.inputs import Model, ReportInputs
from campaign.report.learning import labels_saved, learning_curve
from campaign.report.liquid_rows import liquid_json
from campaign.report.probes import probe_rows
from campaign.report.structure import distance_error, structure_rows, summary_of_reference
from campaign.statistics.comparison import (
    fraction_difference,
    rate_ratio,
    shared_horizon_ps,
    survival_difference_ps,
)
from campaign.statistics.multiplicity import holm_adjusted
from campaign.statistics.permutation import paired_permutation
from campaign.statistics.survival import logrank_p
from data_store.runs import Run

__all__ = ["BASE_ARM", "report_json"]

BASE_ARM = "pretrained"
"""The arm that others are compared with."""


def report_json(inputs: ReportInputs) -> dict[str, Any]:
    """All results as plain JSON."""
    return {
        "schema": 1,
        "campaign": inputs.campaign,
        "results": list(_results(inputs)),
        "pooled": list(_pooled(inputs)),
        "control": list(_control(inputs)),
        "comparisons": _adjusted(list(_comparisons(inputs))),
        "learning_curve": list(learning_curve(inputs)),
        "labels_saved": list(labels_saved(inputs, BASE_ARM)),
        "distance_distribution": list(structure_rows(inputs)),
        "distance_reference": summary_of_reference(inputs),
        "probes": list(probe_rows(inputs)),
        "control_probes": inputs.control.probes if inputs.control else None,
        "failure_kinds": list(failure_kinds(inputs.runs, inputs.molecule, inputs.pictures)),
        "free_energy": list(free_energy_rows(inputs.biased)),
        "liquid": liquid_json(inputs.liquid) if inputs.liquid else None,
        "channels": channel_results(inputs.channels, inputs.parity),
        "species": inputs.species,
        "cost": {stage: _rounded(asdict(cost)) for stage, cost in inputs.cost.items()},
        "predicted": inputs.predicted,
        "expert_calls": inputs.expert_calls,
        "teacher": inputs.teacher,
        "coverage": inputs.coverage.rows() if inputs.coverage else [],
        "world_size": inputs.world_size,
        "notes": inputs.notes,
    }


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, 6) if isinstance(v, float) else v for k, v in values.items()}


def _results(inputs: ReportInputs) -> Iterator[dict[str, Any]]:
    for (model, temperature), runs in sorted(inputs.runs.items(), key=lambda item: item[0]):
        errors = inputs.errors.get(model) or {}
        yield {
            "arm": model.arm,
            "labels": model.labels,
            "seed": model.seed,
            "temperature_K": temperature,
            **failure_summary(runs),
            "interval_kind": "exact, 95 %, conditional on this model",
            "force_mae_eV_per_A": _finite(errors.get("force_mae_eV_per_A")),
            "energy_mae_meV_per_atom": _finite(errors.get("energy_mae_meV_per_atom")),
            "distance_distribution_mae": distance_error(inputs, model, temperature),
        }


def _pooled(inputs: ReportInputs) -> Iterator[dict[str, Any]]:
    """Rows of all seeds together."""
    for labels, temperature, arm in sorted({(m.labels, t, m.arm) for m, t in inputs.runs}):
        by_seed = _by_seed(inputs, arm, labels, temperature)
        yield {
            "arm": arm,
            "labels": labels,
            "temperature_K": temperature,
            "seeds": len(by_seed),
            **failure_summary([run for seed in sorted(by_seed) for run in by_seed[seed]]),
            "interval_kind": "exact, 95 %, conditional on these models",
        }


def _control(inputs: ReportInputs) -> Iterator[dict[str, Any]]:
    """Failures of the reference method, by temperature."""
    if inputs.control is None:
        return
    for temperature, runs in sorted(inputs.control.runs.items()):
        yield {
            "method": inputs.control.method,
            "temperature_K": temperature,
            **failure_summary(runs),
            "interval_kind": "exact, 95 %",
        }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _by_seed(
    inputs: ReportInputs, arm: str, labels: int, temperature: float
) -> dict[int, list[Run]]:
    return {
        model.seed: runs
        for (model, t), runs in inputs.runs.items()
        if (model.arm, model.labels, t) == (arm, labels, temperature)
    }


def _comparisons(inputs: ReportInputs) -> Iterator[dict[str, Any]]:
    cases = sorted({(m.labels, t, m.arm) for m, t in inputs.runs if m.arm != BASE_ARM})
    for labels, temperature, arm in cases:
        base = _by_seed(inputs, BASE_ARM, labels, temperature)
        other = _by_seed(inputs, arm, labels, temperature)
        shared = sorted(set(base) & set(other))
        if not shared:
            continue
        ratio, difference = rate_ratio(base, other), fraction_difference(base, other)
        gain = survival_difference_ps(base, other, shared_horizon_ps(base, other))
        permuted = paired_permutation(base, other)
        pooled = [[run for seed in shared for run in arm_runs[seed]] for arm_runs in (base, other)]
        yield {
            "labels": labels,
            "temperature_K": temperature,
            "against": arm,
            "seeds": len(shared),
            "rate_ratio": ratio.value,
            "rate_ratio_interval": ratio.interval,
            "interval_kind": "random effects over seeds, mid-p, 95 %"
            if len(shared) > 1
            else "exact, 95 %, conditional on these two models",
            "failed_fraction_difference": difference.value,
            "failed_fraction_difference_interval": difference.interval,
            "restricted_mean_survival_gain_ps": gain.value,
            "restricted_mean_survival_gain_interval_ps": gain.interval,
            "failures": [sum(run.failed for run in runs) for runs in reversed(pooled)],
            "replicas": [len(runs) for runs in reversed(pooled)],
            "logrank_p": logrank_p(pooled[0], pooled[1]),
            "paired_permutation_p": permuted.p if permuted else None,
            "paired_permutation_p_floor": permuted.floor if permuted else None,
            "force_mae_ratio": _error_ratio(inputs, labels, arm, shared),
        }


def _adjusted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Comparisons with p-values that hold over all of them."""
    values = holm_adjusted([row["logrank_p"] for row in rows])
    return [{**row, "logrank_p_adjusted": p} for row, p in zip(rows, values, strict=True)]


def _error_ratio(inputs: ReportInputs, labels: int, arm: str, seeds: list[int]) -> float | None:
    """Force error of the other arm over that of the pre-trained one, means over seeds."""
    means = []
    for name in (arm, BASE_ARM):
        found = [inputs.errors.get(Model(name, labels, seed)) for seed in seeds]
        values = [e["force_mae_eV_per_A"] for e in found if e]
        if not values:
            return None
        means.append(sum(values) / len(values))
    return means[0] / means[1] if means[1] else None
