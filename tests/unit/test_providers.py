"""Slurm's provider against a scheduler that fails, hangs, lies and refuses: a fake one on PATH."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parsl.jobs.states import JobState
from parsl.providers.errors import SubmitException

from campaign.execution.blocks import BlockWatch
from campaign.execution.providers import WatchedSlurm, batch_provider
from campaign.execution.scheduler import jobs_of
from campaign.sites.site import BatchSite
from data_store.errors import Stopped

SITE = BatchSite.model_validate(
    {
        "site": {"name": "fake", "scheduler": "slurm", "command_timeout_s": 1},
        "pools": {"cpu": {"walltime": "1:00:00", "workers_per_node": 4, "max_blocks": 3}},
    }
)

Answer = Callable[[str, str], None]


def line(job: str, state: str, elapsed: str = "1:00") -> str:
    return "\\037".join([job, "campaign-x-cpu.1", state, elapsed, "1", "n1", "None"]) + "\\n"


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Set what a command of the scheduler does: the body of a shell script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def answer(command: str, body: str) -> None:
        path = folder / command
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    answer("sbatch", "echo Submitted batch job 7")
    answer("squeue", f"printf '{line('7', 'PENDING')}'")
    answer("scancel", "true")
    return answer


@pytest.fixture
def provider(tmp_path: Path, answers: Answer) -> tuple[WatchedSlurm, list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []

    def record(event: str, **fields: Any) -> None:
        rows.append({"event": event, **fields})

    found = batch_provider(SITE, "cpu", "", BlockWatch(record, "campaign-x"))
    assert isinstance(found, WatchedSlurm)
    found.script_dir = str(tmp_path)
    return found, rows


def state_of(provider: WatchedSlurm) -> JobState:
    state: JobState = provider.status(["7"])[0].state
    return state


TROUBLE = {
    "fails": "echo slurm_load_jobs error >&2; exit 1",
    "hangs": "sleep 30",
    "answers nonsense": "echo '<html>502 Bad Gateway</html>'",
    "cuts its answer": f"printf '{line('7', 'RUNNING')[:9]}'",
    "names an unknown state": f"printf '{line('7', 'FLYING')}'",
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_an_answer_that_cannot_be_read_ends_no_block(
    provider: tuple[WatchedSlurm, list[dict[str, Any]]], answers: Answer, trouble: str
) -> None:
    slurm, rows = provider
    slurm.submit("true", 1)
    answers("squeue", f"printf '{line('7', 'RUNNING')}'")
    assert state_of(slurm) == JobState.RUNNING
    answers("squeue", TROUBLE[trouble])
    for _ in range(3):
        assert state_of(slurm) == JobState.RUNNING
    assert [row["event"] for row in rows].count("scheduler_unanswered") == 3
    answers("squeue", f"printf '{line('7', 'TIMEOUT', '59:58')}'")
    assert state_of(slurm) == JobState.TIMEOUT
    (ended,) = (row for row in rows if row["event"] == "block_ended")
    assert ended["elapsed_s"] == 59 * 60 + 58


def test_an_empty_answer_is_believed_the_second_time(
    provider: tuple[WatchedSlurm, list[dict[str, Any]]], answers: Answer
) -> None:
    slurm, rows = provider
    slurm.submit("true", 1)
    answers("squeue", "true")
    assert state_of(slurm) == JobState.PENDING
    answers("squeue", f"printf '{line('7', 'RUNNING')}'")
    assert state_of(slurm) == JobState.RUNNING
    answers("squeue", "true")
    assert state_of(slurm) == JobState.RUNNING
    assert state_of(slurm) == JobState.COMPLETED
    assert [row["state"] for row in rows if row["event"] == "block_ended"] == ["gone"]


REFUSALS = {
    "fails": "echo sbatch: error: QOSMaxSubmitJobPerUserLimit >&2; exit 1",
    "hangs": "sleep 30",
    "answers nonsense": "echo thank you",
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refused_block_is_not_asked_for_again_at_once(
    provider: tuple[WatchedSlurm, list[dict[str, Any]]], answers: Answer, refusal: str
) -> None:
    slurm, rows = provider
    assert slurm.max_blocks == 3
    answers("sbatch", REFUSALS[refusal])
    with pytest.raises(SubmitException):
        slurm.submit("true", 1)
    assert slurm.max_blocks == 0, "no more than it has, until the wait is over"
    assert [row["event"] for row in rows] == ["block_refused"]


def test_hosts_are_left_out_beside_those_of_the_site(tmp_path: Path, answers: Answer) -> None:
    asked = SITE.model_dump()
    asked["pools"]["cpu"]["scheduler_options"] = ["--exclude n8,n9", "-x a1", "--exclusive"]
    watch = BlockWatch(lambda event, **fields: None, "campaign-x", left_out=["n2"])
    found = batch_provider(BatchSite.model_validate(asked), "cpu", "", watch)
    found.script_dir = str(tmp_path)
    found.submit("true", 1)
    watch.leave_out("n3")
    found.submit("true", 1)
    scripts = [path.read_text() for path in sorted(tmp_path.glob("campaign-x*"))]
    lines = [[line for line in text.splitlines() if "--exclude=" in line] for text in scripts]
    assert lines == [["#SBATCH --exclude=n8,n9,a1,n2"], ["#SBATCH --exclude=n8,n9,a1,n2,n3"]]


PICKY = """
script=$1
if grep -q -- --exclude= "$script"; then
    echo "sbatch: error: {said}" >&2
    exit 1
fi
echo Submitted batch job 7
"""


@pytest.mark.parametrize(
    ("said", "goes_on"),
    [
        ("Batch job submission failed: Requested node configuration is not available", True),
        ("Batch job submission failed: Invalid node name specified", True),
        ("Slurm temporarily unable to accept job, sleeping and retrying", False),
    ],
)
def test_what_is_refused_for_good_without_a_host_is_asked_for_with_it(
    tmp_path: Path, answers: Answer, said: str, goes_on: bool
) -> None:
    rows: list[str] = []
    watch = BlockWatch(lambda event, **fields: rows.append(event), "campaign-x", left_out=["n2"])
    found = batch_provider(SITE, "cpu", "", watch)
    found.script_dir = str(tmp_path)
    answers("sbatch", PICKY.format(said=said))
    if not goes_on:
        with pytest.raises(SubmitException):
            found.submit("true", 1)
        assert rows == ["block_refused"]
        assert watch.left_out == ("n2",)
        return
    assert [found.submit("true", 1) for _ in range(2)] == ["7", "7"]
    assert rows == ["hosts_needed", "block_submitted", "block_submitted"], "said once"
    assert watch.left_out == ()


def test_the_watch_s_word_is_parsl_s_limit(
    provider: tuple[WatchedSlurm, list[dict[str, Any]]], answers: Answer
) -> None:
    slurm, _ = provider
    for number in range(3):
        answers("sbatch", f"echo Submitted batch job {number}")
        assert slurm.max_blocks == 3
        slurm.submit("true", 1)
    assert slurm.max_blocks == 3


def test_a_scheduler_that_never_answers_ends_a_launch_before_it_submits(
    answers: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("campaign.execution.scheduler._WAIT_S", 0.01)
    answers("squeue", TROUBLE["fails"])
    with pytest.raises(Stopped, match="slurm_load_jobs error"):
        jobs_of("slurm", "campaign-x", 1.0)
    answers("squeue", TROUBLE["answers nonsense"])
    with pytest.raises(Stopped, match="502 Bad Gateway"):
        jobs_of("slurm", "campaign-x", 1.0)
