"""What a worker runs for dynamics of active learning: exploration, and examination of each round.

Both are `simulate`; what they add is that a chain that is over costs nothing more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from apps.contract import Request, Result
from apps.dynamics.task import simulate
from apps.rounds import repeat_part
from data_store.parts import write_part
from data_store.runs import runs_to_columns

__all__ = ["examine", "explore"]


def explore(request: dict[str, Any]) -> dict[str, Any]:
    """Explore with the model of a round: key as of `simulate`, where ``block`` counts rounds.

    Where the labels so far (``so_far``) say that the chain is over, a part without runs says so.

    Raises
    ------
    InputError, LostError
        As `simulate` does.
    """
    req = Request.from_json(request)
    (so_far,) = req.input_parts("so_far")
    over = so_far.metadata["over"]
    if not over or req.finished_part() is not None:
        return simulate(request)
    columns, coded = runs_to_columns([])
    part = write_part(
        Path(req.parts_root), req.stage, req.fingerprint, columns,
        {**req.key, **coded, "over": over},
    )  # fmt: skip
    return Result.done(part, {"replicas": 0.0}).to_json()


def examine(request: dict[str, Any]) -> dict[str, Any]:
    """Run one block as `simulate`; of a model that is repeated, repeat the block ``before``.

    Raises
    ------
    InputError, LostError
        As `simulate` does.
    """
    req = Request.from_json(request)
    (model,), before = req.input_parts("model"), req.input_parts("before")
    if not before or not model.metadata.get("repeats") or req.finished_part() is not None:
        return simulate(request)
    return Result.done(repeat_part(req, before[0]), {"repeats": 1.0}).to_json()
