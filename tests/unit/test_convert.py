"""What `campaign convert` does, and MACE without its package says, before any of it is imported."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from apps.potential import mace
from apps.potential.registry import make_potential, potential_names
from campaign.cli.main import app
from data_store.errors import InputError


class Trap:
    """What runs code where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    path = tmp_path / "trap.model"
    path.write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    return path


def refused(*arguments: object) -> str:
    answer = CliRunner().invoke(app, ["convert", *map(str, arguments)])
    assert isinstance(answer.exception, InputError)
    return str(answer.exception)


def test_no_file_is_opened_unless_it_is_trusted(trap: Path, tmp_path: Path) -> None:
    to = tmp_path / "model.safetensors"
    said = refused(trap, "--to", to)
    assert "opening it runs whatever code it holds" in said
    assert "it was not opened" in said
    assert "--trust" in said
    assert not (tmp_path / "sprung").exists()
    assert not to.exists()
    pickle.loads(trap.read_bytes())
    assert (tmp_path / "sprung").exists(), "the trap works"


def test_files_are_neither_missed_nor_overwritten(trap: Path, tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none", "--to", tmp_path / "x", "--trust")
    kept = trap.read_bytes()
    assert "left as it is" in refused(trap, "--to", trap, "--trust")
    assert trap.read_bytes() == kept


def test_without_its_package_mace_says_what_to_install(
    trap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mace, "is_installed", lambda: False)
    mace.mace_library.cache_clear()
    with pytest.raises(InputError, match=r"mlip-campaign\[mace\]"):
        make_potential("mace", "small", [1], 4.0, 0)
    assert "mlip-campaign[mace]" in refused(trap, "--to", tmp_path / "x", "--trust")
    assert not (tmp_path / "sprung").exists()


def test_the_laws_see_it_where_it_is_installed_alone() -> None:
    assert ("mace" in potential_names()) == mace.is_installed()
