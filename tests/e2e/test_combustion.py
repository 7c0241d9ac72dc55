"""Reaction channels from their file to models and barriers, by the command line; toy labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from campaign.report.channel_set import ChannelSet
from campaign.report.channels import channel_results
from campaign.report.inputs import Model
from data_store.structure_parts import read_structures
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


def test_models_are_tuned_on_channels_and_judged_by_barriers(folder: Path) -> None:
    said = run("validate", str(folder))
    assert "32 of r08: H2O of multiplicity 1, not 3" in " ".join(said.split())
    assert json.loads(run("launch", str(folder), "--until", "finetune", "--json"))["complete"]
    (labels,), (test,) = parts(folder, "label"), parts(folder, "test")
    assert (labels.metadata["labels"], test.metadata["labels"]) == (24, 40)
    told = test.metadata["channels"]
    names = [told["names"][code] for code in test.read("channel", "")]
    channels = ChannelSet.of(
        read_structures(test), names, test.read("on_path", ""), told["table"], told["held_out"]
    )
    parity = {
        Model(part.metadata["arm"], 20, 0): {
            f"energy_{kind}": part.read(f"test_energy_{kind}", "eV")
            for kind in ("label", "predicted")
        }
        for part in parts(folder, "finetune")
    }
    found = channel_results(channels, parity)
    assert found is not None
    errors = {(row["arm"], row["held_out"]): row["barrier_mae_eV"] for row in found["curve"]}
    assert set(errors) == {(arm, out) for arm in ("pretrained", "scratch") for out in (False, True)}
    assert all(np.isfinite(list(errors.values())))
