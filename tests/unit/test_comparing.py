"""Several campaigns side by side: what their reports say, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from campaign.cli.main import app, main
from campaign.comparing import compared, read_told
from campaign.report.inputs import ReportInputs
from campaign.report.results import report_json
from campaign.statistics.comparison import rate_ratio
from campaign.workspace import Workspace
from data_store.errors import InputError
from tests.unit.test_report import inputs

GOOD, BAD = {"pretrained": 0.0, "scratch": 0.5}, {"pretrained": 0.5, "scratch": 1.0}


def written(folder: Path, report: ReportInputs, file: str = "[campaign]\nname = 'x'\n") -> Path:
    """A finished campaign, as far as its report and its file go."""
    workspace = Workspace(folder / "workspace")
    workspace.root.mkdir(parents=True)
    (folder / "campaign.toml").write_text(file)
    workspace.report_json.write_text(json.dumps(report_json(report)))
    return folder


def named(name: str, chances: dict[str, float]) -> ReportInputs:
    return replace(inputs(chances), campaign=name)


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    return [
        written(tmp_path / "a", named("a", GOOD), "[sampling]\nstructures = 100\nseed = 1\n"),
        written(tmp_path / "b", named("b", BAD), "[sampling]\nstructures = 200\nseed = 1\n"),
    ]


def test_ratios_are_those_of_the_runs(two: list[Path]) -> None:
    found = compared(read_told(two))
    runs = [named("", chances).runs for chances in (GOOD, BAD)]
    assert found["comparisons"]
    for row in found["comparisons"]:
        by_seed = [
            {
                model.seed: each
                for (model, kelvin), each in side.items()
                if (model.arm, model.labels, kelvin)
                == (row["arm"], row["labels"], row["temperature_K"])
            }
            for side in runs
        ]
        expected = rate_ratio(by_seed[0], by_seed[1])
        assert row["rate_ratio"] == pytest.approx(expected.value)
        assert row["rate_ratio_interval"] == pytest.approx(expected.interval)
        assert row["seeds"] == len(set(by_seed[0]) & set(by_seed[1]))


def test_rows_and_differences_are_all_there(two: list[Path]) -> None:
    found = compared(read_told(two))
    assert found["differing_settings"] == {"sampling.structures": ["100", "200"]}
    reports = [json.loads((path / "workspace/report.json").read_text()) for path in two]
    assert len(found["rows"]) == sum(len(report["pooled"]) for report in reports)
    assert {row["campaign"] for row in found["rows"]} == {"a", "b"}
    assert all(row["against"] == "a" and row["campaign"] == "b" for row in found["comparisons"])


def test_what_only_one_has_is_shown_and_not_compared(tmp_path: Path, two: list[Path]) -> None:
    alone = written(tmp_path / "c", named("c", {"scratch_long": 0.5}))
    found = compared(read_told([two[0], alone]))
    assert {row["arm"] for row in found["rows"] if row["campaign"] == "c"} == {"scratch_long"}
    assert found["comparisons"] == []


def test_campaigns_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [written(tmp_path / n, named("same", {"pretrained": 0.5})) for n in ("x", "y")]
    assert [told.name for told in read_told(paths)] == ["same (x)", "same (y)"]
    assert len({told.name for told in read_told([paths[0], paths[0]])}) == 2


def test_reports_are_found_where_they_are(two: list[Path]) -> None:
    ways = [two[0], two[0] / "workspace", two[0] / "workspace/report.json"]
    assert all(read_told([way])[0].settings for way in ways)


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "cannot be read"), ("[]", "schema"), ('{"schema": 9}', "its schema is 9"),
     (None, "there is no report.json")],
)  # fmt: skip
def test_what_is_no_report_is_refused(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(InputError, match=said):
        read_told([tmp_path])


def test_the_command_writes_both_forms(two: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = CliRunner().invoke(app, ["compare", *map(str, two), "--out", str(out), "--json"])
    assert told.exit_code == 0, told.output
    said: dict[str, Any] = json.loads(told.stdout)
    assert said == json.loads((out / "compare.json").read_text())
    page = (out / "compare.html").read_text()
    assert "sampling.structures" in page
    assert page.count("<svg") == 1
    shown = CliRunner().invoke(app, ["compare", *map(str, two), "--out", str(out)])
    assert "1 settings differ" in shown.output


def test_one_alone_is_refused_without_a_traceback(
    two: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["campaign", "compare", str(two[0])])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "name two or more" in capsys.readouterr().err
