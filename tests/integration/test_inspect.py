"""``campaign inspect``: a campaign's stage, its workspace, a part, a file; and what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.tiny import TINY
from tests.integration.test_command_line import labels, tiny

Run = Callable[..., tuple[int, str, str]]


def test_a_campaign_its_workspace_and_a_part_are_looked_at(run: Run, tmp_path: Path) -> None:
    folder = tiny(tmp_path / "a", TINY)
    code, _, error = run("inspect", folder)
    assert (code, "nothing was launched" in error or "launch" in error) == (2, True)
    assert run("launch", folder, "--until", "sample")[0] == 0
    code, out, _ = run("inspect", folder, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["structures"] == 128
    assert found["elements"] == {"H": 256, "O": 128}
    assert {row["tier"] for row in found["tiers"]} == {"langevin", "noise", "scan", "clash"}
    assert found["all"]["bond_stretch"]["min"] < 1.0 < found["all"]["bond_stretch"]["max"]
    code, out, _ = run("inspect", f"{folder}/workspace", "--json")
    assert (code, json.loads(out)) == (0, found)
    part = next(Path(folder, "workspace", "parts", "sample").iterdir())
    figure = tmp_path / "map.svg"
    code, out, _ = run("inspect", str(part), "--plot", str(figure))
    assert code == 0
    assert "64 structures" in out
    assert "length of a bond" in out
    assert re.search(r"dynamics at 300 K: \d+ frames, .* worth \d+ independent", out)
    assert figure.read_text().count("<svg") == 1
    code, _, error = run("inspect", folder, "--stage", "sampling")
    assert (code, "'sample'" in error) == (2, True)
    code, _, error = run("inspect", folder, "--stage", "prepare")
    assert code == 2
    assert "holds no structures" in error
    assert "sample" in error
    code, _, error = run("inspect", folder, "--stage", "simulate")
    assert (code, "has made nothing yet" in error) == (2, True)
    prepared = next(Path(folder, "workspace", "parts", "prepare").iterdir())
    code, _, error = run("inspect", str(prepared))
    assert (code, "reference_positions" in error) == (2, True)


def test_a_file_is_looked_at(run: Run, tmp_path: Path) -> None:
    labels(tmp_path / "labels.extxyz")
    code, out, _ = run("inspect", str(tmp_path / "labels.extxyz"))
    assert code == 0
    assert "12 structures, 36 atoms" in out
    assert "formulae: H2O 12" in out
    assert "duplicates: 0 exact" in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["no-such-file"], "no such file or folder"),
        (["."], "no campaign file"),
        (["labels.extxyz", "--stage", "sample"], "is no campaign"),
        (["labels.extxyz", "--plot", "map.txt"], "ends in png, svg, pdf"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    labels(tmp_path / "labels.extxyz")
    code, _, error = run("inspect", *arguments)
    assert code == 2
    assert expected in error
