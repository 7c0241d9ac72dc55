"""Free energies in the report: a section where dynamics had a bias, and none where it had not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps.dynamics.metadynamics_settings import MetadynamicsSettings
from campaign.report.free_energy import biased_block, free_energy_rows
from campaign.report.html import render_html
from campaign.report.inputs import BiasedBlock, Model
from campaign.report.results import report_json
from campaign.statistics.free_energy import Hills
from data_store.columns import Column
from data_store.parts import Part, write_part
from tests.unit.test_plan import METADYNAMICS
from tests.unit.test_report import inputs

WALKERS, MOMENTS = 8, 40


def hills() -> Hills:
    """Of walkers between 1.5 and 3.5 Å."""
    rng = np.random.default_rng(0)
    count = WALKERS * MOMENTS
    return Hills(
        np.repeat(0.05 * np.arange(1, MOMENTS + 1), WALKERS), np.tile(np.arange(WALKERS), MOMENTS),
        rng.uniform(1.5, 3.5, (count, 1)), rng.uniform(0.005, 0.01, count),
        (0.1,), 0.01, 10.0, 500.0,
    )  # fmt: skip


def block(model: Model, number: int = 0) -> BiasedBlock:
    settings = MetadynamicsSettings.model_validate(METADYNAMICS)
    return BiasedBlock(model, 500.0, number, settings, hills(), 3, 2.0)


def part(root: Path, **metadata: Any) -> Part:
    found = hills()
    columns = {
        "hill_time": Column(found.times_ps, "ps"),
        "hill_walker": Column(found.walkers.astype(np.int32)),
        "hill_height": Column(found.heights_eV, "eV"),
        "hill_centre_0": Column(found.centres[:, 0], "Å"),
    }
    return write_part(root, "simulate", "a" * 64, columns, metadata)


def test_rows_are_plain_json_with_nothing_where_nobody_was() -> None:
    (row,) = free_energy_rows([block(Model("scratch", 25, 0))])
    json.dumps(row, allow_nan=False)
    assert (row["unit"], row["walkers"], row["hills_left_out"]) == ("Å", WALKERS, 3)
    assert row["samples_after_ps"] == pytest.approx(0.5)
    seen = [1.5 < x < 3.5 for x in row["bin_centres"]]
    assert [value is not None for value in row["free_energy_eV"]] == seen
    assert all(e > 0.0 for e, there in zip(row["standard_error_eV"], seen, strict=True) if there)


def test_the_page_has_a_section_where_there_is_a_bias_and_none_where_not() -> None:
    models = [Model("pretrained", 25, 0), Model("scratch", 25, 0)]
    biased = inputs({"pretrained": 1.0, "scratch": 2.0}, biased=[block(m) for m in models])
    found = report_json(biased)
    assert [row["arm"] for row in found["free_energy"]] == ["pretrained", "scratch"]
    page = render_html(biased, found)
    assert "<h2>Free energy</h2>" in page
    assert "6 of all blocks" in page
    plain = inputs({"pretrained": 1.0, "scratch": 2.0})
    assert report_json(plain)["free_energy"] == []
    assert "Free energy" not in render_html(plain, report_json(plain))


def test_hills_come_back_from_a_part(tmp_path: Path) -> None:
    model = Model("scratch", 25, 0)
    dynamics = {"metadynamics": METADYNAMICS, "length_ps": 2.0}
    record = {"schema": 1, "units": ["Å"], "left_out": 3}
    found = biased_block(model, 500.0, 0, part(tmp_path, dynamics=dynamics, hills=record))
    assert found is not None
    assert list(free_energy_rows([found])) == list(free_energy_rows([block(model)]))
    assert biased_block(model, 500.0, 0, part(tmp_path / "plain", dynamics=dynamics)) is None
