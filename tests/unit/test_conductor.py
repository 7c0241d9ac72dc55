"""Ledger, sites, runner, workspace: what the conductor stands on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from parsl.executors.high_throughput import executor as htex

from apps.runner import run_requests
from campaign.execution.parsl_config import THREAD_VARIABLES, parsl_config, workers_of
from campaign.ledger import Ledger, read_ledger
from campaign.plan.stages import STAGES
from campaign.progress import Progress, StageProgress, take_mark, with_running
from campaign.sites.layers import packaged_sites, read_site
from campaign.sites.site import Pool, available_cores
from campaign.workspace import Workspace
from data_store.errors import InputError, LostError, MethodError, StoreError, WorkspaceError
from tests.watch import UNWATCHED


def test_a_torn_line_is_counted_and_hides_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.write("one")
    with path.open("a") as handle:
        handle.write('{"event": "tor')
    with Ledger(path) as ledger:
        ledger.write("two", value=3)
    assert [row["event"] for row in read_ledger(path)] == ["one", "unreadable", "two"]
    assert list(read_ledger(tmp_path / "none")) == []


def test_the_local_site_keeps_one_worker_per_core() -> None:
    site = read_site("local")
    assert workers_of(site.pools["cpu"]) == available_cores()
    assert {site.pool_of(role) for role in ("cpu", "gpu", "mpi")} == {"cpu"}
    config = parsl_config(site, Path("somewhere"), UNWATCHED)
    (executor,) = config.executors
    for variable in THREAD_VARIABLES:
        assert f"export {variable}=1" in executor.provider.worker_init


def test_threads_leave_fewer_workers() -> None:
    assert workers_of(Pool(threads_per_worker=10**6)) == 1
    assert workers_of(Pool(workers_per_node=7)) == 7


@pytest.mark.parametrize("name", packaged_sites())
def test_every_packaged_site_serves_every_stage(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(htex, "get_all_addresses", lambda: {"127.0.0.1"})  # it asks the network
    site = read_site(name)
    assert site.site.name == name
    config = parsl_config(site, Path("somewhere"), UNWATCHED)
    assert {executor.label for executor in config.executors} == set(site.pools)
    assert {site.pool_of(stage.role) for stage in STAGES.values()} <= set(site.pools)
    for executor in config.executors:
        pool = site.pools[executor.label]
        workers = 1 if executor.enable_mpi_mode else workers_of(pool)
        assert executor.max_workers_per_node == workers
        assert f"export OMP_NUM_THREADS={pool.threads_per_worker}" in executor.provider.worker_init


def test_a_site_without_a_pool_for_all_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text('[site]\nname = "x"\n[pools.gpu]\n')
    with pytest.raises(InputError, match=r"pools.*cpu"):
        read_site(str(path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[site]\nname = "x"\n[pools.tpu]\n', "pools"),
        ('[site]\nname = "x"\n[pools.cpu]\nworker_per_node = 3\n', "workers_per_node"),
        ("[site", "not valid TOML"),
        ("", "required, but missing"),
    ],
)
def test_bad_site_files_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=expected):
        read_site(str(path))


def answers(kind: type[Exception] | None) -> Any:
    def task(request: dict[str, Any]) -> dict[str, Any]:
        if kind is not None:
            raise kind("because")
        return {"outcome": "done", "counts": {}}

    return task


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        (None, "done"),
        (InputError, "failed_input"),
        (MethodError, "failed_method"),
        (StoreError, "failed_method"),
        (WorkspaceError, "failed_workspace"),
        (LostError, "lost"),
        (RuntimeError, "failed_software"),
    ],
)
def test_exceptions_become_outcomes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception] | None, outcome: str
) -> None:
    monkeypatch.setattr("apps.runner._find", lambda name: answers(kind))
    mark = tmp_path / "mark.json"
    (found,) = run_requests("any:thing", [{}], [str(mark)])
    assert found["outcome"] == outcome
    assert found["resources"]["pid"] == os.getpid()
    assert found["resources"]["peak_rss_MB"] > 1
    assert not mark.exists(), "it is in flight no more"
    if kind is not None:
        assert "because" in found["message"]
        assert "Traceback" in found["detail"]


def test_the_mark_says_who_is_at_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark, seen = tmp_path / "mark.json", []

    def task(request: dict[str, Any]) -> dict[str, Any]:
        seen.append(json.loads(mark.read_text()))
        return {"outcome": "done", "counts": {}}

    monkeypatch.setattr("apps.runner._find", lambda name: task)
    run_requests("any:thing", [{}], [str(mark)])
    assert seen[0]["pid"] == os.getpid()
    for name, value in (("SLURMD_NODENAME", "n2"), ("SLURM_JOB_ID", "7")):
        monkeypatch.setenv(name, value)
    (answer,) = run_requests("any:thing", [{}], [str(mark)])
    assert (seen[1]["node"], seen[1]["job"]) == ("n2", "7"), "and where, by the scheduler's names"
    assert (answer["resources"]["node"], answer["resources"]["job"]) == ("n2", "7")
    mark.write_text(json.dumps(seen[1]))
    left = take_mark(mark)
    assert left is not None
    assert (left.task, left.where, left.job) == ("mark", "n2", "7")
    assert take_mark(mark) is None, "who loses the next worker finds its own mark"


def test_running_tasks_are_those_whose_process_lives(tmp_path: Path) -> None:
    host = os.uname().nodename
    for name, pid in (("label-a-0", os.getpid()), ("label-b-0", 2**22 + 1), ("sample-c", 1)):
        mark = {"pid": pid, "host": host, "started_unix": 0.0}
        (tmp_path / f"{name}.json").write_text(json.dumps(mark))
    (tmp_path / "label-d-0.json").write_text("torn")
    stages = tuple(StageProgress(name, name, 5, 1) for name in ("sample", "label"))
    found = with_running(Progress(stages), tmp_path)
    assert [stage.running for stage in found.stages] == [1, 1]
    assert not found.complete


def test_a_workspace_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="--workspace"):
        Workspace(tmp_path / "file" / "below").prepare()
