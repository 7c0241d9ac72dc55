"""Why a task was lost with the infrastructure, in words: from the ledger, on it and its block.

What a scheduler says of a block often comes after the loss itself, so it is looked up when it is
asked for, not when the loss is written down.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from campaign.execution.blocks import Block, State

__all__ = ["LossCause", "cause_of"]

LossCause = tuple[str, str]
"""The cause in words, and what to do about it; both empty where nothing is known of it."""

_UNKNOWN = ("", "")

_KILLED = (
    "its worker process was killed by a signal, while its block went on: most often by the system, "
    "for want of memory",
    "if it happens again: more memory for each worker (fewer workers_per_node, or "
    "memory_per_node_GB)",
)
_NOT_AT_IT = (
    "the manager of its workers was lost while none of them said that it was at it: it had not "
    "begun, or had just ended",
    "nothing: it is handed out again",
)
_MANAGER = (
    "the manager of its workers was killed, or did not answer any more, while its block went on",
    "look at the node if it happens again; site.silence_s says how long silence is borne",
)
_OURS = ("no longer needed", "is left out", "left by a driver")
"""How the reasons of blocks read that campaign cancelled itself."""

_BY_STATE: Mapping[State, LossCause] = {
    "timeout": (
        "its block came to its walltime before the task had written its checkpoint",
        "raise site.grace_s, the time that is left for checkpoints, or the pool's walltime",
    ),
    "node_fail": (
        "a node of its block failed",
        "nothing: it goes on elsewhere; tell the operators if it is always the same node",
    ),
    "preempted": (
        "its block was preempted: a job of higher priority took its nodes",
        "a partition or qos that is not preempted spares the repetition",
    ),
    "out_of_memory": (
        "its block was ended for want of memory",
        "more memory for each worker: fewer workers_per_node, or memory_per_node_GB",
    ),
    "cancelled": (
        "its block was cancelled by an operator or by hand (scancel, qdel)",
        "nothing: it goes on in another block; ask the operators if it was not you",
    ),
    "failed": (
        "its block failed: the batch script, or what it started, ended with an error",
        "read the end of the block's log",
    ),
    "completed": ("its block ended by itself", "read the end of the block's log"),
    "gone": (
        "its block is gone, and the scheduler does not say how it ended",
        "read the end of the block's log",
    ),
}


def cause_of(row: Mapping[str, Any], block: Block | None) -> LossCause:
    """Cause of a loss, and what to do.

    Parameters
    ----------
    row : mapping
        The event ``result`` of outcome ``lost``.
    block : Block or None
        That it was in, as far as is known by now.
    """
    if "resources" in row:  # the task itself came back and said so
        return (
            f"the task said so itself: {row.get('message', '')}",
            "nothing: it is handed out again",
        )
    if "with_block" not in row:  # written by an earlier version
        return _UNKNOWN
    if not row["with_block"]:
        found = _BY_STATE["out_of_memory"] if _is(block, "out_of_memory") else _KILLED
    elif block is None:
        found = _NOT_AT_IT if not row.get("job") else _MANAGER
    elif block.open:
        found = _MANAGER
    elif block.state == "cancelled" and any(words in block.reason for words in _OURS):
        found = (
            f"its block was cancelled by campaign itself: {block.reason}",
            "nothing: it goes on in another block",
        )
    else:
        found = _BY_STATE[block.state]
    return found


def _is(block: Block | None, state: State) -> bool:
    return block is not None and block.state == state
