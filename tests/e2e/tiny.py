"""A campaign that runs through in half a minute: water, STO-3G, everything real and small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TINY = """
[campaign]
name = "tiny"
seed = 5

[system]
name = "water"
smiles = "O"

[sampling]
structures = 128
chunk_structures = 64
[sampling.tiers]
langevin = { temperatures_K = [300, 1000], equilibration_fs = 50.0 }

[labels]
functional = "PBE"
basis = "STO-3G"
count = 12
test_count = 3
candidates = 24
temperatures_K = [500]

[pretraining]
steps = 250
batch_size = 8
held_out = 16
validate_every = 100
checkpoint_every_s = 0.2
ranks = 2

[finetuning]
pools = [8]
seeds = [0]
steps = 100
batch_size = 4
learning_rates = [2e-3]
checkpoint_every_s = 0.2

[dynamics]
temperatures_K = [500, 2000]
replicas = 8
block_replicas = 8
length_ps = 0.5
timestep_fs = 0.5
checkpoint_every_s = 0.1
"""


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def start(folder: Path, *arguments: str, **more: str) -> subprocess.Popen[bytes]:
    """Start ``campaign launch`` on the tiny campaign, as a process (and process group) of its own.

    `more` is added to its environment.

    Its output goes to a file: a pipe would stay open with the workers of a killed driver.
    """
    folder.mkdir(exist_ok=True)
    (folder / "campaign.toml").write_text(TINY)
    command = [sys.executable, "-c", "from campaign.cli.main import main; main()"]
    with (folder / "output.txt").open("wb") as output:
        return subprocess.Popen(
            [*command, "launch", str(folder), *arguments], env=environment() | more, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def finish(process: subprocess.Popen[bytes], folder: Path, code: int = 0) -> str:
    """Wait for the process; its output."""
    process.wait(timeout=600)
    output = (folder / "output.txt").read_text()
    assert process.returncode == code, output
    return output


def digests(folder: Path) -> dict[str, str]:
    """Digest of every part, by stage and fingerprint; what a kill left half renamed is none."""
    found = (folder / "workspace" / "parts").glob("*/[!.]*/manifest.json")
    return {
        "/".join(path.parts[-3:-1]): json.loads(path.read_text())["digest"]
        for path in sorted(found)
    }


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "workspace" / "report.json").read_text())
    return found


def events(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "workspace" / "ledger.jsonl").read_text()
    rows = []
    for line in text.splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue  # torn by the kill of the driver
    return rows
