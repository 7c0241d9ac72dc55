"""One rank of a pre-training: ``python -m apps.training.rank REQUEST.json``, started by mpiexec.

Leaves its process id beside its work, dies with the process that started it, and, on rank 0, leaves
the result as JSON. An error on any rank ends all: mpiexec sees to that.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import threading
from pathlib import Path

import torch

from apps.contract import Request
from apps.training.distributed import joined_world
from apps.training.parent import die_with_parent
from apps.training.pretraining import run_pretraining
from data_store.work import write_atomic

__all__ = ["main"]


def main(request_file: str) -> None:
    """Run this rank."""
    die_with_parent()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    req = Request.from_json(json.loads(Path(request_file).read_text(encoding="utf-8")))
    torch.set_num_threads(req.threads)
    with joined_world() as world:
        mark = {"rank": world.rank, "size": world.size, "pid": os.getpid(), "host": platform.node()}
        write_atomic(req.work_dir / f"rank-{world.rank}.json", json.dumps(mark).encode())
        result = run_pretraining(req, world, lambda: stop.is_set() or req.out_of_time(30.0))
        if result is not None:
            write_atomic(req.work_dir / "result.json", json.dumps(result.to_json()).encode())


if __name__ == "__main__":
    main(sys.argv[1])
