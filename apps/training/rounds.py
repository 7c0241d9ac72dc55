"""What a worker runs for trainings of active learning: fine-tuning, where there are new labels."""

from __future__ import annotations

from typing import Any

from apps.contract import Request, Result
from apps.rounds import repeat_part
from apps.training.task import finetune

__all__ = ["finetune_round"]


def finetune_round(request: dict[str, Any]) -> dict[str, Any]:
    """Fine-tune on the labels of a round; where it added none, repeat the model ``before``.

    Raises
    ------
    InputError
        As `finetune` does.
    """
    req = Request.from_json(request)
    if req.finished_part() is not None:
        return finetune(request)
    (labels,), before = req.input_parts("labels"), req.input_parts("before")
    if not before or labels.metadata["new"]:
        return finetune(request)
    part = repeat_part(req, before[0], files=("model.safetensors",), attachments=("metrics.jsonl",))
    return Result.done(part, {"repeats": 1.0}).to_json()
