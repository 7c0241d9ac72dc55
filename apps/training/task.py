"""What a worker runs for training: `pretrain` over ranks, `finetune` alone."""

from __future__ import annotations

from typing import Any

from apps.contract import Request, Result

__all__ = ["finetune", "pretrain"]


def pretrain(request: dict[str, Any]) -> dict[str, Any]:
    """Pre-train on teacher structures.

    Writes a part with ``model.safetensors``, its errors on held-out structures, and a log.

    Raises
    ------
    InputError
        If there are too few structures or there is no MPI.
    CampaignError
        If a rank failed.
    """
    req = Request.from_json(request)
    finished = req.finished_part()
    if finished is not None:
        return Result.done(finished, {"world_size": finished.metadata["world_size"]}).to_json()
    ranks = int(req.settings["pretraining"]["ranks"])
    if ranks > 1:
        from apps.training.mpi import run_ranks

        return run_ranks(req, "apps.training.rank", ranks).to_json()
    import torch

    from apps.training.distributed import World
    from apps.training.pretraining import run_pretraining

    torch.set_num_threads(req.threads)
    result = run_pretraining(req, World(0, 1, _device()), req.out_of_time)
    return (result or Result("continue")).to_json()


def finetune(request: dict[str, Any]) -> dict[str, Any]:
    """Fine-tune one model: key ``arm``, ``labels``, ``seed``.

    Writes a part with ``model.safetensors``, its errors on validation and test
    structures, the pairs behind a parity plot, and a log.

    Raises
    ------
    InputError
        If the labels hold elements that the teacher never saw.
    """
    req = Request.from_json(request)
    finished = req.finished_part()
    if finished is not None:
        return Result.done(finished).to_json()
    import torch

    from apps.training.distributed import World
    from apps.training.finetuning import run_finetuning

    torch.set_num_threads(req.threads)
    return run_finetuning(req, World(0, 1, _device()), req.out_of_time).to_json()


def _device() -> Any:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
