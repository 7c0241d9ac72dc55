"""One rank of the doctor's check of MPI: ``python -m apps.checkup_rank REQUEST.json``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from apps.contract import Request, Result
from data_store.work import write_atomic

__all__ = ["main"]


def main(request_file: str) -> None:
    """Meet the other ranks; rank 0 leaves how many they are and on which nodes."""
    from mpi4py import MPI

    req = Request.from_json(json.loads(Path(request_file).read_text(encoding="utf-8")))
    world = MPI.COMM_WORLD
    here = os.environ.get("SLURMD_NODENAME", MPI.Get_processor_name())
    nodes = world.gather(here)
    if world.rank == 0:
        found = {"size": world.size, "nodes": sorted(set(nodes or []))}
        result = Result("done", message=json.dumps(found))
        write_atomic(req.work_dir / "result.json", json.dumps(result.to_json()).encode())


if __name__ == "__main__":
    main(sys.argv[1])
