"""What a worker runs for labels of active learning: picks, labelled as all else is, and merged.

The same method, limits and fallbacks as of the campaign's other labels. A round has places for as
many picks as it may have; those that it does not fill cost nothing. What the method gives no usable
label for was a call all the same.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from apps.contract import Request, Result
from apps.labeling.settings import MethodSettings
from apps.labeling.surface import surface_of
from apps.labeling.task import label
from apps.rounds import COMPUTED, Standing
from data_store.parts import Part
from data_store.structure_parts import read_structures
from data_store.work import await_item, item_key, save_item

__all__ = ["label_picks", "merge_picks"]

_NOT_PICKED = "not_picked"


def label_picks(request: dict[str, Any]) -> dict[str, Any]:
    """Label some picks: key ``indices``, places in their order; there may be fewer picks.

    Raises
    ------
    InputError, LostError
        As `label` does.
    """
    req = Request.from_json(request)
    (picks,) = req.input_parts("candidates")
    count = picks.shape("order")[0]
    for index in req.key["indices"]:
        if index >= count:
            save_item(req.work_dir, item_key(index), {}, {"outcome": _NOT_PICKED})
    asked = [index for index in req.key["indices"] if index < count]
    if not asked:
        return Result("done", counts={"labels_done": 0.0}).to_json()
    return label({**request, "key": {**request["key"], "indices": asked}})


def merge_picks(request: dict[str, Any]) -> dict[str, Any]:
    """Add the labels of a round to those that the chain has; failed ones are counted as calls.

    Raises
    ------
    LostError
        If a label is not to be seen here.
    """
    req = Request.from_json(request)
    part = req.finished_part()
    if part is None:
        part = _merged(req)
    counts = {"labels": float(part.metadata["new"])}
    counts["left_out"] = float(len(part.metadata["left_out"]))
    return Result.done(part, counts).to_json()


def _merged(req: Request) -> Part:
    (picks,), (so_far,) = req.input_parts("candidates"), req.input_parts("so_far")
    standing, over = Standing.of(so_far), str(picks.metadata["over"])
    if over:
        return standing.ended(over).write(req, {"asked": 0, "left_out": []})
    count = picks.shape("order")[0]
    items = [await_item(req.work_dir, item_key(index)) for index in range(count)]
    kept = [i for i, (_, told) in enumerate(items) if told["outcome"] == "converged"]
    left_out = [
        {"index": i, "reason": told["outcome"]}
        for i, (_, told) in enumerate(items)
        if told["outcome"] != "converged"
    ]
    more = read_structures(picks).take(np.array(kept, dtype=np.int64))
    if kept:
        more = more.with_labels(
            np.concatenate([items[i][0]["energy"] for i in kept]),
            np.concatenate([items[i][0]["forces"] for i in kept]),
        )
    rows = np.full(len(kept), COMPUTED, dtype=np.int64)
    grown = standing.grown(more, rows, count, req.seed, int(req.key["round"]))
    fields = MethodSettings.model_fields
    given = {name: value for name, value in req.settings.items() if name in fields}
    method = MethodSettings.model_validate(given).identity()
    steps = Counter(items[i][1]["step"] for i in kept)
    told = {
        "asked": count,
        "left_out": left_out,
        "method": method,
        "steps": dict(sorted(steps.items())),
    }
    return grown.write(req, told, {"surface": surface_of(method, grown.structures)})
