"""Blocks of a launch: budget, pace, back-off and account, and what squeue says, read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.execution.blocks import WAITS_S, BlockWatch, blocks_of_ledger
from campaign.execution.scheduler import is_for_good
from campaign.execution.squeue import STATES, command, read_squeue

HOUR_S = 3600.0


class Clock:
    """Seconds that go on when told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def watch_with(**settings: Any) -> tuple[BlockWatch, Clock, list[dict[str, Any]]]:
    clock, rows = Clock(), []

    def record(event: str, **fields: Any) -> None:
        rows.append({"event": event, "unix": clock.now_s, **fields})

    return BlockWatch(record, "campaign-x", clock=clock, **settings), clock, rows


@given(
    budget=st.floats(0.0, 50.0),
    spent=st.floats(0.0, 20.0),
    nodes=st.integers(1, 8),
    hours=st.floats(0.1, 12.0),
    runs_h=st.lists(st.floats(0.0, 1.0), max_size=30),
)
def test_whatever_is_submitted_as_allowed_the_budget_is_never_passed(
    budget: float, spent: float, nodes: int, hours: float, runs_h: list[float]
) -> None:
    watch, _, _ = watch_with(budget_node_hours=budget, spent_node_hours=spent)
    cost = nodes * hours
    for number, share in enumerate(runs_h):
        if watch.allowance(cost):
            watch.submitted(str(number), "cpu", nodes, hours * HOUR_S)
            if number % 2:  # every other block ends early; the rest run on to their end
                watch.seen(str(number), "running", 1.0)
                watch.seen(str(number), "completed", share * hours * HOUR_S)
    most = spent + sum(block.node_hours_at_most for block in watch.blocks)
    assert most <= max(budget, spent) * (1 + 1e-9) + 1e-6
    if not watch.blocks and runs_h:
        assert spent + cost > budget * (1 - 1e-9) - 1e-6  # nothing was refused that fits


def test_no_more_in_an_hour_than_the_site_says() -> None:
    watch, clock, _ = watch_with(submissions_per_hour=3)
    for number in range(3):
        assert watch.allowance(1.0) == 3 - number
        watch.submitted(str(number), "cpu", 1, 60.0)
    assert watch.allowance(1.0) == 0
    clock.now_s += HOUR_S + 1.0
    assert watch.allowance(1.0) == 3


def test_no_more_at_once_than_a_user_may_have() -> None:
    watch, _, _ = watch_with(max_jobs=2)
    watch.submitted("1", "cpu", 1, 60.0)
    watch.submitted("2", "mpi", 1, 60.0)
    assert watch.allowance(1.0) == 0
    watch.seen("2", "completed", 1.0)
    assert watch.allowance(1.0) == 1


def test_each_refusal_waits_twice_as_long_and_a_block_taken_ends_it() -> None:
    watch, clock, rows = watch_with()
    waits = []
    for _ in range(10):
        watch.refused("cpu", "sbatch: error: Slurm temporarily unable to accept job")
        assert watch.allowance(1.0) == 0
        waits.append(watch.refused_for_s())
        clock.now_s += watch.refused_for_s()
        assert watch.allowance(1.0) > 0
    assert waits[:4] == [5.0, 10.0, 20.0, 40.0]
    assert max(waits) == 300.0
    watch.submitted("1", "cpu", 1, 60.0)
    assert watch.refusal == ""
    watch.refused("cpu", "again")
    assert watch.refused_for_s() == 5.0
    assert len([row for row in rows if row["event"] == "block_refused"]) == 11


def test_node_hours_are_the_scheduler_s_or_else_as_seen() -> None:
    watch, clock, rows = watch_with()
    watch.submitted("1", "cpu", 2, 7200.0)
    watch.submitted("2", "cpu", 4, 7200.0)
    watch.seen("1", "running", 10.0)
    watch.seen("2", "running")
    clock.now_s += 1800.0
    watch.seen("1", "timeout", 3600.0)
    watch.seen("1", "running", 9999.0)  # what has ended does not come back
    watch.seen("2", "gone")
    assert watch.spent_node_hours == pytest.approx(2 * 1.0 + 4 * 0.5)
    assert [row["event"] for row in rows].count("block_ended") == 2
    told = blocks_of_ledger(rows)
    assert {b.job: b.state for b in told} == {"1": "timeout", "2": "gone"}
    assert [b.node_hours for b in told] == pytest.approx([2.0, 2.0])


def test_a_block_without_an_end_counts_to_its_walltime() -> None:
    watch, _, rows = watch_with()
    watch.submitted("1", "cpu", 2, 3600.0)
    watch.submitted("2", "cpu", 2, 3600.0)
    watch.seen("1", "running", 5.0)
    left = {block.job: block for block in blocks_of_ledger(rows)}
    assert left["1"].open
    assert left["1"].node_hours == 2.0
    assert left["2"].open
    assert left["2"].node_hours == 0.0


def test_why_a_block_waits_is_told_after_a_while_and_again_when_that_changes() -> None:
    watch, clock, rows = watch_with()
    watch.submitted("1", "cpu", 1, 3600.0, "/logs/1.stderr")
    for reason in ["Priority"] * 5 + ["JobHeldAdmin"] * 30 + ["Priority", "JobHeldAdmin"]:
        watch.seen("1", "pending", 0.0, reason)
        clock.now_s += WAITS_S / 2
    told = [row for row in rows if row["event"] == "block_waits"]
    assert [row["reason"] for row in told] == ["Priority", "JobHeldAdmin"]
    assert told[0]["waited_s"] == WAITS_S
    (left,) = blocks_of_ledger(rows)
    assert (left.state, left.reason, left.log) == ("pending", "JobHeldAdmin", "/logs/1.stderr")
    watch.seen("1", "running", 1.0)
    watch.seen("1", "preempted", 2.0)
    (ended,) = blocks_of_ledger(rows)
    assert (ended.state, ended.reason) == ("preempted", ""), "why it waited says nothing of its end"


def test_hosts_left_out_are_so_for_every_pool_but_one_that_has_no_block_without_them() -> None:
    watch, _, rows = watch_with(left_out=["n1"])
    watch.leave_out("n2")
    assert [*watch.left_out] == [*watch.left_out_of("cpu")] == ["n1", "n2"]
    watch.cannot_do_without("gpu", ["n1"], "Requested node configuration is not available")
    assert [*watch.left_out_of("cpu")] == ["n1", "n2"]
    assert [*watch.left_out_of("gpu")] == [*watch.left_out] == ["n2"]
    watch.submitted("1", "gpu", 1, 60.0)
    assert rows[-1]["without"] == ["n2"]


LINE = "{}\x1fcampaign-x-cpu.1\x1f{}\x1f{}\x1f2\x1fn[1-2]\x1fNone"


@pytest.mark.parametrize(
    ("elapsed", "seconds"),
    [("0:00", 0), ("12:34", 754), ("1:02:03", 3723), ("2-01:00:00", 176_400), ("INVALID", 0)],
)
def test_squeue_s_times_are_read(elapsed: str, seconds: int) -> None:
    (job,) = read_squeue(LINE.format(7, "RUNNING", elapsed)).values()
    assert (job.job, job.state, job.elapsed_s, job.nodes) == ("7", "running", seconds, 2)
    assert job.reason == ""


@pytest.mark.parametrize("state", STATES)
def test_every_state_of_slurm_s_has_one_of_ours(state: str) -> None:
    assert read_squeue(LINE.format(7, state, "0:01"))["7"].state == STATES[state]


def test_an_empty_answer_is_an_answer() -> None:
    assert read_squeue("\n") == {}


NONSENSE: list[Callable[[str], str]] = [
    lambda line: line.replace("\x1f", " "),
    lambda line: line.replace("RUNNING", "FLYING"),
    lambda line: line.replace("0:01", "soon"),
    lambda line: line[:20],
    lambda line: "slurm_load_jobs error: Socket timed out on send/recv operation",
]


@pytest.mark.parametrize("spoil", NONSENSE)
def test_nonsense_is_no_answer(spoil: Callable[[str], str]) -> None:
    with pytest.raises(ValueError, match=r"squeue|invalid literal"):
        read_squeue(spoil(LINE.format(7, "RUNNING", "0:01")))


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
def test_any_text_is_read_or_refused_as_such(text: str) -> None:
    try:
        jobs = read_squeue(text)
    except ValueError:
        return
    assert all(job.state in STATES.values() for job in jobs.values())


def test_the_question_names_the_user() -> None:
    assert "--user=me" in command("me")


@pytest.mark.parametrize(
    ("said", "for_good"),
    [
        ("sbatch: error: Batch job submission failed: Invalid account or account/partition", True),
        ("sbatch: error: invalid partition specified: nowhere", True),
        ("qsub: Unknown queue", True),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", False),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", False),
        ("", False),
    ],
)
def test_what_waiting_does_not_mend_is_told_from_what_it_does(said: str, for_good: bool) -> None:
    assert is_for_good(said) == for_good
