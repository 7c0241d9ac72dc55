"""The driver as a job of the cluster: it runs, submits its successor, and is cancelled."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from campaign import Campaign
from campaign.cli.main import main
from campaign.execution.scheduler import driver_job_name
from campaign.sites.driver_job import DriverJob, driver_script
from data_store.errors import InputError
from tests.e2e.tiny import TINY
from tests.slurm.cluster import Cluster
from tests.slurm.sites import write_site
from tests.slurm.waiting import wait_until

pytestmark = pytest.mark.slurm

ROOT = str(Path(__file__).parents[2])


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    monkeypatch.setenv("PYTHONPATH", ROOT)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "campaign.toml").write_text(TINY)
    return Campaign.read(tmp_path)


def test_a_driver_s_job_makes_what_a_launch_makes(
    slurm: Cluster, tiny: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    site = write_site(tmp_path)
    command = ["campaign", "launch", str(tmp_path), "--site", str(site), "--driver", "slurm"]
    monkeypatch.setattr(sys, "argv", [*command, "--until", "prepare", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    said = json.loads(capsys.readouterr().out)
    assert slurm.job(said["id"]).name == driver_job_name(tiny.workspace.root)
    wait_until(
        lambda: slurm.job(said["id"]).state == "COMPLETED",
        "completed",
        lambda: Path(said["log"]).read_text() if Path(said["log"]).exists() else "",
    )
    stages = {stage.stage: (stage.done, stage.total) for stage in tiny.status().stages}
    assert stages["prepare"] == (1, 1)
    assert stages["sample"] == (0, 2)
    assert tiny.spending().blocks >= 1
    assert not [job for job in slurm.jobs() if job.state in {"PENDING", "RUNNING"}]


def test_there_is_one_driver_s_job_and_cancel_ends_it(
    slurm: Cluster, tiny: Campaign, tmp_path: Path
) -> None:
    site = str(write_site(tmp_path))
    job, _ = tiny.launch_elsewhere(site, as_job=True)
    with pytest.raises(InputError, match=rf"as job {job}|another driver is at work"):
        tiny.launch_elsewhere(site, as_job=True)
    wait_until(lambda: tiny.workspace.campaign_file.exists(), "launched", slurm.jobs)
    tiny.cancel()
    wait_until(
        lambda: not [j for j in slurm.jobs() if j.state in {"PENDING", "RUNNING"}],
        "cancelled",
        slurm.jobs,
    )


def test_before_its_walltime_a_job_submits_the_one_that_goes_on(
    slurm: Cluster, tmp_path: Path
) -> None:
    script, log = tmp_path / "driver.sh", tmp_path / "driver.log"
    job = DriverJob(walltime="2", stop_before_s=115)
    goes_on = ["sh", "-c", "echo begun; exec sleep 1000"]
    script.write_text(driver_script("slurm", job, "driver-x", goes_on, str(log), str(script)))
    first = slurm.ask("sbatch", "--parsable", str(script))[0]
    wait_until(lambda: log.exists() and log.read_text().count("begun") >= 2, "gone on", slurm.jobs)
    assert slurm.job(first).state in {"FAILED", "COMPLETING"}
    (second,) = [j for j in slurm.jobs() if j.name == "driver-x" and j.state == "RUNNING"]
    assert second.id != first


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_a_driver_that_ends_by_itself_has_no_successor(
    slurm: Cluster, tmp_path: Path, code: int
) -> None:
    script, log = tmp_path / "driver.sh", tmp_path / "driver.log"
    ends = ["sh", "-c", f"echo begun; exit {code}"]
    text = driver_script("slurm", DriverJob(), "driver-x", ends, str(log), str(script))
    script.write_text(text)
    first = slurm.ask("sbatch", "--parsable", str(script))[0]
    slurm.wait_for(first, "FAILED" if code else "COMPLETED")
    assert log.read_text().count("begun") == 1
    assert not [j for j in slurm.jobs() if j.state in {"PENDING", "RUNNING"}]
