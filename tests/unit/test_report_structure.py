"""Structure in the report: sound replicas after their start, against the labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from campaign.report.gallery import Block
from campaign.report.html import render_html
from campaign.report.inputs import Distances, Model
from campaign.report.results import report_json
from campaign.report.structure import distances_of, reference_of
from campaign.statistics.distances import count_distances
from data_store.columns import Column
from data_store.parts import write_part
from data_store.runs import Run
from data_store.streams import stream
from tests.unit.test_report import WATER, inputs

MODEL = Model("scratch", 25, 0)


def frames(count: int, seed: int, width_A: float = 0.05) -> np.ndarray:
    noise = stream(seed, "frames").normal(scale=width_A, size=(count, 3, 3))
    return WATER.reference_positions + noise


def test_failed_replicas_and_starts_are_left_out(tmp_path: Path) -> None:
    runs = [
        Run(0, 0, "survived", 1.0),
        Run(1, 1, "failed", 0.7, "hot"),
        Run(2, 2, "censored", 0.6),
    ]
    positions = frames(9, 0).astype(np.float32)
    columns = {
        "saved_replica": Column(np.tile(np.arange(3, dtype=np.int32), 3)),
        "saved_time": Column(np.repeat([0.0, 0.25, 0.5], 3), "ps"),
        "saved_positions": Column(positions, "Å"),
    }
    part = write_part(tmp_path, "simulate", "a", columns, {})
    blocks = [Block(MODEL, 500.0, part, runs)] * 2
    found = distances_of(blocks)[MODEL, 500.0]
    assert found.frames == 2 * 4
    np.testing.assert_array_equal(found.counts, 2 * count_distances(positions[[3, 5, 6, 8]]))


@pytest.mark.parametrize("kept", [0, 50])
def test_errors_stand_in_every_row_and_their_meaning_on_the_page(kept: int) -> None:
    """A hotter distribution is further away; without a frame there is no number."""
    usual = inputs({"pretrained": 0.05, "scratch": 1.0})
    widths = {"pretrained": 0.05, "scratch": 0.2}
    distances = {
        (model, t): Distances.of(frames(kept, model.seed, widths[model.arm]))
        for model, t in usual.runs
    }
    reference = reference_of("the test set", frames(300, 9))
    with_distances = inputs(
        {"pretrained": 0.05, "scratch": 1.0}, distances=distances, reference=reference
    )
    found = report_json(with_distances)
    page = render_html(with_distances, found)
    errors: dict[str, list[float | None]] = {arm: [] for arm in widths}
    for row in found["results"]:
        errors[row["arm"]].append(row["distance_distribution_mae"])
    if not kept:
        assert errors == {arm: [None] * 8 for arm in widths}
        assert "Structure" not in page
        return
    near, far = ([e for e in errors[arm] if e is not None] for arm in widths)
    assert len(near) == len(far) == 8
    assert max(near) < min(far)
    assert 0.0 < found["distance_reference"]["mae_of_halves"] < min(far)
    assert "labels carry no temperature" in " ".join(page.split())
