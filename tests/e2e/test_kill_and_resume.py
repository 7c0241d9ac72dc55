"""Stops of every kind leave nobody behind and can be resumed; what a finished campaign offers.

Kills are drawn and made in `test_kill_matrix`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import ase.io
import pytest
import torch

from apps.potential.calculator import CampaignCalculator
from apps.potential.weights import load_potential, read_header
from campaign import Campaign
from campaign.cli.main import main
from campaign.exchange import export_files
from data_store.errors import InputError
from data_store.extxyz import read_extxyz
from data_store.parts import open_part, verify_part
from tests.e2e.kills import KINDS, Quiet, interchange_of, processes_of
from tests.e2e.tiny import finish, report, start
from tests.unit import pages


def wait_for_a_label(driver: subprocess.Popen[bytes], folder: Path) -> None:
    """Poll until an SCF is in flight, while the driver lives."""
    deadline = time.monotonic() + 180.0
    while not any(KINDS["scf"].look(folder / "workspace")):
        assert driver.poll() is None, "the driver ended before a label"
        assert time.monotonic() < deadline, "waited in vain for a label"
        time.sleep(0.01)


def parts_made(workspace: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in (workspace / "parts").glob("*/*/manifest.json")}


def hang_then_kill_interchange(driver: subprocess.Popen[bytes]) -> None:
    """Let Parsl's own threads wait for an answer already when it becomes clear that none comes."""
    interchange = interchange_of(driver)
    interchange.suspend()
    time.sleep(6.0)
    interchange.kill()


STOPS: dict[str, Callable[[subprocess.Popen[bytes]], None]] = {
    "asked to stop": lambda driver: driver.send_signal(signal.SIGTERM),
    "Ctrl-C": lambda driver: os.killpg(driver.pid, signal.SIGINT),
    "its group ended": lambda driver: os.killpg(driver.pid, signal.SIGTERM),
    "interchange killed": hang_then_kill_interchange,
}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("stop", STOPS)
def test_a_stop_leaves_nobody_behind_and_can_be_resumed(tmp_path: Path, stop: str) -> None:
    folder = tmp_path / "tiny"
    driver = start(folder)
    wait_for_a_label(driver, folder)
    STOPS[stop](driver)
    stopped = finish(driver, folder, 3)
    assert "the same command goes on" in stopped
    assert "Traceback" not in stopped
    assert not processes_of(folder), "a stopped driver leaves nobody behind"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_second_driver_is_refused(tmp_path: Path) -> None:
    folder, second = tmp_path / "tiny", tmp_path / "second"
    first = start(folder)
    wait_for_a_label(first, folder)
    refused = finish(start(second, "--workspace", str(folder / "workspace")), second, 2)
    assert "another driver is at work" in refused
    assert "Traceback" not in refused
    first.send_signal(signal.SIGTERM)
    finish(first, folder, 3)


def test_what_a_finished_campaign_offers(
    undisturbed: Quiet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet = undisturbed.folder
    campaign = Campaign.read(quiet)
    assert campaign.status().complete
    assert campaign.report()["results"] == report(quiet)["results"]
    assert {row["arm"] for row in report(quiet)["results"]} == {"pretrained", "scratch"}
    assert report(quiet)["world_size"] == 2
    assert set(report(quiet)["cost"]) >= {"sample", "label", "pretrain", "finetune", "simulate"}
    assert all(not verify_part(open_part(p.parent)) for p in parts_made(quiet / "workspace"))
    _command("status", str(quiet), "--json")
    assert json.loads(capsys.readouterr().out)["complete"] is True
    for what, count in (("labels", 12), ("teacher", 128), ("candidates", 24), ("starts", 8)):
        target = tmp_path / f"{what}.extxyz"
        assert export_files(campaign, what, target)["count"] == count
        assert len(read_extxyz(target)) == count
    models = export_files(campaign, "models", tmp_path / "models")
    assert models["count"] == 2
    printed = pages.blocks((pages.DOCS / "models.md").read_text(), "python")["list_models.py"]
    exec(printed.replace("my-aspirin", str(quiet)), {})
    assert len(capsys.readouterr().out.splitlines()) == 2
    for copied, model in zip(models["files"], campaign.models(), strict=True):
        told = read_header(Path(copied).read_bytes())["extra"]
        assert told == model.trained_on
        assert (told["campaign"], told["arm"], told["labels"]) == ("tiny", model.arm, 8)
        assert told["test"]["force_mae_eV_per_A"] > 0
        one, two = (load_potential(Path(file)).state_dict() for file in (copied, model.file))
        assert all(torch.equal(one[name], two[name]) for name in one)
    calculator = CampaignCalculator(Path(models["files"][0]))
    atoms = ase.io.read(tmp_path / "labels.extxyz")
    label = atoms.get_potential_energy()
    atoms.calc = calculator
    assert atoms.get_potential_energy() == pytest.approx(label, abs=0.5)
    with pytest.raises(InputError, match="it is left as it is"):
        export_files(campaign, "labels", tmp_path / "labels.extxyz")


def _command(*arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["campaign", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code


@pytest.mark.slow
def test_launching_again_does_nothing_and_a_longer_campaign_only_what_is_new(
    undisturbed: Quiet,
) -> None:
    quiet = undisturbed.folder
    before = parts_made(quiet / "workspace")
    finish(start(quiet), quiet)
    assert parts_made(quiet / "workspace") == before
    longer = "finetuning.seeds=[0, 1]"
    finish(start(quiet, "--set", longer), quiet)
    after = parts_made(quiet / "workspace")
    assert {path: after[path] for path in before} == before
    new = Counter(path.parts[-3] for path in set(after) - set(before))
    assert new == {"finetune": 2, "simulate": 4, "probe": 2}
    assert len(report(quiet)["results"]) == 8
    assert {row["seeds"] for row in report(quiet)["comparisons"]} == {2}
