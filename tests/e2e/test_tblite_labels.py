"""A campaign whose expert is GFN2-xTB, from its file to its report; PySCF computes nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from apps.potential.xtb import ReferenceMethod
from data_store.parts import open_part
from data_store.structure_parts import read_structures
from tests.e2e.tiny import TINY, environment, report

EXPERT = 'functional = "PBE"\nbasis = "STO-3G"'
CHEAP = (
    TINY.replace(EXPERT, 'source = "tblite"')
    .replace("steps = 250", "steps = 40")
    .replace("steps = 100\n", "steps = 20\n")
    .replace("ranks = 2", "ranks = 1")
    .replace("length_ps = 0.5", "length_ps = 0.1")
)


def campaign(folder: Path, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from campaign.cli.main import main; main()"]
    return subprocess.run(
        [*command, verb, str(folder), *arguments], env=environment(), capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def test_a_campaign_of_gfn2_labels_runs_through(tmp_path: Path) -> None:
    assert EXPERT in TINY
    (tmp_path / "campaign.toml").write_text(CHEAP, encoding="utf-8")
    said = campaign(tmp_path, "launch")
    assert said.returncode == 0, said.stderr
    (path,) = (tmp_path / "workspace" / "parts" / "label").glob("[!.]*")
    part = open_part(path)
    assert part.metadata["method"]["labeler"] == "gfn2-xtb"
    assert part.metadata["left_out"] == []
    labelled = read_structures(part)
    energies, forces = ReferenceMethod("gfn2-xtb", (8, 1, 1)).energies_and_forces(
        labelled.dense_positions()
    )
    np.testing.assert_allclose(labelled.labelled_energies(), energies, atol=1e-6)
    np.testing.assert_allclose(
        np.stack([labelled.forces_of(i) for i in range(len(labelled))]), forces, atol=1e-5
    )
    assert {row["labels"] for row in report(tmp_path)["results"]} == {8}
    assert report(tmp_path)["expert_calls"] == 12


def test_what_tblite_cannot_do_is_refused_before_anything_is_submitted(tmp_path: Path) -> None:
    wrong = CHEAP.replace('source = "tblite"', 'source = "tblite"\nmethod = "GFN3-xTB"')
    for name, text, hint in (
        ("method", wrong, "valid: GFN1-xTB, GFN2-xTB"),
        ("spin", CHEAP.replace('smiles = "O"', 'smiles = "O"\nmultiplicity = 2'), "10 electrons"),
        ("source", CHEAP.replace('"tblite"', '"tblit"'), "tblite"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "campaign.toml").write_text(text, encoding="utf-8")
        said = campaign(folder, "validate", "--json")
        assert said.returncode == 2, said.stdout
        shown = said.stdout + said.stderr
        assert hint in shown
        assert "Traceback" not in shown
