"""`campaign data`: listed, cleared, merged, in and out of others' formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from campaign.cli.main import app, main
from campaign.stored import imported, merged
from data_store.datasets import Dataset
from data_store.errors import InputError
from data_store.extxyz import read_extxyz
from data_store.interchange.convention import Convention
from data_store.parts import open_part, verify_part, write_part
from data_store.structure_parts import read_structures, structures_to_columns
from data_store.structures import Structures
from tests.e2e.tiny import finish, start


def waters(count: int, seed: int = 0) -> Structures:
    rng = np.random.default_rng(seed)
    return Structures.from_dense(
        [8, 1, 1], rng.normal(size=(count, 3, 3)).astype(np.float32),
        energies=rng.normal(size=count),
        forces=rng.normal(size=(count, 3, 3)).astype(np.float32),
    )  # fmt: skip


def run(*arguments: str, code: int = 0) -> Any:
    told = CliRunner().invoke(app, ["data", *arguments, "--json"])
    assert told.exit_code == code, told.output
    return json.loads(told.stdout)


def same(found: Structures, expected: Structures) -> None:
    for name, value in vars(expected).items():
        np.testing.assert_array_equal(getattr(found, name), value, err_msg=name)


def read(folder: dict[str, Any]) -> Structures:
    return Dataset([open_part(Path(part["path"])) for part in folder["parts"]]).cached()


@pytest.mark.parametrize("suffix", ["extxyz", "db", "aselmdb", "h5", "npz"])
def test_a_part_goes_out_and_comes_back(tmp_path: Path, suffix: str) -> None:
    expected = waters(10)
    part = write_part(tmp_path / "parts", "sample", "a" * 64, structures_to_columns(expected), {})
    file = tmp_path / f"out.{suffix}"
    told = run("export", str(part.path), "--to", str(file))
    assert told["structures"] == 10
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    back = run("import", str(file), "--to", str(tmp_path / "back"))
    same(read(back), expected)
    (made,) = back["parts"]
    assert open_part(Path(made["path"])).metadata["came"]["convention"]["energy_eV"] == 1.0
    assert verify_part(open_part(Path(made["path"]))) == []
    again = run("import", str(file), "--to", str(tmp_path / "back"))
    assert again == back, "the same file is the same parts"


def test_units_are_recorded_and_tell_parts_apart(tmp_path: Path) -> None:
    file = tmp_path / "x.npz"
    x = np.random.default_rng(0).normal(size=(3, 2, 3))
    np.savez(file, z=[1, 1], R=x, E=[1.0, 2.0, 3.0], F=x)
    kcal = imported(file, tmp_path / "to", Convention("kcal/mol"), None)
    plain = imported(file, tmp_path / "to", Convention(), None)
    assert kcal["parts"] != plain["parts"]
    energies = [read(found).energies for found in (kcal, plain)]
    assert energies[0] is not None
    assert energies[1] is not None
    came = open_part(Path(kcal["parts"][0]["path"])).metadata["came"]
    np.testing.assert_allclose(energies[0] / energies[1], came["convention"]["energy_eV"])
    assert came["convention"]["energy_unit"] == "kcal/mol"


def test_many_parts_become_few(tmp_path: Path) -> None:
    pieces = [waters(n, seed=n) for n in (7, 1, 12, 3)]
    parts = [
        write_part(tmp_path / "parts", "sample", f"{i}" * 64, structures_to_columns(s), {}).path
        for i, s in enumerate(pieces)
    ]
    found = merged(parts, tmp_path / "to", per_part=10)
    whole = read(found)
    assert [len(read_structures(open_part(Path(p["path"])))) for p in found["parts"]] == [10, 10, 3]
    start = 0
    for piece in pieces:
        for name in ("numbers", "positions", "energies", "forces"):
            kept = getattr(whole.slice(start, start + len(piece)), name)
            np.testing.assert_array_equal(kept, getattr(piece, name))
        start += len(piece)
    assert found == merged(parts, tmp_path / "to", per_part=10)


def test_a_campaign_that_grew_is_merged_anew(tmp_path: Path) -> None:
    finish(start(tmp_path / "c", "--until", "sample"), tmp_path / "c", code=0)
    before = run("merge", str(tmp_path / "c"), "--to", str(tmp_path / "to"))
    part = Path(before["parts"][0]["path"])
    (gone, *_) = sorted((tmp_path / "c/workspace/parts/sample").iterdir())
    gone.rename(tmp_path / "aside")
    fewer = run("merge", str(tmp_path / "c"), "--to", str(tmp_path / "to"))
    assert 0 < fewer["structures"] < before["structures"]
    assert part.exists(), "what was merged before stays"
    (tmp_path / "aside").rename(gone)
    assert run("merge", str(tmp_path / "c"), "--to", str(tmp_path / "to")) == before


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_text("mine")
    part = write_part(tmp_path / "parts", "sample", "a" * 64, structures_to_columns(waters(2)), {})
    told = CliRunner().invoke(
        app, ["data", "export", str(part.path), "--to", str(tmp_path / "x.npz")]
    )
    assert isinstance(told.exception, InputError)
    assert (tmp_path / "x.npz").read_text() == "mine"


def test_an_export_that_fails_leaves_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "broken.extxyz"
    broken.write_text("2\nProperties=species:S:1:pos:R:3\nH 0 0 0\n")
    told = CliRunner().invoke(app, ["data", "export", str(broken), "--to", str(tmp_path / "x.db")])
    assert isinstance(told.exception, InputError)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken.extxyz"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["import", "absent.npz", "--to", "x"], "no such file"),
     (["import", "README.md", "--to", "x"], "no format has the suffix"),
     (["import", "README.md", "--to", "x", "--format", "xml"], "extxyz"),
     (["import", "x.npz", "--to", "x", "--energy-unit", "ev"], "Hartree")],
)  # fmt: skip
def test_mistakes_are_told_without_a_traceback(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setattr("sys.argv", ["campaign", "data", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_workspace_is_listed_and_cleared(tmp_path: Path) -> None:
    finish(start(tmp_path / "c", "--until", "candidates"), tmp_path / "c", code=0)
    folder, root = str(tmp_path / "c"), tmp_path / "c/workspace/parts"
    listed = {stage["stage"]: stage for stage in run("ls", folder)["stages"]}
    assert listed["candidates"]["structures"] > 0
    assert all(s["parts"] == s["planned"] >= 1 and s["bytes"] > 0 for s in listed.values())
    assert run("gc", folder)["parts"] == []
    stray = write_part(root, "candidates", "0" * 64, structures_to_columns(waters(2)), {})
    mine = write_part(root, "merged", "1" * 64, structures_to_columns(waters(2)), {})
    found = run("gc", folder)
    assert [part["fingerprint"] for part in found["parts"]] == ["0" * 64]
    assert stray.path.exists(), "telling deletes nothing"
    assert run("gc", folder, "--delete")["bytes"] == found["bytes"] > 0
    assert not stray.path.exists()
    assert mine.path.exists(), "what no campaign makes is nobody's to clear"
    assert run("gc", folder)["parts"] == []
    assert run("verify", folder)["damaged"] == []


def test_a_slab_keeps_its_directions(tmp_path: Path) -> None:
    file = tmp_path / "slab.extxyz"
    file.write_text(
        '1\nLattice="4 0 0 0 5 0 0 0 30" pbc="T T F" Properties=species:S:1:pos:R:3:forces:R:3 '
        "energy=-1.0\nCu 0 0 1 0 0 0\n"
    )
    found = read_extxyz(file)
    assert found.pbc.tolist() == [[True, True, False]]
    assert found.cells[0, 2].tolist() == [0.0, 0.0, 0.0]
