"""Probes in the report: per model in the JSON, one table and one figure on the page."""

from __future__ import annotations

from typing import Any

from campaign.report.html import render_html
from campaign.report.inputs import Control, Model
from campaign.report.results import report_json
from data_store.runs import Run
from tests.unit.test_report import inputs, unclosed

CHANGES = (-0.4, 0.0, 0.5, 0.8)


def probed(scale: float, share: float | None, scan: bool = True) -> dict[str, Any]:
    rows = [
        {"change_A": c, "median_eV": scale * c * c, "p5_eV": None, "teacher_median_eV": 9.0 * c * c,
         "teacher_p5_eV": 1.0}
        for c in CHANGES
    ]  # fmt: skip
    return {
        "distorted": 12, "distorted_low": 3, "distorted_low_share": share,
        "teacher_lacking": 7,
        "scan": rows if scan else [],
    }  # fmt: skip


def page_of(probes: dict[Model, dict[str, Any]], **more: Any) -> tuple[dict[str, Any], str]:
    given = inputs({"pretrained": 0.05, "scratch": 1.0}, probes=probes, **more)
    found = report_json(given)
    page = render_html(given, found)
    assert unclosed(page) == []
    return found, " ".join(page.split())


def test_each_model_has_a_row_and_the_teacher_one() -> None:
    probes = {Model("scratch", 25, 0): probed(5.0, 0.25), Model("pretrained", 25, 0): probed(8, 0)}
    found, page = page_of(probes)
    assert [row["arm"] for row in found["probes"]] == ["pretrained", "scratch"]
    assert found["probes"][1]["distorted_low_share"] == 0.25
    section = page[page.index("Probes without dynamics") : page.index("<h2>Training")]
    assert "<td>scratch, 25 labels, seed 0</td><td>12</td><td>0.25</td>" in section
    assert "<td>0.8, –</td><td>1.25, –</td><td>3.2, –</td>" in section
    assert "<td>teacher</td>" in section
    assert section.count("<svg") == 1
    assert "For 7 scanned structures it gives no energy" in section


def test_the_reference_method_stands_between_models_and_teacher() -> None:
    survived = [Run(i, i, "survived", 4.0) for i in range(8)]
    failed = [Run(0, 0, "failed", 0.5, "bond_stretch", (0, 1), 0.6), *survived[1:]]
    control = Control("gfn2-xtb", {500.0: survived, 1000.0: failed}, {}, probed(2.0, 0.0))
    probes = {Model("scratch", 25, 0): probed(5.0, 0.25)}
    found, page = page_of(probes, control=control)
    assert [(row["temperature_K"], row["failures"]) for row in found["control"]] == [
        (500.0, 0), (1000.0, 1),
    ]  # fmt: skip
    assert found["control_probes"]["distorted_low_share"] == 0.0
    assert "At 500 K, 0 of 8 replicas failed under gfn2-xtb in 32 ps: 0 per ns" in page
    assert "At 1000 K, 1 of 8 replicas failed under gfn2-xtb in 28.5 ps (bond_stretch 1)" in page
    section = page[page.index("Probes without dynamics") : page.index("<h2>Training")]
    assert "<td>gfn2-xtb</td><td>12</td><td>0</td> <td>0.32, –</td><td>0.5, –</td>" in section
    assert section.index("<td>gfn2-xtb") < section.index("<td>teacher")


def test_without_a_teacher_there_is_no_section() -> None:
    found, page = page_of({})
    assert found["probes"] == []
    assert "Probes without dynamics" not in page


def test_a_molecule_without_bonds_or_distortions_has_no_numbers() -> None:
    _, page = page_of({Model("scratch", 25, 0): probed(5.0, None, scan=False)})
    section = page[page.index("Probes without dynamics") : page.index("<h2>Training")]
    assert "<svg" not in section
    assert "–, –" in section
