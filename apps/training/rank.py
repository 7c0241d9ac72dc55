"""One rank of a pre-training: ``python -m apps.training.rank REQUEST.json``, started by mpiexec.

Leaves its process id beside its work, dies with the process that started it, and, on rank 0, leaves
the result as JSON. An error on any rank ends all ranks: the others would wait for it in the next
sum.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import NoReturn

import torch

from apps.contract import Request, Result
from apps.training.distributed import Launch, abort_all, joined_world, launch_from
from apps.training.mpi import EXIT_CODES, failure_file
from apps.training.parent import die_with_parent
from apps.training.pretraining import run_pretraining
from data_store.errors import InputError, WorkspaceError
from data_store.work import write_atomic

__all__ = ["give_up", "main", "refuse_singletons"]


def main(request_file: str) -> None:
    """Run this rank."""
    die_with_parent()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    req = Request.from_json(json.loads(Path(request_file).read_text(encoding="utf-8")))
    torch.set_num_threads(req.threads)
    refuse_singletons(launch_from(os.environ), int(req.settings["pretraining"]["ranks"]))
    with joined_world() as world:
        mark = {"rank": world.rank, "size": world.size, "pid": os.getpid(), "host": platform.node()}
        write_atomic(req.work_dir / f"rank-{world.rank}.json", json.dumps(mark).encode())
        result = run_pretraining(req, world, lambda: stop.is_set() or req.out_of_time())
        if result is not None:
            write_atomic(req.work_dir / "result.json", json.dumps(result.to_json()).encode())


def refuse_singletons(launch: Launch, ranks: int) -> None:
    """Refuse a world of another size than was asked for.

    Where launcher and MPI do not understand each other, each rank takes itself for the only one,
    and all of them would write the same checkpoint.

    Raises
    ------
    InputError
        Saying how many ranks met.
    """
    if launch.size != ranks:
        raise InputError(
            f"{ranks} ranks were asked for, and rank {launch.rank} ({launch.starter}) is one of "
            f"{launch.size}: launcher and MPI do not fit each other",
            "set launcher and launcher_options of pool mpi: srun wants --mpi=pmi2 or --mpi=pmix as "
            "the MPI library has it (`srun --mpi=list`)",
        )


def give_up(request_file: str, error: Exception) -> NoReturn:
    """Leave what failed beside the work, if that can be written, and end all ranks."""
    traceback.print_exception(error)
    result = Result.failed(error)
    file = failure_file(Path(request_file).parent, launch_from(os.environ).rank)
    with contextlib.suppress(WorkspaceError):  # then the exit code alone says it
        write_atomic(file, json.dumps(result.to_json()).encode())
    abort_all(EXIT_CODES[result.outcome])


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except Exception as error:
        give_up(sys.argv[1], error)
