"""Laws of barriers: none of their own errors, blind to shifts, seen from both ends."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from apps.labeling.channel_choice import PATH, read_tags, with_channels
from campaign.report.channel_set import ChannelSet
from campaign.report.channels import (
    channel_results,
    channels_figure,
    enough_in_words,
)
from campaign.report.html import render_html
from campaign.report.inputs import Model
from campaign.report.results import report_json
from campaign.statistics.barriers import (
    CHEMICAL_ACCURACY_eV,
    barrier_of,
    enough_labels,
)
from data_store.extxyz import read_extxyz
from data_store.structures import Structures
from tests.unit.test_report import inputs

PUBLISHED = Path(os.environ.get("CAMPAIGN_H2COMB", "shared/data/h2comb_train4230.extxyz"))
HUMP = np.array([0.0, 0.2, 0.9, 0.4, -0.5])
WELL = np.array([0.0, -0.8, -1.0, -0.7, -0.2])
Floats = NDArray[np.float64]


def channel_set() -> tuple[ChannelSet, Floats]:
    """Two channels of H2 and O, one held out, with paths of five frames in a shuffled order."""
    rng = np.random.default_rng(0)
    order = rng.permutation(10)
    positions = np.tile(np.array([[0.0, 0, 0], [3.0, 0, 0], [3.0, 0.74, 0]]), (10, 1, 1))
    positions[order >= 5, 0] = [3.9, 0.0, 0.0]  # the oxygen is bonded
    structures = Structures.from_dense(
        np.array([8, 1, 1]), positions, frames=order % 5, parents=order // 5
    )
    names = ["r02" if place < 5 else "r08" for place in order]
    energies = np.array([(HUMP if place < 5 else WELL)[place % 5] for place in order])
    found = ChannelSet.of(
        structures, names, np.ones(10, dtype=bool), "hydrogen-combustion", ["r08"]
    )
    return found, energies


def models(predicted: Floats, label: Floats, pools: tuple[int, ...] = (25,), seeds: int = 1) -> Any:
    values = {"energy_label": label, "energy_predicted": predicted}
    return {Model("scratch", n, seed): values for n in pools for seed in range(seeds)}


def test_barriers_are_counted_from_both_ends() -> None:
    hump, well = barrier_of(HUMP), barrier_of(WELL)
    assert (hump.from_first, hump.from_last, hump.inner) == (0.9, 1.4, True)
    assert (well.from_first, round(well.from_last, 9), well.inner) == (0.0, 0.2, False)
    backwards = barrier_of(HUMP[::-1])
    assert (backwards.from_first, backwards.from_last) == (hump.from_last, hump.from_first)


def test_a_shift_changes_no_barrier_and_a_tilt_does() -> None:
    rng = np.random.default_rng(1)
    for shift in rng.normal(0, 1e4, 20):
        moved = barrier_of(HUMP + shift)
        np.testing.assert_allclose(moved.errors_eV(barrier_of(HUMP)), 0.0, atol=1e-9)
    tilted = barrier_of(HUMP + np.linspace(0.0, 1.0, 5))  # the known-bad twin
    assert max(np.abs(tilted.errors_eV(barrier_of(HUMP)))) > 0.4


def test_the_labels_own_energies_have_no_error_and_order_in_the_set_does_not_matter() -> None:
    channels, energies = channel_set()
    found = channel_results(channels, models(energies + 7.0, energies))
    assert found is not None
    json.dumps(found, allow_nan=False)
    for row in found["rows"]:
        np.testing.assert_allclose(row["barriers_eV"], row["barriers_label_eV"], atol=1e-9)
        assert row["energy_mae_eV"] == pytest.approx(7.0)
    by_channel = {row["channel"]: row for row in found["rows"]}
    assert by_channel["r02"]["barriers_label_eV"] == [0.9, 1.4]
    assert by_channel["r02"]["ends"] == ["H2 + O", "H2 + O"]
    assert [by_channel[name]["held_out"] for name in ("r02", "r08")] == [False, True]
    assert all(row["barrier_mae_eV"] < 1e-9 for row in found["curve"])


def test_a_bump_on_a_path_without_one_is_an_error() -> None:
    channels, energies = channel_set()
    bumped = energies.copy()
    bumped[list(channels.paths["r08"])] += np.array([0.0, 0.0, 1.5, 0.0, 0.0])
    found = channel_results(channels, models(bumped, energies))
    assert found is not None
    errors = {row["held_out"]: row["barrier_mae_eV"] for row in found["curve"]}
    assert errors[False] == 0.0
    assert errors[True] == pytest.approx(0.5)


def test_enough_labels_hold_for_all_larger_pools() -> None:
    good, bad = [0.02, 0.021, 0.022], [0.2, 0.21, 0.22]
    bound = CHEMICAL_ACCURACY_eV
    assert enough_labels({25: bad, 50: good, 100: good}, bound) == 50
    assert enough_labels({25: good, 50: bad, 100: good}, bound) == 100
    assert enough_labels({25: bad, 50: bad}, bound) is None
    assert enough_labels({25: good[:1]}, bound) is None  # one seed has no interval
    assert enough_labels({25: [0.04, 0.001, 0.04]}, bound) is None  # too scattered to tell
    assert enough_labels({25: [0.0, 0.0]}, bound) == 25


def test_results_are_drawn_and_said_in_words() -> None:
    channels, energies = channel_set()
    rng = np.random.default_rng(2)
    noisy = {
        Model(arm, n, seed): {
            "energy_label": energies,
            "energy_predicted": energies + rng.normal(0, 2.0 / n, 10),
        }
        for arm in ("pretrained", "scratch")
        for n in (25, 400)
        for seed in range(3)
    }
    found = channel_results(channels, noisy)
    assert found is not None
    assert {row["seeds"] for row in found["curve"]} == {3}
    assert len(channels_figure(found).axes) >= 2
    said = [enough_in_words(row) for row in found["enough"]]
    assert any("from 400 labels on" in text for text in said)
    one_seed = {m: v for m, v in noisy.items() if m.seed == 0}
    lone = channel_results(channels, one_seed)
    assert lone is not None
    assert all("one seed has no interval" in enough_in_words(row) for row in lone["enough"])
    assert channel_results(None, noisy) is None


@pytest.mark.skipif(
    not PUBLISHED.is_file(),
    reason=f"no hydrogen combustion labels at {PUBLISHED} (CAMPAIGN_H2COMB names the file)",
)
def test_published_barriers_are_known_ones() -> None:
    tags = read_tags(PUBLISHED, "hydrogen-combustion")
    structures = with_channels(read_extxyz(PUBLISHED), tags, "hydrogen-combustion")
    on_path = np.array([kind == PATH for kind in tags.kinds])
    rows = np.flatnonzero(on_path)
    channels = ChannelSet.of(
        structures.take(rows), [tags.channels[row] for row in rows], on_path[rows],
        "hydrogen-combustion", [],
    )  # fmt: skip
    energies = structures.labelled_energies()[rows]
    found = channel_results(channels, models(energies, energies))
    assert found is not None
    labelled = {row["channel"]: row for row in found["rows"]}
    # H2 + OH → H2O + H: 3.8 kcal/mol from the reactants here; the thinned path may miss the top.
    first, last = (v / CHEMICAL_ACCURACY_eV for v in labelled["r03"]["barriers_label_eV"])
    assert labelled["r03"]["ends"] == ["H2 + OH", "H + H2O"]
    assert 3.0 < first < 7.0
    assert 14.0 < last < 22.0


def test_the_report_has_a_section_where_there_are_channels_and_none_where_not() -> None:
    channels, energies = channel_set()
    plain = inputs({"pretrained": 1.0, "scratch": 2.0})
    parity = {
        model: {**values, "energy_label": energies, "energy_predicted": energies + 0.1}
        for model, values in plain.parity.items()
    }
    found = dataclasses.replace(plain, channels=channels, parity=parity)
    report = report_json(found)
    json.dumps(report, allow_nan=False)
    page = render_html(found, report)
    assert "<h2>Reactions</h2>" in page
    assert "held out" in page
    assert report_json(plain)["channels"] is None
    assert "<h2>Reactions</h2>" not in render_html(plain, report_json(plain))
