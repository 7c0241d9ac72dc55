"""The doctor on a real Slurm: a site that works, and each way in which one does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from campaign.cli.main import main
from tests.slurm.cluster import Cluster
from tests.slurm.sites import write_site

pytestmark = pytest.mark.slurm

ROOT = str(Path(__file__).parents[2])

Doctor = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Doctor:
    monkeypatch.setenv("PYTHONPATH", ROOT)

    def ask(site: Path, *more: str) -> tuple[int, dict[str, Any]]:
        command = ["campaign", "doctor", "--site", str(site), "--dir", str(tmp_path), "--json"]
        monkeypatch.setattr("sys.argv", [*command, *more])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return int(code or 0), json.loads(capsys.readouterr().out)

    return ask


def test_a_site_that_works(slurm: Cluster, doctor: Doctor, tmp_path: Path) -> None:
    code, found = doctor(write_site(tmp_path))
    assert found["well"], found["findings"]
    assert code == 0
    checks = {(f["pool"], f["check"]): f["found"] for f in found["findings"]}
    common = {"first worker", "versions", "packages", "threads", "scratch", "clock", "shared files"}
    assert {check for pool, check in checks if pool == "cpu"} == common
    assert {check for pool, check in checks if pool == "mpi"} == {*common, "ranks"}
    assert checks["mpi", "ranks"] == "2 of 2 met, on n1, n2"
    assert not list(tmp_path.glob("campaign-doctor-*")), "it leaves nothing where all is well"
    assert not [job for job in slurm.jobs() if job.state in {"PENDING", "RUNNING"}]


def test_what_does_not_work_is_named(slurm: Cluster, doctor: Doctor, tmp_path: Path) -> None:
    settings = [
        "pools.mpi.launcher_options=--mpi=none --overlap",
        "pools.cpu.worker_init=export OMP_NUM_THREADS=7",
    ]
    code, found = doctor(write_site(tmp_path), *(w for s in settings for w in ("--set", s)))
    assert code == 1
    ill = {(f["pool"], f["check"]) for f in found["findings"] if not f["well"]}
    assert ill == {("mpi", "ranks"), ("cpu", "threads")}
    assert all(f["advice"] for f in found["findings"] if not f["well"])
    assert Path(found["logs"]).is_dir()
