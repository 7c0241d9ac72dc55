"""Keep what an exam found: reports of finished campaigns, with how they were run, and tables.

Usage, from the root of the repository::

    python -m benchmarks.exam_results docs/results/aspirin COMMIT NAME=FOLDER ...

Copies from each campaign folder the campaign file, ``report.json`` and the figures, adds
``models.json`` (what fine-tuning says of each model) and ``run.json`` (commit, machine, packages,
launches, hours), and writes ``tables.md`` from what lies in the results folder then, if the exam is
there. Nothing is computed here that the reports do not say: `tables_of` is a
function of the kept files, and a test holds it against the kept tables. Campaign ``small`` is the
exam; all others are compared with it.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

__all__ = ["EXPECTED", "keep", "main", "tables_of"]

EXAM = "small"
_STEPS = "steps"
"""What the names of campaigns begin with that only differ in their steps of fine-tuning: of these
dynamics is cut short and no figures are kept."""

EXPECTED = {"rate_ratio": 20.0, "rate_ratio_low": 5.0, "force_mae_ratio": 1.4}
"""What the prototype led to expect at 1000 K, scratch against pretrained, at every pool."""

Json = dict[str, Any]


def main(arguments: list[str]) -> None:
    """Keep the campaigns that are named, then write the tables anew."""
    results, commit = Path(arguments[0]), arguments[1]
    for pair in arguments[2:]:
        name, _, folder = pair.partition("=")
        keep(Path(folder), results / name, commit)
    if (results / EXAM / "report.json").exists():
        (results / "tables.md").write_text(tables_of(results), encoding="utf-8")


def keep(campaign: Path, target: Path, commit: str) -> None:
    """Copy what a campaign found, and say how it was run."""
    workspace = campaign / "workspace"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(campaign / "campaign.toml", target / "campaign.toml")
    shutil.copy(workspace / "report.json", target / "report.json")
    figures = (workspace / "figures").glob("*.svg") if not target.name.startswith(_STEPS) else ()
    for figure in sorted(figures):
        shutil.copy(figure, target / figure.name)
    for name, said in (("models", _models(workspace)), ("run", _run(workspace, commit))):
        text = json.dumps(said, indent=1) + "\n"
        (target / f"{name}.json").write_text(text, encoding="utf-8")


def _models(workspace: Path) -> list[Json]:
    """What fine-tuning says of each model."""
    parts = (workspace / "parts" / "finetune").glob("[!.]*/manifest.json")
    said = [json.loads(path.read_text(encoding="utf-8"))["metadata"] for path in parts]
    kept = ("arm", "labels", "seed", "learning_rate", "best_step", "validation", "test")
    rows = [{key: model[key] for key in kept} for model in said]
    return sorted(rows, key=lambda row: (row["labels"], row["arm"], row["seed"]))


def _run(workspace: Path, commit: str) -> Json:
    """Machine, packages and hours, from the ledger."""
    lines = (workspace / "ledger.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    starts = [place for place, row in enumerate(rows) if row["event"] == "launched"]
    ends = [*(place - 1 for place in starts[1:]), len(rows) - 1]
    launched = rows[starts[-1]]
    sittings = [
        rows[end]["unix"] - rows[start]["unix"] for start, end in zip(starts, ends, strict=True)
    ]
    return {
        "commit": commit,
        "command": "campaign launch FOLDER",
        "site": launched["site"],
        "cpu": launched["cpu"],
        "python": launched["python"],
        "packages": launched["packages"],
        "launches": len(starts),
        "wall_hours": round(sum(sittings) / 3600.0, 3),
    }


def tables_of(results: Path) -> str:
    """All tables, from the files that are kept."""
    found = {
        path.parent.name: json.loads(path.read_text(encoding="utf-8"))
        | {"models": json.loads(path.with_name("models.json").read_text(encoding="utf-8"))}
        for path in sorted(results.glob("*/report.json"))
    }
    exam = found[EXAM]
    sections = {
        "Force error on the test set (meV/Å)": _errors(exam),
        "Failures": _failures(exam),
        "Scratch against pretrained": _comparisons(exam),
        "What was expected at 1000 K": _verdicts(exam),
        "Walls, without dynamics": _walls(exam),
        "Distances in what survives": _distances(exam),
        "Ablations": _ablations(found),
        "Other numbers of fine-tuning steps": _steps(found),
        "What it cost": _costs(results, found),
    }
    written = [f"## {title}\n\n{table}" for title, table in sections.items()]
    comment = "<!-- Written by benchmarks/exam_results.py from the files beside it. -->"
    return "\n\n".join([comment, *written]) + "\n"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _n(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{float(f'{value:.{digits}g}'):g}"


def _span(interval: list[float | None] | None) -> str:
    if interval is None:
        return "–"
    low, high = interval
    return f"{_n(low)} to {'∞' if high is None else _n(high)}"


def _force_errors(report: Json) -> dict[tuple[int, str], list[float]]:
    """Test force errors in meV/Å by pool and arm, in order of seeds."""
    found: dict[tuple[int, str], list[float]] = {}
    for row in report["models"]:
        error = 1000.0 * row["test"]["force_mae_eV_per_A"]
        found.setdefault((row["labels"], row["arm"]), []).append(error)
    return found


def _errors(report: Json) -> str:
    errors = _force_errors(report)
    rows = []
    for (labels, arm), values in errors.items():
        base = errors.get((labels, "pretrained"))
        ratio = statistics.mean(values) / statistics.mean(base) if base else None
        seeds = ", ".join(f"{v:.1f}" for v in values)
        rows.append([str(labels), arm, f"{statistics.mean(values):.1f}", seeds, _n(ratio)])
    return _table(["labels", "arm", "mean", "by seed", "over pretrained"], rows)


def _failures(report: Json) -> str:
    """Of the arms, all seeds together, and of the physical control."""
    control = [{"labels": "–", "arm": row["method"], **row} for row in report["control"]]
    rows = [
        [
            str(row["labels"]), row["arm"], _n(row["temperature_K"]),
            f"{row['failures']}/{row['replicas']}", _n(row["exposure_ps"], 4),
            f"{_n(row['rate_per_ns'])} ({_span(row['rate_interval_per_ns'])})",
            ", ".join(f"{cause} {n}" for cause, n in row["causes"].items()) or "–",
        ]
        for row in [*report["pooled"], *control]
    ]  # fmt: skip
    head = ["labels", "arm", "T (K)", "failed", "watched (ps)", "per ns (95 %, these models)"]
    return _table([*head, "causes"], rows)


def _comparisons(report: Json) -> str:
    rows = [
        [
            str(row["labels"]), row["against"], _n(row["temperature_K"]),
            f"{row['failures'][0]} : {row['failures'][1]}", _ratio(row),
            _span(row["rate_ratio_interval"]), _n(row["paired_permutation_p"], 2),
            _n(row["force_mae_ratio"]),
        ]
        for row in report["comparisons"]
    ]  # fmt: skip
    head = ["labels", "arm", "T (K)", "failures", "rate ratio", "95 %, over seeds"]
    return _table([*head, "paired p", "ratio of force errors"], rows)


def _ratio(row: Json) -> str:
    return "∞" if row["rate_ratio"] is None and row["failures"][0] else _n(row["rate_ratio"])


def _verdicts(report: Json) -> str:
    """Each expectation against what came out, scratch against pretrained."""
    rows = []
    for row in report["comparisons"]:
        if row["against"] != "scratch" or row["temperature_K"] != 1000.0:
            continue
        low = row["rate_ratio_interval"][0]
        value = row["rate_ratio"]
        infinite = value is None and row["failures"][0] > 0
        often = infinite or (value is not None and value >= EXPECTED["rate_ratio"])
        sure = low is not None and low > EXPECTED["rate_ratio_low"]
        wrong = row["force_mae_ratio"] >= EXPECTED["force_mae_ratio"]
        rows.append(
            [str(row["labels"]), *(_yes(v) for v in (often, sure, wrong))]
        )  # fmt: skip
    head = ["labels", "rate ratio ≥ 20", "its lower end > 5", "ratio of force errors ≥ 1.4"]
    return _table(head, rows)


def _yes(holds: bool) -> str:
    return "yes" if holds else "**no**"


def _walls(report: Json) -> str:
    """Medians over seeds of what the probes found."""
    groups: dict[tuple[int, str], list[Json]] = {}
    for row in report["probes"]:
        groups.setdefault((row["labels"], row["arm"]), []).append(row)
    rows = [
        [str(labels), arm, *_wall(found, "median_eV")] for (labels, arm), found in groups.items()
    ]
    if report.get("control_probes"):
        rows.append(["–", "gfn2-xtb", *_wall([report["control_probes"]], "median_eV")])
    if report["probes"]:
        teacher = _wall(report["probes"][:1], "teacher_median_eV")
        rows.append(["–", "teacher", "–", *teacher[1:]])
    head = ["labels", "model", "distorted, too low", "−0.4 Å (eV)", "+0.5 Å (eV)", "+0.8 Å (eV)"]
    return _table(head, rows)


def _wall(found: list[Json], name: str) -> list[str]:
    shares = [row["distorted_low_share"] for row in found]
    cells = ["–" if None in shares else _n(statistics.median(shares))]
    for change in (-0.4, 0.5, 0.8):
        values = [
            entry[name]
            for row in found
            for entry in row["scan"]
            if abs(entry["change_A"] - change) < 1e-6 and entry[name] is not None
        ]
        cells.append(_n(statistics.median(values)) if values else "–")
    return cells


def _distances(report: Json) -> str:
    rows = [
        [
            _n(row["labels"]) if row["labels"] else "–", row["arm"], _n(row["temperature_K"]),
            str(row["frames"]), f"{_n(row['mae'])} ({_span(row['interval'])})",
        ]
        for row in report["distance_distribution"]
    ]  # fmt: skip
    return _table(["labels", "arm", "T (K)", "frames", "error of h(r) (95 % over seeds)"], rows)


def _ablations(found: dict[str, Json]) -> str:
    rows = [
        [
            name, str(row["labels"]), row["arm"], _n(row["temperature_K"]),
            f"{row['failures']}/{row['replicas']}",
            f"{_n(row['rate_per_ns'])} ({_span(row['rate_interval_per_ns'])})",
            f"{statistics.mean(_force_errors(report)[row['labels'], row['arm']]):.1f}",
        ]
        for name, report in found.items()
        if not name.startswith(_STEPS)
        for row in report["pooled"]
        if name != EXAM or row["labels"] in _pools_of_ablations(found)
    ]  # fmt: skip
    head = ["campaign", "labels", "arm", "T (K)", "failed", "per ns (95 %, these models)"]
    return _table([*head, "force MAE (meV/Å)"], rows)


def _pools_of_ablations(found: dict[str, Json]) -> set[int]:
    others = (r for n, r in found.items() if n != EXAM and not n.startswith(_STEPS))
    return {row["labels"] for report in others for row in report["pooled"]}


def _steps(found: dict[str, Json]) -> str:
    """Force errors after other numbers of steps, against the exam's, seed by seed."""
    exam = _force_errors(found[EXAM])
    rows = []
    for name in sorted(n for n in found if n.startswith(_STEPS)):
        for (labels, arm), values in _force_errors(found[name]).items():
            same = exam[labels, arm][: len(values)]
            change = statistics.mean(values) / statistics.mean(same) - 1.0
            pair = [", ".join(f"{v:.1f}" for v in series) for series in (same, values)]
            rows.append([name, str(labels), arm, *pair, f"{100 * change:+.1f} %"])
    head = ["campaign", "labels", "arm", "exam, by seed", "here, the same seeds", "change"]
    return _table(head, rows)


def _costs(results: Path, found: dict[str, Json]) -> str:
    rows = []
    for name, report in found.items():
        run = json.loads((results / name / "run.json").read_text(encoding="utf-8"))
        hours = sum(cost["core_hours"] for cost in report["cost"].values())
        stages = ", ".join(
            f"{stage} {_n(cost['core_hours'], 2)}"
            for stage, cost in report["cost"].items()
            if cost["core_hours"] >= 0.01
        )
        cells = [str(run["launches"]), _n(run["wall_hours"]), _n(hours), stages]
        rows.append([name, f"`{run['commit']}`", *cells])
    head = ["campaign", "commit", "launches", "wall (h)", "core-hours", "of these"]
    return _table(head, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
