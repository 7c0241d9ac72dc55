"""A liquid from its file to a report, by the command line; labels by a toy that sees images."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import ase.io
import pytest

from data_store.extxyz import write_extxyz
from data_store.parts import Part, open_part
from tests.e2e.tiny import environment
from tests.laws.box_toys import toy_boxes

LIQUID = """
[campaign]
name = "liquid"
seed = 5
[system]
kind = "liquid"
smiles = "O"
count = 8
[sampling]
structures = 64
chunk_structures = 32
[sampling.tiers]
langevin = { temperatures_K = [300, 1000], equilibration_fs = 50.0 }
[labels]
source = "file"
file = "boxes.extxyz"
test_count = 6
alike_within_A = 0.01
[potential]
cutoff_A = 4.0
[pretraining]
steps = 60
batch_size = 8
held_out = 16
ranks = 1
[finetuning]
arms = ["pretrained", "scratch"]
pools = [12]
seeds = [0]
steps = 60
batch_size = 2
learning_rates = [3e-3]
validate_every = 20
[dynamics]
temperatures_K = [300, 9000]
replicas = 2
block_replicas = 2
length_ps = 0.05
timestep_fs = 0.5
"""


def run(*arguments: str) -> str:
    command = [sys.executable, "-c", "from campaign.cli.main import main; main()", *arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("liquid")
    (place / "campaign.toml").write_text(LIQUID)
    write_bare(place / "boxes.extxyz")
    assert json.loads(run("launch", str(place), "--until", "finetune", "--json"))["complete"]
    return place


def write_bare(file: Path) -> None:
    """Boxes whose frames say nothing of where they are from."""
    write_extxyz(file, toy_boxes(30))
    told = ("parent=", "frame=", "tier=")
    lines = [
        " ".join(word for word in line.split() if not word.startswith(told))
        for line in file.read_text().splitlines()
    ]
    file.write_text("\n".join(lines) + "\n")


def parts(folder: Path, stage: str) -> list[Part]:
    return [open_part(path) for path in sorted((folder / "workspace/parts" / stage).iterdir())]


def test_models_are_tuned_on_its_boxes(folder: Path) -> None:
    assert "64 of O" in run("validate", str(folder))
    planned = json.loads(run("plan", str(folder), "--json"))
    assert planned["stages"]["simulate"]["items"] == 4
    tuned = {part.metadata["arm"]: part for part in parts(folder, "finetune")}
    assert set(tuned) == {"pretrained", "scratch"}
    for part in tuned.values():
        rows = [
            json.loads(line) for line in part.file("metrics.jsonl").read_text().splitlines()
        ]  # fmt: skip
        errors = [row["validation_force_mae_eV_per_A"] for row in rows]
        assert min(errors[1:]) < 0.9 * errors[0]
        assert part.metadata["test"]["structures"] == 6
    (starts,) = parts(folder, "starts")
    assert starts.metadata["of_other_kinds"] == 0


def test_its_boxes_move_and_are_reported(folder: Path) -> None:
    assert json.loads(run("launch", str(folder), "--json"))["complete"]
    blocks = parts(folder, "simulate")
    assert len(blocks) == 4
    for part in blocks:
        assert part.read("saved_positions", "Å").shape[1:] == (24, 3)
    report = json.loads((folder / "workspace/report.json").read_text())
    assert {row["arm"] for row in report["results"]} == {"pretrained", "scratch"}
    assert all(row["replicas"] == 2 for row in report["results"])
    assert report["distance_reference"] is None
    hot = [row for row in report["results"] if row["temperature_K"] == 9000]
    assert all(row["failures"] == 2 for row in hot)
    shown = [name for kind in report["failure_kinds"] for name in kind["files"]]
    assert shown
    last = ase.io.read(folder / "workspace" / shown[0])
    assert last.pbc.all()
    assert len(last) == 24
    assert "H16O8" in (folder / "workspace/report.html").read_text()
