"""The report's map of what the student was shown, and what it says where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from campaign.coverage.dynamics import dynamics_rows
from campaign.coverage.measures import MEASURES, coverage_of
from campaign.report import coverage
from campaign.report.coverage import shown_to_the_student
from campaign.report.html import render_html
from campaign.report.results import report_json
from data_store.parts import Part, write_part
from data_store.structure_parts import structures_to_columns
from tests.unit.test_coverage import WATER, shaken
from tests.unit.test_report import inputs


def chunks(folder: Path, count: int, **metadata: Any) -> list[Part]:
    return [
        write_part(
            folder, "sample", f"{number:064x}",
            structures_to_columns(shaken(10, seed=number)), metadata,
        )
        for number in range(count)
    ]  # fmt: skip


def test_the_page_and_the_file_show_what_was_covered() -> None:
    dynamics = [{"temperature_K": 300.0, "frames": 80, "effective": 21.25}]
    teacher = {
        "force_field": "mmff94", "reason": "asked for", "structures": {"noise": 90, "scan": 30},
        "rejected": {}, "dynamics": dynamics,
    }  # fmt: skip
    found = coverage_of([shaken(30), shaken(10, 0.2, "scan")], WATER)
    made = inputs({"pretrained": 0.1, "scratch": 1.0}, coverage=found, teacher=teacher)
    report = report_json(made)
    assert report["coverage"] == found.rows()
    assert all(report["coverage"][0][name] for name in MEASURES)
    page = render_html(made, report)
    assert "What the student was shown" in page
    assert "Of 40 of 120 structures, in chunks at even" in page
    assert "80 at 300 K are worth 21.2" in " ".join(page.split())


def test_without_teacher_structures_there_is_no_map() -> None:
    made = inputs({"pretrained": 0.1, "scratch": 1.0})
    assert report_json(made)["coverage"] == []
    assert "What the student was shown" not in render_html(made, report_json(made))


def test_very_many_structures_are_looked_at_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = chunks(tmp_path, 10)
    whole = shown_to_the_student(parts, WATER)
    assert whole.tiers["noise"].structures == 100
    monkeypatch.setattr(coverage, "MOST_LOOKED_AT", 35)
    assert shown_to_the_student(parts, WATER).tiers["noise"].structures == 30
    monkeypatch.setattr(coverage, "MOST_LOOKED_AT", 1)
    assert shown_to_the_student(parts, WATER).tiers["noise"].structures == 10
    assert shown_to_the_student([], WATER).tiers == {}


def test_frames_and_their_worth_are_summed_by_temperature(tmp_path: Path) -> None:
    thermal = [{"temperature_K": t, "frames": 16, "effective": 4.5} for t in (300.0, 600.0)]
    parts = chunks(tmp_path, 3, thermal=thermal)
    assert dynamics_rows(parts) == [
        {"temperature_K": t, "frames": 48, "effective": 13.5} for t in (300.0, 600.0)
    ]
