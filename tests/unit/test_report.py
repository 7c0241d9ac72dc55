"""The report: the design's schema, no NaN, everything inside one page, hostile names harmless."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import ase.io
import numpy as np
import pytest

from campaign.report.html import number_in_words, render_html
from campaign.report.inputs import Curve, FailurePicture, Limits, Model, ReportInputs, StageCost
from campaign.report.results import report_json
from campaign.report.write import write_report
from campaign.workspace import Workspace
from data_store.molecules import Molecule
from data_store.runs import Run
from data_store.streams import stream

WATER = Molecule(
    "water", (8, 1, 1), ((0, 1), (0, 2)), (1, 1), (0, 0, 0), 1,
    np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]),
)  # fmt: skip


def inputs(
    rates: dict[str, float], seeds: int = 2, name: str = "test", **changes: Any
) -> ReportInputs:
    rng = stream(0, "report")
    runs, errors, parity, details, curves = {}, {}, {}, {}, []
    for arm, rate in rates.items():
        for labels in (25, 50):
            for seed in range(seeds):
                model = Model(arm, labels, seed)
                for temperature in (500.0, 1000.0):
                    times = rng.exponential(1.0 / rate, size=16) if rate else np.full(16, 9.0)
                    runs[model, temperature] = [
                        Run(i, i, "failed", float(t), "bond_stretch", (0, 1), 0.6)
                        if t < 2.0
                        else Run(i, i, "survived", 2.0)
                        for i, t in enumerate(times)
                    ]
                errors[model] = {"force_mae_eV_per_A": 0.1, "energy_mae_meV_per_atom": 1.0}
                label = rng.normal(size=50)
                parity[model] = {"force_label": label, "force_predicted": label + 0.1}
                details[model] = {
                    "learning_rate": 1e-3, "best_step": 5, "train_structures": 20,
                    "validation_structures": 5, "validation": {"force_mae_eV_per_A": 0.1},
                    "refit": {"scale_before": 1.0, "scale_after": 0.9},
                }  # fmt: skip
                rows = [{"step": s, "validation_force_mae_eV_per_A": 1.0 / s} for s in (1, 2)]
                curves.append(Curve(str(model), arm, rows))
    frames = WATER.reference_positions + 0.05 * rng.normal(size=(6, 3, 3))
    failed = next((r for found in runs.values() for r in found if r.failed), None)
    pictures = (
        [FailurePicture(Model("scratch", 25, 0), 500.0, failed, frames.astype(np.float32), 5.0)]
        if failed
        else []
    )
    fields: dict[str, Any] = {
        "campaign": name, "settings": {"campaign": {"name": name}}, "molecule": WATER,
        "runs": runs, "errors": errors, "parity": parity, "details": details, "curves": curves,
        "pictures": pictures, "limits": Limits({(0, 1): (0.46, 1.46)}),
        "cost": {"sample": StageCost(0.5, 10, 300.0)}, "expert_calls": 60,
        "teacher": {
            "force_field": "mmff94", "reason": "asked for", "structures": {"noise": 5},
            "rejected": {},
        },
        "notes": ["1 × lost in stage label"],
    }  # fmt: skip
    return ReportInputs(**{**fields, **changes})


CASES = {
    "usual": inputs({"pretrained": 0.05, "scratch": 1.0}),
    "nothing failed": inputs({"pretrained": 0.0, "scratch": 0.0}),
    "all failed": inputs({"pretrained": 50.0, "scratch": 50.0}),
    "one seed": inputs({"pretrained": 0.0, "scratch": 1.0}, seeds=1),
    "one arm": inputs({"scratch": 1.0}),
    "no test set": inputs({"pretrained": 0.1, "scratch": 1.0}, errors={}, parity={}, curves=[]),
    "three arms": inputs({"pretrained": 0.1, "scratch": 1.0, "scratch_long": 1.0}),
}


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> ReportInputs:
    return CASES[request.param]


RESULT = {"arm", "labels", "seed", "temperature_K", "replicas", "failures", "exposure_ps",
          "rate_per_ns", "rate_interval_per_ns", "failed_fraction", "failed_fraction_interval",
          "causes", "force_mae_eV_per_A", "energy_mae_meV_per_atom"}  # fmt: skip
COMPARISON = {"labels", "temperature_K", "against", "seeds", "rate_ratio", "rate_ratio_interval",
              "logrank_p"}  # fmt: skip


def test_the_schema_is_the_designs(case: ReportInputs) -> None:
    found = report_json(case)
    json.dumps(found, allow_nan=False)
    assert found["schema"] == 1
    assert len(found["results"]) == len(case.runs)
    for row in found["results"]:
        assert set(row) >= RESULT
        low, high = row["failed_fraction_interval"]
        assert low <= row["failed_fraction"] <= high
        assert row["failures"] == sum(row["causes"].values())
    for row in found["comparisons"]:
        assert set(row) >= COMPARISON
    assert found["cost"]["sample"] == {"core_hours": 0.5, "items": 10, "peak_rss_MB": 300.0}
    assert found == report_json(case), "a pure function"


def test_comparisons_are_of_other_arms_with_the_pretrained() -> None:
    usual = report_json(CASES["usual"])["comparisons"]
    assert len(usual) == 4
    assert all(row["rate_ratio"] is None or row["rate_ratio"] > 1 for row in usual)
    assert report_json(CASES["one arm"])["comparisons"] == []
    assert len(report_json(CASES["three arms"])["comparisons"]) == 8


def test_the_page_is_whole(case: ReportInputs) -> None:
    page = render_html(case, report_json(case))
    assert page.startswith("<!DOCTYPE html>")
    outside = re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#|failures/)[^"']*""", page)
    assert not outside, "nothing is fetched, and linked are files beside it alone"
    assert unclosed(page) == []
    assert "<script" not in page
    assert "nan" not in re.sub(r"<svg.*?</svg>|<img[^>]*>", "", page, flags=re.DOTALL).lower()


def unclosed(page: str) -> list[str]:
    """Tags that are closed out of turn, or never."""
    opened: list[str] = []
    wrong: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in {"meta", "br", "img", "hr"}:
                opened.append(tag)

        def handle_startendtag(self, tag: str, attrs: object) -> None:
            pass

        def handle_endtag(self, tag: str) -> None:
            if not opened or opened.pop() != tag:
                wrong.append(tag)

    Reader().feed(page)
    return wrong + opened


def test_the_check_of_tags_sees_what_is_wrong() -> None:
    assert unclosed("<p><b>x</b><br></p>") == []
    assert unclosed("<p><b>x</p></b>") == ["p", "b"]
    assert unclosed("<p>x") == ["p"]


def test_a_null_result_is_said() -> None:
    page = render_html(CASES["nothing failed"], report_json(CASES["nothing failed"]))
    assert "nothing can be told" in page


def test_hostile_names_are_text() -> None:
    hostile = inputs({"scratch": 1.0}, name="<script>alert(1)</script>")
    page = render_html(hostile, report_json(hostile))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_both_files_are_written(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    found = write_report(workspace, CASES["usual"])
    assert json.loads(workspace.report_json.read_text()) == found
    assert workspace.report_html.stat().st_size < 3_000_000
    links = re.findall(r'href="(failures/[^"]*)"', workspace.report_html.read_text())
    assert links == [name for kind in found["failure_kinds"] for name in kind["files"]]
    (file,) = links
    frames = ase.io.read(tmp_path / file, index=":", format="extxyz")
    (picture,) = CASES["usual"].pictures
    np.testing.assert_allclose([f.positions for f in frames], picture.frames, atol=1e-6)
    drawn = {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert {"survival.svg", "rates.svg", "errors.svg", "parity.png"} <= set(drawn)
    for name, content in drawn.items():
        if name.endswith(".svg"):
            assert ElementTree.fromstring(content).tag == "{http://www.w3.org/2000/svg}svg"
        else:
            assert content.startswith(b"\x89PNG")


def test_pooled_rows_are_the_sums_of_their_seeds() -> None:
    found = report_json(CASES["three arms"])
    assert len(found["pooled"]) == 12
    for row in found["pooled"]:
        key = ("arm", "labels", "temperature_K")
        mine = [r for r in found["results"] if all(r[k] == row[k] for k in key)]
        assert row["seeds"] == len(mine) == 2
        assert row["failures"] == sum(r["failures"] for r in mine)
        assert row["exposure_ps"] == pytest.approx(sum(r["exposure_ps"] for r in mine))
        assert "these models" in row["interval_kind"]


def test_the_order_in_which_runs_come_is_nothing() -> None:
    usual = CASES["usual"]
    turned = {key: runs[::-1] for key, runs in reversed(usual.runs.items())}
    assert report_json(dataclasses.replace(usual, runs=turned)) == report_json(usual)


def test_the_headline_says_what_its_interval_is_conditional_on() -> None:
    for name, words in (("one seed", "conditional on these two models"), ("usual", "over 2 seeds")):
        page = render_html(CASES[name], report_json(CASES[name]))
        headline = page[page.index('<ul class="lead">') : page.index("</ul>")]
        assert words in headline
        assert "doi:" in page


def test_medians_that_are_not_reached_are_said() -> None:
    found = report_json(CASES["nothing failed"])
    assert all(row["median_survival_ps"] is None for row in found["results"])
    assert "not reached" in render_html(CASES["nothing failed"], found)


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [(1000.0, 3, "1000"), (267.9, 2, "270"), (0.03142, 3, "0.0314"), (1.2e7, 3, "1.2e+07"),
     (None, 3, "–"), (0.0, 3, "0")],
)  # fmt: skip
def test_numbers_are_plain(value: float | None, digits: int, expected: str) -> None:
    assert number_in_words(value, digits) == expected
