"""A mixture from its file to a pre-trained model and boxes to start from, by the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np

from data_store.datasets import Dataset
from data_store.parts import open_part
from tests.e2e.tiny import environment

MIXTURE = """
[campaign]
name = "mixture"
seed = 5
[system]
kind = "mixture"
density_g_per_cm3 = 0.8
species = [
  { name = "water", smiles = "O", count = 8 },
  { name = "methanol", smiles = "CO", count = 4, share = 2.0 },
  { name = "hydroperoxyl", smiles = "O[O]", count = 2, force_field = "morse" },
]
[sampling]
structures = 128
chunk_structures = 32
[sampling.tiers]
langevin = { temperatures_K = [300, 1000], equilibration_fs = 50.0 }
[labels]
count = 20
candidates = 40
test_count = 4
[pretraining]
steps = 40
batch_size = 8
held_out = 16
ranks = 1
[finetuning]
pools = [8]
seeds = [0]
[dynamics]
replicas = 3
"""


def run(*arguments: str) -> str:
    command = [sys.executable, "-c", "from campaign.cli.main import main; main()", *arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_mixture_is_pretrained_on_each_of_its_molecules(tmp_path: Path) -> None:
    folder = tmp_path / "mixture"
    folder.mkdir()
    (folder / "campaign.toml").write_text(MIXTURE)
    said = run("validate", str(folder))
    assert "32 of O, 64 of CO, 32 of O[O]" in said
    assert "as far as pre-training" in said
    assert "as far as pre-training" in run("plan", str(folder))
    launched = json.loads(run("launch", str(folder), "--json"))
    assert launched["complete"]
    assert launched["report_json"] is None
    parts = folder / "workspace" / "parts"
    teachers = sorted(open_part(p).metadata["teacher"] for p in (parts / "prepare").iterdir())
    assert teachers == ["mmff94", "morse", "q-spc-fw"]
    sampled = Dataset([open_part(p) for p in sorted((parts / "sample").iterdir())]).cached()
    sizes, counts = np.unique(sampled.atom_counts, return_counts=True)
    assert dict(zip(sizes.tolist(), counts.tolist(), strict=True)) == {3: 64, 6: 64}
    (pretrained,) = (parts / "pretrain").iterdir()
    assert open_part(pretrained).metadata["structures"] == 128 - 16
    run("export", str(folder), "starts", "--to", str(tmp_path / "starts.extxyz"))
    starts = ase.io.read(tmp_path / "starts.extxyz", ":")
    assert [len(box) for box in starts] == [8 * 3 + 4 * 6 + 2 * 3] * 3
    assert all(box.pbc.all() for box in starts)
