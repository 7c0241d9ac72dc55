"""`campaign package`: the file it writes, and the mistakes that it answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ase.build
import pytest
import torch
from ase.neighborlist import neighbor_list

from apps.potential.calculator import CampaignCalculator
from apps.potential.registry import make_potential
from apps.potential.weights import save_bytes

Run = Any


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Weights file that says what it was trained on."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(save_bytes(make_potential("painn", "small", [1, 8], 4.0, 0), {"seed": 4}))
    return path


def test_it_writes_a_model_that_torch_opens(run: Run, tmp_path: Path, model: Path) -> None:
    to = str(tmp_path / "model.pt2")
    code, out, _ = run("package", str(model), "--to", to, "--precision", "float64", "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["path"], found["for"], found["precision"]) == (to, "any", "float64")
    about = {"campaign_potential.json": ""}
    program = torch.export.load(to, extra_files=about)
    description = json.loads(about["campaign_potential.json"])
    assert description["trained_on"] == {"seed": 4}
    assert (description["precision"], description["species"]) == ("float64", [1, 8])
    water = ase.build.molecule("H2O")
    i, j = neighbor_list("ij", water, 4.0)
    energy, _ = program.module()(
        torch.tensor(water.numbers),
        torch.tensor(water.positions),
        torch.stack([torch.tensor(i), torch.tensor(j)]),
        torch.zeros(len(i), 3, dtype=torch.float64),
    )
    water.calc = CampaignCalculator(model)
    assert float(energy) == pytest.approx(water.get_potential_energy(), abs=1e-5)
    code, _, err = run("package", str(model), "--to", to)
    assert code == 2
    assert "it is left as it is" in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--for", "gpu"), "valid: any, cpu, cuda"),
        (("--precision", "float16"), "valid: as-saved, float32, float64"),
    ],
)
def test_mistakes_are_answered(
    run: Run, tmp_path: Path, model: Path, arguments: tuple[str, ...], expected: str
) -> None:
    code, _, err = run("package", str(model), "--to", str(tmp_path / "new.pt2"), *arguments)
    assert code == 2
    assert expected in err
    assert not (tmp_path / "new.pt2").exists()


def test_what_is_no_model_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a model")
    for name, expected in (("notes.txt", "holds no weights"), ("gone", "cannot read")):
        code, _, err = run("package", str(tmp_path / name), "--to", str(tmp_path / "new.pt2"))
        assert code != 0
        assert expected in err
