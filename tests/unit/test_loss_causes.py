"""Every way in which a block can end is a cause in words, with something to do."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from campaign.execution.blocks import Block, State
from campaign.loss_causes import cause_of

STATES: tuple[State, ...] = get_args(State)


def block(state: State, reason: str = "") -> Block:
    return Block("7", "cpu", 1, 60.0, state, 0.0, reason=reason)


def loss(**fields: Any) -> dict[str, Any]:
    return {"event": "result", "outcome": "lost", "job": "7", **fields}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("with_block", [True, False])
def test_every_state_of_a_block_has_a_cause(state: State, with_block: bool) -> None:
    cause, advice = cause_of(loss(with_block=with_block), block(state))
    assert cause
    assert advice


def test_causes_of_lost_blocks_are_told_apart() -> None:
    causes = {cause_of(loss(with_block=True), block(state))[0] for state in STATES}
    assert len(causes) == len(STATES) - 1, "queued or running is the same: the block goes on"


@pytest.mark.parametrize(
    ("row", "found", "expected"),
    [
        (loss(with_block=False), block("running"), "killed by a signal"),
        (loss(with_block=False), None, "killed by a signal"),
        (loss(with_block=False), block("out_of_memory"), "want of memory"),
        (loss(with_block=True), block("running"), "manager of its workers was killed"),
        (loss(with_block=True, job=""), None, "it had not begun, or had just ended"),
        (loss(with_block=True), block("timeout"), "walltime"),
        (loss(with_block=True), block("node_fail"), "a node of its block failed"),
        (loss(with_block=True), block("preempted"), "preempted"),
        (loss(with_block=True), block("cancelled"), "by an operator or by hand"),
        (loss(with_block=True), block("cancelled", "host n2 is left out"), "host n2 is left out"),
        (loss(message="a rank died", resources={}), None, "a rank died"),
    ],
)
def test_what_is_known_is_said(row: dict[str, Any], found: Block | None, expected: str) -> None:
    assert expected in cause_of(row, found)[0]


def test_of_an_older_ledger_nothing_is_made_up() -> None:
    assert cause_of(loss(), block("timeout")) == ("", "")
