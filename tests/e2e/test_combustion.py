"""Reaction channels from their file to dynamics, species and barriers, by the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.test_liquid import parts, run
from tests.laws.channel_toys import SPECIES, write_channels

COUNTED = ", ".join(f'{{ smiles = "{s}", force_field = "morse", count = 2 }}' for s in SPECIES)
COMBUSTION = f"""
[campaign]
name = "combustion"
seed = 5
[system]
kind = "mixture"
species = [{COUNTED}]
box_A = 11.0
[sampling]
structures = 96
chunk_structures = 32
[sampling.tiers]
langevin = {{ temperatures_K = [300, 1000], equilibration_fs = 50.0 }}
[labels]
source = "file"
file = "channels.extxyz"
channels = "hydrogen-combustion"
surfaces = {{ H2O = 3 }}
held_out_channels = ["r03"]
[potential]
cutoff_A = 4.0
[pretraining]
steps = 60
batch_size = 8
held_out = 16
ranks = 1
[finetuning]
arms = ["pretrained", "scratch"]
pools = [20]
seeds = [0]
steps = 200
batch_size = 4
learning_rates = [3e-3]
validate_every = 20
[dynamics]
temperatures_K = [500]
replicas = 2
block_replicas = 2
length_ps = 0.05
timestep_fs = 0.5
save_stride_ps = 0.01
criteria = ["not_finite", "close_contact", "valence", "energy_runaway"]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("combustion")
    (place / "campaign.toml").write_text(COMBUSTION)
    write_channels(place / "channels.extxyz")
    return place


def test_models_are_tuned_simulated_and_judged_by_barriers(folder: Path) -> None:
    said = run("validate", str(folder))
    assert "32 of r08: H2O of multiplicity 1, not 3" in " ".join(said.split())
    assert json.loads(run("launch", str(folder), "--json"))["complete"]
    (labels,), (test,) = parts(folder, "label"), parts(folder, "test")
    assert (labels.metadata["labels"], test.metadata["labels"]) == (24, 40)
    report = json.loads((folder / "workspace" / "report.json").read_text())
    reactions = report["channels"]
    errors = {(row["arm"], row["held_out"]): row["barrier_mae_eV"] for row in reactions["curve"]}
    assert set(errors) == {(arm, out) for arm in ("pretrained", "scratch") for out in (False, True)}
    assert all(0.0 < error < 20.0 for error in errors.values())
    ends = {row["channel"]: row["ends"] for row in reactions["rows"]}
    assert ends["r02"] == ["H2 + O", "H + OH"]
    assert "32 labels left out: r08: H2O of multiplicity 1, not 3" in report["notes"]
    check_species(report["species"])
    page = (folder / "workspace" / "report.html").read_text()
    assert "<h2>Reactions</h2>" in page
    assert "<h2>Species</h2>" in page


def check_species(rows: list[dict[str, Any]]) -> None:
    """The first frames hold what the box was built of, and every frame the same atoms."""
    assert {row["arm"] for row in rows} == {"pretrained", "scratch"}
    for row in rows:
        first = {name: counts[0] for name, counts in row["counts"].items() if counts[0]}
        assert first == {"H2": 2.0, "H2O": 2.0, "OH": 2.0}
        hydrogens = sum(
            np.array(counts) * in_formula(name, "H") for name, counts in row["counts"].items()
        )
        np.testing.assert_allclose(hydrogens, 10.0)


def in_formula(name: str, symbol: str) -> int:
    return sum(int(n or 1) for s, n in re.findall(r"([A-Z][a-z]?)(\d*)", name) if s == symbol)
