"""Kill everything that can be killed, with ``kill -9``; the results are those of a quiet run.

One campaign runs undisturbed. Another loses, one after the other, a rank of the training, a worker
in the middle of an SCF, a worker in the middle of dynamics, and the driver itself; each time what
is killed is seen in flight first. At the end every part has the same digest, and nothing that was
finished was done twice.
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
from typing import Any

import ase.io
import psutil
import pytest

from apps.potential.calculator import CampaignCalculator
from campaign import Campaign
from campaign.cli.main import main
from campaign.exchange import export_files
from data_store.errors import InputError
from data_store.extxyz import read_extxyz
from data_store.parts import open_part, verify_part
from tests.e2e.tiny import digests, events, finish, report, start

Mark = dict[str, Any]


def wait_for(driver: subprocess.Popen[bytes], what: str, look: Callable[[], Mark | None]) -> Mark:
    """Poll until `look` finds something, while the driver lives."""
    deadline = time.monotonic() + 180.0
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        assert driver.poll() is None, f"the driver ended before {what}"
        time.sleep(0.01)
    raise AssertionError(f"waited in vain for {what}")


def read(path: Path) -> Mark | None:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return None  # not there yet, or gone again


def alive(mark: Mark | None) -> Mark | None:
    return mark if mark is not None and psutil.pid_exists(mark["pid"]) else None


def running(workspace: Path, stage: str) -> Mark | None:
    """Mark of some task of a stage that is in flight."""
    for path in sorted((workspace / "running").glob(f"{stage}-*.json")):
        mark = alive(read(path))
        if mark is not None:
            return {**mark, "path": path}
    return None


def simulation_with_checkpoint(workspace: Path) -> Mark | None:
    for path in (workspace / "running").glob("simulate-*.json"):
        fingerprint = path.stem.split("-")[1]
        if list((workspace / "work").glob(f"{fingerprint}*/checkpoint.npz")):
            mark = alive(read(path))
            if mark is not None:
                return {**mark, "path": path, "fingerprint": fingerprint}
    return None


def training_rank(workspace: Path) -> Mark | None:
    for path in (workspace / "work").glob("*/rank-1.json"):
        if list(path.parent.glob("checkpoint.npz")):
            return alive(read(path))
    return None


def processes_of(folder: Path) -> list[int]:
    """Processes of a campaign's launches, by what they inherited."""
    workspace = str(folder / "workspace")
    return [
        process.pid
        for process in psutil.process_iter(["environ"])
        if (process.info["environ"] or {}).get("CAMPAIGN_WORKSPACE") == workspace
    ]


def kill(mark: Mark) -> None:
    os.kill(mark["pid"], signal.SIGKILL)


def parts_made(workspace: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in (workspace / "parts").glob("*/*/manifest.json")}


def labels_made(workspace: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in (workspace / "work").glob("*/0*.npz")}


def kill_each_in_turn(folder: Path) -> tuple[dict[Path, int], dict[Path, int]]:
    """Kill a rank, an SCF, a simulation and the driver; what was finished at the driver's end."""
    workspace, driver = folder / "workspace", start(folder)
    rank = wait_for(driver, "a training rank", lambda: training_rank(workspace))
    assert rank["size"] == 2
    kill(rank)

    labelling = wait_for(driver, "an SCF", lambda: running(workspace, "label"))
    kill(labelling)
    assert labelling["path"].exists(), "the task was in flight when its worker was killed"

    simulating = wait_for(driver, "dynamics", lambda: simulation_with_checkpoint(workspace))
    kill(simulating)
    assert simulating["path"].exists()

    def noticed() -> Mark | None:
        rows = (r for r in events(folder) if r.get("outcome") == "lost")
        return next((row for row in rows if row["stage"] == "simulate"), None)

    wait_for(driver, "the loss", noticed)
    wait_for(driver, "more dynamics", lambda: running(workspace, "simulate"))
    finished = parts_made(workspace), labels_made(workspace)
    interchange = interchange_of(driver).pid
    driver.send_signal(signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL
    assert interchange in processes_of(folder), "what it leaves behind is known as its own"
    return finished


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign that nobody disturbed."""
    folder = tmp_path_factory.mktemp("quiet") / "tiny"
    finish(start(folder), folder)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_campaigns_end_with_the_same_results(quiet: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    parts, labels = kill_each_in_turn(killed)
    assert parts
    assert len(labels) == 12
    assert len(parts) < len(digests(quiet)), "the driver was killed before its end"
    output = finish(start(killed), killed)
    assert not processes_of(killed)

    assert digests(killed) == digests(quiet)
    for key in ("results", "comparisons"):
        assert report(killed)[key] == report(quiet)[key]
    for path, moment in {**parts, **labels}.items():
        assert path.stat().st_mtime_ns == moment, f"{path} was made again"
    _check_ledger(killed)
    assert "report.html" in output


def _check_ledger(folder: Path) -> None:
    rows = [row for row in events(folder) if row["event"] == "result"]
    lost = Counter(row["stage"] for row in rows if row["outcome"] == "lost")
    assert lost["pretrain"] >= 1
    assert lost["label"] >= 1
    assert lost["simulate"] >= 1
    assert not [row for row in rows if row["outcome"].startswith("failed")]
    done = Counter(row["path"] for row in rows if row["outcome"] == "done" and row["path"])
    assert set(done.values()) == {1}, "no part was made twice"
    worlds = [row["counts"]["world_size"] for row in rows if row["stage"] == "pretrain" and
              row["outcome"] == "done"]  # fmt: skip
    assert worlds == [2.0]


def interchange_of(driver: subprocess.Popen[bytes]) -> psutil.Process:
    children = psutil.Process(driver.pid).children(recursive=True)
    return next(child for child in children if "interchange" in " ".join(child.cmdline()))


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
    wait_for(driver, "a label", lambda: running(folder / "workspace", "label"))
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
    wait_for(first, "a label", lambda: running(folder / "workspace", "label"))
    refused = finish(start(second, "--workspace", str(folder / "workspace")), second, 2)
    assert "another driver is at work" in refused
    assert "Traceback" not in refused
    first.send_signal(signal.SIGTERM)
    finish(first, folder, 3)


def test_what_a_finished_campaign_offers(
    quiet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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
def test_launching_again_does_nothing_and_a_longer_campaign_only_what_is_new(quiet: Path) -> None:
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
