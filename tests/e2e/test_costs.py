"""What is foreseen of real campaigns, against what they take and hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from campaign.campaign import Campaign
from campaign.costs.benchmark import run_benchmark
from campaign.costs.cost import cost_of, unpriced
from campaign.costs.prediction import predicted_cost
from campaign.costs.ranges import Range
from campaign.costs.rates import Rates
from campaign.costs.storage import storage_of
from campaign.costs.todo import todo_of
from campaign.workspace import Workspace
from data_store.extxyz import write_extxyz
from data_store.parts import find_part, part_path
from data_store.structures import Structures
from tests.e2e.kills import Quiet
from tests.e2e.tiny import TINY, report

MINUTE = """
[campaign]
name = "minute"
[system]
smiles = "O"
[labels]
source = "file"
file = "labels.extxyz"
test_count = 2
[finetuning]
arms = ["scratch"]
pools = [10]
seeds = [0]
steps = 40
learning_rates = [1e-3]
[dynamics]
temperatures_K = [300]
replicas = 4
length_ps = 0.1
"""
"""A campaign of some seconds: no teacher, no expert, one small model."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Benchmarks of tests are not the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def minute(tmp_path: Path) -> Campaign:
    water = np.array([[0.0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]])
    rng = np.random.default_rng(0)
    x = water + 0.02 * rng.normal(size=(20, 3, 3))
    labelled = Structures.from_dense(
        np.array([8, 1, 1]), x, energies=rng.normal(size=20), forces=rng.normal(size=x.shape)
    )
    write_extxyz(tmp_path / "labels.extxyz", labelled)
    (tmp_path / "campaign.toml").write_text(MINUTE)
    return Campaign.read(tmp_path)


def rows_of(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["stage"]: row for row in report(folder)["predicted"]}


def test_the_second_half_is_predicted_by_the_first(minute: Campaign, tmp_path: Path) -> None:
    """By its ledger; and whether it took what was said, or not, the report tells."""
    minute.launch()
    first = rows_of(tmp_path)
    assert first["finetune"]["predicted_node_hours"] is None
    assert "no prediction in 1 of 1 launches" in first["finetune"]["note"]
    both = minute.with_settings({"finetuning.seeds": [0, 1, 2]})
    said = predicted_cost(both.plan().parts, both.workspace, both.site("local"))
    stages = {stage.stage: stage for stage in said.stages}
    assert set(stages) == {"finetune", "simulate"}
    for stage in stages.values():
        assert (stage.tasks, stage.basis) == (2, ("ledger, 1 task",))
    both.launch()
    for name, stage in stages.items():
        row = rows_of(tmp_path)[name]
        assert stage.node_hours is not None
        assert row["predicted_node_hours"] == stage.node_hours.to_json()
        assert row["within"] == Range(**row["predicted_node_hours"]).holds(row["node_hours"])
        assert row["ratio"] == pytest.approx(
            row["node_hours"] / row["predicted_node_hours"]["expected"], rel=1e-3
        )
        assert "no prediction in 1 of 2 launches" in row["note"]
    assert rows_of(tmp_path)["all"]["node_hours"] > 0.0
    foreseen = both.foresee()
    assert not foreseen.cost.stages, "nothing is left, and nothing measured"
    assert foreseen.storage.files_now == pytest.approx(foreseen.storage.files, abs=40)
    page = both.workspace.report_html.read_text()
    assert "node-hours predicted (low … high)" in page
    assert "no prediction in 1 of 2 launches" in page


def test_a_workspace_holds_what_was_computed_beforehand(undisturbed: Quiet, tmp_path: Path) -> None:
    campaign = Campaign.read(undisturbed.folder)
    parts, places = campaign.plan().parts, campaign.workspace
    planned = campaign.plan().the("pretrain")
    model = find_part(places.parts, planned.stage, planned.fingerprint)
    assert model is not None
    before = storage_of(parts, Workspace(tmp_path), 3, model.metadata["parameters"])
    after = storage_of(parts, places, 3, model.metadata["parameters"])
    assert {stage.basis for stage in before.stages} == {"computed from shapes"}
    assert {stage.basis for stage in after.stages} == {"measured"}
    for computed, measured in zip(before.stages, after.stages, strict=True):
        assert measured.files / 1.5 <= computed.files <= measured.files * 1.5
        assert measured.bytes / 2.5 <= computed.bytes <= measured.bytes * 2.5
    # Other tests may have made more in the shared folder: what belongs to these parts is compared.
    folders = [part_path(places.parts, part.stage, part.fingerprint) for part in parts]
    items = [part.items.fingerprint for part in parts if part.items]
    folders += [places.work / name for name in (*(part.fingerprint for part in parts), *items)]
    real = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in real)
    assert sum(stage.files for stage in before.stages) == pytest.approx(len(real), rel=0.2)
    assert sum(stage.bytes for stage in before.stages) == pytest.approx(size, rel=0.2)
    assert (after.files_now, after.bytes_now) == (
        sum(stage.files for stage in after.stages), sum(stage.bytes for stage in after.stages)
    )  # fmt: skip
    assert after.files_now == pytest.approx(len(real), abs=4)


def test_an_undisturbed_campaign_took_what_its_report_says(undisturbed: Quiet) -> None:
    rows = {row["stage"]: row for row in undisturbed.report["predicted"]}
    cost = undisturbed.report["cost"]
    assert set(rows) >= set(cost)
    assert rows["prepare"]["predicted_node_hours"] is not None, "assumed, where nothing is known"
    assert rows["simulate"]["predicted_node_hours"] is None
    assert "all" not in rows, "a sum with unknowns is none"


def test_the_plan_measures_what_no_ledger_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real miniature, of everything that the tiny campaign does."""
    from campaign.cli.main import main

    monkeypatch.setattr("campaign.plan.power._TRIALS", 40)
    monkeypatch.setattr("campaign.plan.power._TRIALS_OF_SEARCH", 20)
    monkeypatch.setattr("campaign.costs.benchmark.CPU_LIMIT_S", 60.0)
    monkeypatch.setattr("campaign.costs.benchmark.LIMIT_S", 200.0)
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "campaign.toml").write_text(TINY)
    monkeypatch.setattr("sys.argv", ["campaign", "plan", str(folder), "--json"])
    with pytest.raises(SystemExit, match="0"):
        main()
    found = json.loads(capsys.readouterr().out)
    assert found["node_hours"]["unknown"] == []
    assert [row["stage"] for row in found["node_hours"]["stages"]] == list(found["stages"])
    for row in found["node_hours"]["stages"]:
        Range(**row["node_hours"])
        assert row["node_hours"]["expected"] > 0.0
        kind = "assumed" if row["stage"] in {"prepare", "select", "split", "starts",
                                             "probe_structures"} else "benchmark"  # fmt: skip
        assert kind in row["basis"][0]
    assert Range(**found["node_hours"]["total_node_hours"]).expected > 0.0
    assert found["storage"]["files"] > found["storage"]["files_now"] == 0
    assert not (folder / "workspace").exists(), "nothing is written there"
    (kept,) = (tmp_path / "cache").rglob("*.json")
    assert json.loads(kept.read_text())["parameters"] > 1000
    campaign = Campaign.read(folder)
    launch = predicted_cost(campaign.plan().parts, campaign.workspace, campaign.site("local"))
    assert launch.to_json() == found["node_hours"]


@pytest.mark.parametrize(
    ("change", "stage", "expected"),
    [
        ({"labels.basis": "STO-33G"}, "label", "labels.basis = 'STO-33G'"),
        ({"system.smiles": "C(("}, "sample", "cannot read this"),
    ],
)
def test_what_cannot_be_tried_says_why(
    tmp_path: Path, change: dict[str, Any], stage: str, expected: str
) -> None:
    """A plan of what a launch would refuse: no number, no traceback, and the reason."""
    (tmp_path / "campaign.toml").write_text(TINY)
    campaign = Campaign.read(tmp_path).with_settings(change)
    plan, site = campaign.plan(), campaign.site("local")
    todo = [one for one in todo_of(plan.parts, campaign.workspace) if one.example.stage == stage]
    nothing = Rates([], "local")
    found = run_benchmark(plan.spec, unpriced(todo, nothing), site)
    (cost,) = cost_of(todo, site, nothing, found).stages
    assert cost.node_hours is None
    assert any("unknown" in basis and expected in basis for basis in cost.basis), cost.basis
