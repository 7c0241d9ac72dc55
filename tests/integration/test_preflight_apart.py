"""Trying out in a process of its own says the same as trying out here, and leaves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import psutil
import pytest

from campaign.preflight import preflight, preflight_meanwhile
from campaign.spec.model import CampaignSpec, parse_spec
from data_store.errors import InputError
from tests.e2e.tiny import TINY


@pytest.fixture(autouse=True)
def this_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def spec(tmp_path: Path, text: str) -> CampaignSpec:
    return parse_spec(tomllib.loads(text), "test", tmp_path)


def children() -> set[int]:
    """Processes of this one; those of tests before may be among them."""
    return {child.pid for child in psutil.Process().children()}


def test_what_can_be_used_passes_and_the_body_runs_meanwhile(tmp_path: Path) -> None:
    asked, before = spec(tmp_path, TINY), children()
    with preflight_meanwhile(asked):
        meanwhile = children()
    assert len(meanwhile - before) == 1
    assert not children() - before
    assert CampaignSpec.model_validate_json(asked.model_dump_json()) == asked, "as it was asked for"


def test_what_cannot_be_used_is_said_in_the_same_words(tmp_path: Path) -> None:
    asked = spec(tmp_path, TINY.replace('"PBE"', '"NO-SUCH"'))
    with pytest.raises(InputError) as here:
        preflight(asked)
    with pytest.raises(InputError) as apart, preflight_meanwhile(asked):
        pass
    assert (apart.value.message, apart.value.hint) == (here.value.message, here.value.hint)


def test_where_nothing_is_left_to_be_made_nothing_is_tried_out(tmp_path: Path) -> None:
    before = children()
    with preflight_meanwhile(spec(tmp_path, TINY.replace('"PBE"', '"NO-SUCH"'))) as drop:
        drop()
    assert not children() - before


def test_a_body_that_raises_ends_it(tmp_path: Path) -> None:
    before = children()
    with pytest.raises(KeyError), preflight_meanwhile(spec(tmp_path, TINY)):
        raise KeyError
    assert not children() - before


def test_a_process_that_breaks_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONHOME", os.fspath(tmp_path))  # an interpreter that cannot start
    with (
        pytest.raises(InputError, match="ended with code 1"),
        preflight_meanwhile(spec(tmp_path, TINY)),
    ):
        pass
    assert "Python" in capsys.readouterr().err


def test_a_launch_keeps_heavy_libraries_out_of_its_memory() -> None:
    """What a driver imports, for as long as it lives."""
    code = (
        "import sys, campaign.cli.main, campaign.launching, campaign.execution.driver;"
        "heavy = ('torch', 'openmm', 'rdkit', 'pyscf', 'scipy.stats');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
