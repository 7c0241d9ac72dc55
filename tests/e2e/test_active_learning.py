"""Active learning from a campaign file to its report: two rounds with a cheap expert, and the end.

A chain that is killed in the middle ends as one that was not; one that is over in its first round
leaves no work to the others.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps.rounds import Standing
from campaign import Campaign
from campaign.plan.active import ARM
from campaign.plan.items import PlannedPart
from data_store.parts import Part, find_part
from tests.e2e.kills import processes_of
from tests.e2e.test_tblite_labels import CHEAP
from tests.e2e.tiny import digests, environment, events, report

TABLE = """
[active_learning]
label_budget = 14
labels_per_round = 3
committee = 2
replicas = 4
length_ps = 0.1
disagreement_eV_per_A = [0.01, 50.0]
"""
FILE = (
    CHEAP.replace("count = 12", "count = 16")
    .replace("candidates = 24", "candidates = 32")
    .replace("pools = [8]", 'arms = ["scratch"]\npools = [8]')
    + TABLE
)
OVER = "fewer than 1e+09 failures per ns at each temperature"


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from campaign.cli.main import main; main()"]
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [*command, "launch", str(folder)], env=environment(), stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def launch(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    if not (folder / "campaign.toml").exists():
        (folder / "campaign.toml").write_text(FILE, encoding="utf-8")
    driver = start(folder)
    assert driver.wait(timeout=280) == 0, (folder / "output.txt").read_text()


def kill_all(folder: Path, driver: subprocess.Popen[bytes], mark: str) -> None:
    """Kill the driver and all its workers once a task of a kind is in flight."""
    deadline = time.monotonic() + 200.0
    while not any((folder / "workspace" / "running").glob(mark)):
        assert driver.poll() is None, (folder / "output.txt").read_text()
        assert time.monotonic() < deadline, f"{mark} was never in flight"
        time.sleep(0.005)
    for pid in (driver.pid, *processes_of(folder)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL
    deadline = time.monotonic() + 20.0
    while processes_of(folder):
        assert time.monotonic() < deadline, "somebody survived"
        time.sleep(0.05)


def made(folder: Path, stage: str, **key: Any) -> list[tuple[PlannedPart, Part]]:
    campaign = Campaign.read(folder)
    found = []
    for planned in campaign.plan().of(stage, **key):
        part = find_part(campaign.workspace.parts, stage, planned.fingerprint)
        assert part is not None, planned.label
        found.append((planned, part))
    return found


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rounds that nobody disturbed."""
    folder = tmp_path_factory.mktemp("quiet")
    launch(folder)
    return folder


def test_two_rounds_ask_for_what_the_budget_holds(quiet: Path) -> None:
    found = report(quiet)
    calls = {(row["arm"], row["labels"]): row["expert_calls"] for row in found["pooled"]}
    (last,) = [part for planned, part in made(quiet, "acquire") if planned.key["round"] == 2]
    standing = Standing.of(last)
    assert calls[ARM, 14] == standing.calls <= 14
    assert calls["scratch", 8] == 8
    assert found["expert_calls"] == 16 + standing.calls - 8
    assert [row["round"] for row in found["active_learning"]] == [1, 2]
    for row in found["active_learning"]:
        assert row["expert_calls"] - row["calls_before"] <= 3
        assert row["picked_at_failure"] + row["picked_by_disagreement"] <= 3
    assert standing.new > 0, "a round that asked for nothing tests nothing"
    expert = standing.structures.labelled_energies()
    assert np.ptp(expert) < 20.0, "all of one method: energies of water lie together"
    ((_, model),) = made(quiet, "finetune", arm=ARM, labels=14)
    assert model.metadata["train_structures"] == len(standing.train)
    page = (quiet / "workspace" / "report.html").read_text()
    assert "the old way" in page
    assert "labelled by gfn2-xtb" in page


def test_no_frame_is_asked_for_that_is_labelled_or_that_examination_starts_from(
    quiet: Path,
) -> None:
    ((_, starts),) = made(quiet, "starts")
    ((_, exploring),) = made(quiet, "explore_starts")
    examined, explored = (part.read("positions", "Å") for part in (starts, exploring))
    held_out = {row.tobytes() for row in examined.reshape(-1, 9)}
    assert not held_out & {row.tobytes() for row in explored.reshape(-1, 9)}
    for _, part in made(quiet, "acquire"):
        rows = Standing.of(part).structures.dense_positions().reshape(-1, 9)
        assert len(np.unique(rows, axis=0)) == len(rows)
        assert not held_out & {row.tobytes() for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize("mark", ["committee-*.json", "acquire-*.json"])
def test_killed_in_the_middle_it_ends_as_if_it_had_not_been(
    quiet: Path, tmp_path: Path, mark: str
) -> None:
    (tmp_path / "campaign.toml").write_text(FILE, encoding="utf-8")
    kill_all(tmp_path, start(tmp_path), mark)
    launch(tmp_path)
    assert digests(tmp_path) == digests(quiet)
    for key in ("results", "active_learning", "expert_calls"):
        assert report(tmp_path)[key] == report(quiet)[key]


def check_over_in_the_first_round(folder: Path) -> None:
    """No frame was asked for, nothing trained and nothing explored after the first exploration."""
    found = report(folder)
    (row,) = found["active_learning"]
    assert OVER in row["over"]
    assert row["expert_calls"] == row["calls_before"] == 8
    for planned, part in made(folder, "explore"):
        assert (len(part.read("run_time", "ps")) > 0) == (planned.key["labels"] == 8)
    for stage in ("committee", "finetune"):
        for planned, part in made(folder, stage):
            later = planned.key["labels"] > 8
            assert bool(part.metadata.get("repeats")) == later, planned.label
    for _, part in made(folder, "pick"):
        assert part.shape("order") == (0,)
    ((_, first),) = made(folder, "finetune", arm="scratch", labels=8)
    ((_, last),) = made(folder, "finetune", arm=ARM, labels=14)
    one, other = (part.file("model.safetensors").read_bytes() for part in (first, last))
    assert one == other, "the chain ends with the model that was good enough"
    labelled = [
        row["counts"].get("labels_done", 0.0)
        for row in events(folder)
        if row["event"] == "result" and row["stage"] == "acquire" and "counts" in row
    ]
    assert sum(labelled) == 0.0


@pytest.mark.slow
def test_a_chain_that_is_over_in_its_first_round_leaves_no_work(tmp_path: Path) -> None:
    (tmp_path / "campaign.toml").write_text(FILE + "stop_rate_per_ns = 1e9\n", encoding="utf-8")
    launch(tmp_path)
    check_over_in_the_first_round(tmp_path)


@pytest.mark.slow
def test_published_labels_stand_for_an_expert_and_each_round_can_be_examined(
    quiet: Path, tmp_path: Path
) -> None:
    """Of labels of the quiet campaign, as of a paper."""
    command = [sys.executable, "-c", "from campaign.cli.main import main; main()"]
    folder = tmp_path / "published"
    folder.mkdir()
    brought = folder / "labels.extxyz"
    subprocess.run(
        [*command, "export", str(quiet), "labels", "--to", str(brought)], check=True,
        env=environment(), capture_output=True,
    )  # fmt: skip
    text = FILE.replace('source = "tblite"', f'source = "file"\nfile = "{brought.name}"')
    text = text.replace("label_budget = 14", 'label_budget = 11\nexamine = "each_round"')
    text = text.replace("test_count = 3", "test_count = 1").replace("replicas = 8", "replicas = 4")
    (folder / "campaign.toml").write_text(text, encoding="utf-8")
    launch(folder)
    found = report(folder)
    (row,) = found["active_learning"]
    assert row["nearest_per_A"]["largest"] > 0.0
    assert row["expert_calls"] == 11
    ((_, starts),) = made(folder, "starts")
    standing = Standing.of(made(folder, "acquire")[-1][1])
    assert not set(standing.rows.tolist()) & set(starts.read("chosen", "").tolist())
    assert "withheld from its chain" in (folder / "workspace" / "report.html").read_text()
    too_many = subprocess.run(
        [*command, "validate", str(folder), "--set", "active_learning.label_budget=12", "--json"],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert too_many.returncode == 2
    assert "there are 11 that neither test a model nor start" in json.dumps(
        too_many.stdout + too_many.stderr
    )
    over = tmp_path / "over"
    over.mkdir()
    (over / brought.name).write_bytes(brought.read_bytes())
    (over / "campaign.toml").write_text(text + "stop_rate_per_ns = 1e9\n", encoding="utf-8")
    launch(over)
    (block, *_) = [p for planned, p in made(over, "simulate", arm=ARM) if planned.key["labels"] > 8]
    assert block.metadata["repeats"]
    by_arm = {(r["arm"], r["temperature_K"]): r["failures"] for r in report(over)["results"]}
    assert all(by_arm["scratch", t] == by_arm[ARM, t] for t in (500.0, 2000.0))
