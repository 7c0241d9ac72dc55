"""Several campaigns side by side: what their reports found, and where their files differ.

Reports are read as they are (schema 1), from workspaces or kept elsewhere; nothing is computed anew
from runs. A row of one campaign is compared with the like of the first: the same arm, labels and
temperature, models paired by seed. That is one more comparison than either campaign planned, and it
is fair only where what differs is one thing: so the settings that differ are shown first.
"""

from __future__ import annotations

import json
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from campaign.statistics.comparison import ratio_of_counts
from campaign.workspace import Workspace
from data_store.errors import InputError

__all__ = ["Told", "compared", "read_told"]

_SCHEMA = 1
_LEAST_WATCHED_PS = 1e-3
"""Of a model whose replicas all failed at once: one check stride would be its error."""

_NOT_SCIENCE = frozenset({"campaign.name"})


@dataclass(frozen=True)
class Told:
    """One campaign as its report tells it.

    Parameters
    ----------
    name : str
        Unique among those that are compared.
    report : dict
        ``report.json``.
    settings : dict of str to str
        Dotted keys of its campaign file; empty where that is not beside the report.
    """

    name: str
    report: dict[str, Any]
    settings: dict[str, str]


def read_told(paths: Sequence[Path]) -> list[Told]:
    """What several campaigns found.

    Parameters
    ----------
    paths : sequence of Path
        Folders of campaigns, workspaces, or files named ``report.json``.

    Raises
    ------
    InputError
        If one has no report, or one that cannot be read.
    """
    found = [_read(path) for path in paths]
    names = _unique([told.name for told in found], paths)
    return [Told(n, t.report, t.settings) for n, t in zip(names, found, strict=True)]


def _read(path: Path) -> Told:
    file = _report_of(path)
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(
            f"{file}: cannot be read as a report ({error})",
            f"`campaign report {path}` writes it anew",
        ) from error
    schema = report.get("schema") if isinstance(report, dict) else None
    if schema != _SCHEMA:
        raise InputError(
            f"{file}: a report of schema {_SCHEMA} was expected, and its schema is {schema!r}",
            "write it anew by `campaign report` of this version, or take the version that wrote it",
        )
    return Told(str(report["campaign"]), report, _settings(file))


def _report_of(path: Path) -> Path:
    candidates = [path] if path.is_file() else [
        Workspace(path).report_json, Workspace(path / "workspace").report_json
    ]  # fmt: skip
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise InputError(
        f"{path}: there is no report.json here, nor in its folder `workspace`",
        "give folders of campaigns that were launched, or report.json files",
    )


def _settings(report: Path) -> dict[str, str]:
    """Dotted keys of the campaign file beside a report, or in the folder above it."""
    for file in (report.parent / "campaign.toml", report.parent.parent / "campaign.toml"):
        if file.is_file():
            try:
                return dict(_dotted(tomllib.loads(file.read_text(encoding="utf-8"))))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise InputError(f"{file}: {error}", "mend it, or take it away") from error
    return {}


def _dotted(tables: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tables.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value, default=str)


def _unique(names: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """Names of campaigns; where two have one, with their folder, or their place."""
    if len(set(names)) == len(names):
        return list(names)
    longer = [f"{n} ({p.resolve().name})" for n, p in zip(names, paths, strict=True)]
    if len(set(longer)) == len(longer):
        return longer
    return [f"{name} ({place})" for place, name in enumerate(names, 1)]


def compared(campaigns: Sequence[Told]) -> dict[str, Any]:
    """What stands in ``compare.json``, schema 1: plain data."""
    return {
        "schema": 1,
        "campaigns": [_campaign(told) for told in campaigns],
        "differing_settings": _differing(campaigns),
        "rows": [row for told in campaigns for row in _rows(told)],
        "comparisons": [
            row for other in campaigns[1:] for row in _against(campaigns[0], other)
        ],
    }  # fmt: skip


def _campaign(told: Told) -> dict[str, Any]:
    report = told.report
    cost = sum(stage["core_hours"] for stage in report["cost"].values())
    return {
        "name": told.name,
        "expert_calls": report["expert_calls"],
        "core_hours": round(cost, 6),
        "teacher": report.get("teacher", {}).get("force_field"),
        "comparisons": report["comparisons"],
        "settings_known": bool(told.settings),
    }


def _differing(campaigns: Sequence[Told]) -> dict[str, list[str | None]]:
    """Values by key where they differ, one for each campaign whose file is known."""
    known = [told.settings for told in campaigns if told.settings]
    keys = sorted({key for settings in known for key in settings} - _NOT_SCIENCE)
    found = {key: [told.settings.get(key) for told in campaigns] for key in keys}
    return {k: v for k, v in found.items() if len({s.get(k) for s in known}) > 1}


def _rows(told: Told) -> Iterator[dict[str, Any]]:
    """Rows of all seeds together, with the mean force error of their models."""
    errors: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for row in told.report["results"]:
        if row["force_mae_eV_per_A"] is not None:
            errors[_case(row)].append(row["force_mae_eV_per_A"])
    kept = (
        "arm", "labels", "temperature_K", "seeds", "replicas", "failures", "exposure_ps",
        "rate_per_ns", "rate_interval_per_ns", "failed_fraction", "failed_fraction_interval",
    )  # fmt: skip
    for row in told.report["pooled"]:
        found = errors.get(_case(row))
        error = fmean(found) if found else None
        yield {"campaign": told.name, **{k: row[k] for k in kept}, "force_mae_eV_per_A": error}


def _case(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["arm"], row["labels"], row["temperature_K"]


def _by_seed(told: Told) -> dict[tuple[Any, ...], dict[int, tuple[float, float]]]:
    """Failures and time watched of each model, by case and seed."""
    found: dict[tuple[Any, ...], dict[int, tuple[float, float]]] = defaultdict(dict)
    for row in told.report["results"]:
        watched = max(row["exposure_ps"], _LEAST_WATCHED_PS)
        found[_case(row)][row["seed"]] = (float(row["failures"]), watched)
    return found


def _against(base: Told, other: Told) -> Iterator[dict[str, Any]]:
    """Rate of each case of a campaign over that of the like of the first one."""
    ours, theirs = _by_seed(base), _by_seed(other)
    for case in sorted(set(ours) & set(theirs)):
        seeds = sorted(set(ours[case]) & set(theirs[case]))
        if not seeds:
            continue
        mine, yours = (np.array([side[case][s] for s in seeds]).T for side in (ours, theirs))
        ratio = ratio_of_counts((mine[0], mine[1]), (yours[0], yours[1]))
        arm, labels, temperature = case
        yield {
            "campaign": other.name,
            "against": base.name,
            "arm": arm,
            "labels": labels,
            "temperature_K": temperature,
            "seeds": len(seeds),
            "failures": [int(yours[0].sum()), int(mine[0].sum())],
            "rate_ratio": ratio.value,
            "rate_ratio_interval": ratio.interval,
            "interval_kind": "random effects over seeds, mid-p, 95 %"
            if len(seeds) > 1
            else "exact, 95 %, conditional on these two models",
        }
