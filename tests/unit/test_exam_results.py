"""What is kept of an exam: its tables say what its reports say."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks.exam_results import keep, tables_of
from campaign.report.inputs import Control, Model, ReportInputs
from campaign.report.results import report_json
from campaign.templates import templates
from campaign.workspace import Workspace
from data_store.runs import Run
from tests.unit.test_report import inputs
from tests.unit.test_report_probes import probed

RESULTS = Path(__file__).parents[2] / "docs/results/aspirin"
LAUNCHED = {"event": "launched", "site": "local", "cpu": "a", "python": "3", "packages": {}}
LEDGER = [
    {**LAUNCHED, "unix": 0.0},
    {"event": "result", "unix": 1800.0},
    {**LAUNCHED, "unix": 9000.0},
    {"event": "result", "unix": 12600.0},
]  # fmt: skip


def exam(**changes: Any) -> ReportInputs:
    probes = {Model(arm, 25, 0): probed(5.0, 0.25) for arm in ("pretrained", "scratch")}
    survived = [Run(i, i, "survived", 4.0) for i in range(8)]
    control = Control("gfn2-xtb", {1000.0: survived}, {}, probed(2.0, 0.0))
    fields = {"probes": probes, "control": control, **changes}
    return inputs({"pretrained": 0.0, "scratch": 1.0}, **fields)


def with_campaign(folder: Path, report: ReportInputs) -> Path:
    """A finished campaign, as far as what is kept of one goes."""
    workspace = Workspace(folder / "workspace")
    workspace.root.mkdir(parents=True)
    (folder / "campaign.toml").write_text("[campaign]\n")
    workspace.report_json.write_text(json.dumps(report_json(report)))
    for model, errors in report.errors.items():
        part = workspace.parts / "finetune" / f"{model.arm}-{model.labels}-{model.seed}"
        part.mkdir(parents=True)
        said = {**asdict(model), "learning_rate": 1e-3, "best_step": 5, "test": errors}
        manifest = {"metadata": {**said, "validation": errors, "refit": {}}}
        (part / "manifest.json").write_text(json.dumps(manifest))
    workspace.ledger.write_text("".join(json.dumps(row) + "\n" for row in LEDGER))
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    kept = tmp_path / "results"
    errors = {Model("scratch", 25, s): _error(0.095) for s in (0, 1)}
    for name, report in {"small": exam(), "steps-double": exam(errors=errors)}.items():
        keep(with_campaign(tmp_path / name, report), kept / name, "abc123")
    return kept


def _error(value: float) -> dict[str, float]:
    return {"force_mae_eV_per_A": value, "energy_mae_meV_per_atom": 1.0}


def rows(text: str, title: str) -> list[list[str]]:
    section = text.partition(f"## {title}")[2].partition("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def test_tables_say_what_the_reports_say(results: Path) -> None:
    text = tables_of(results)
    report = json.loads((results / "small/report.json").read_text())
    failed = rows(text, "Failures")
    assert len(failed) == len(report["pooled"]) + len(report["control"])
    assert [row[3] for row in failed[:-1]] == [
        f"{row['failures']}/{row['replicas']}" for row in report["pooled"]
    ]
    assert failed[-1][1:4] == ["gfn2-xtb", "1000", "0/8"]
    assert ["scratch", "100.0", "100.0, 100.0", "1"] in [
        row[1:] for row in rows(text, "Force error on the test set (meV/Å)")
    ]
    assert rows(text, "What was expected at 1000 K")[0] == ["25", "yes", "yes", "**no**"]
    assert [row[1] for row in rows(text, "Walls, without dynamics")] == [
        "pretrained", "scratch", "gfn2-xtb", "teacher",
    ]  # fmt: skip
    doubled = rows(text, "Other numbers of fine-tuning steps")
    assert doubled == [
        ["steps-double", "25", "scratch", "100.0, 100.0", "95.0, 95.0", "-5.0 %"]
    ]  # fmt: skip


def test_a_run_is_its_sittings_without_the_nights_between(results: Path) -> None:
    run = json.loads((results / "small/run.json").read_text())
    assert (run["launches"], run["wall_hours"], run["commit"]) == (2, 1.5, "abc123")


def test_the_page_says_of_other_steps_what_is_kept() -> None:
    page = (RESULTS / "README.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if "| `steps-" in line]
    assert len(lines) == 4
    for line in lines:
        _, _, pretrained, scratch, kept = (cell.strip() for cell in line.strip("|").split("|"))
        models = json.loads((RESULTS / kept.strip("`") / "models.json").read_text(encoding="utf-8"))
        for arm, said in (("pretrained", pretrained), ("scratch", scratch)):
            errors = [
                f"{1000.0 * model['test']['force_mae_eV_per_A']:.1f}"
                for model in models
                if (model["arm"], model["labels"]) == (arm, 100) and model["seed"] < 2
            ]
            assert said == ", ".join(errors)


def test_the_page_says_of_the_exam_what_is_kept() -> None:
    page = (RESULTS / "README.md").read_text(encoding="utf-8")
    section = page.partition("## Force errors under the final protocol")[2].partition("\n## ")[0]
    models = json.loads((RESULTS / "small/models.json").read_text(encoding="utf-8"))
    said = [
        [c.strip() for c in line.strip("|").split("|")]
        for line in section.splitlines()
        if "|" in line
    ]
    for labels, *errors, ratio in said[2:]:
        found = [
            [1000.0 * m["test"]["force_mae_eV_per_A"] for m in models
             if (m["arm"], m["labels"]) == (arm, int(labels))]
            for arm in ("pretrained", "scratch")
        ]  # fmt: skip
        assert errors == [", ".join(f"{error:.1f}" for error in of_arm) for of_arm in found]
        assert ratio == f"{sum(found[1]) / sum(found[0]):.2f}"
        assert all(m["best_step"] < 12_000 for m in models)


def test_what_is_kept_is_the_protocol_and_the_tables_are_its() -> None:
    assert (RESULTS / "tables.md").read_text(encoding="utf-8") == tables_of(RESULTS)
    kept = (RESULTS / "small/campaign.toml").read_text(encoding="utf-8")
    assert tomllib.loads(kept) == tomllib.loads(templates()["aspirin-exam-small"])
