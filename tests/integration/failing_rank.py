"""Run by mpiexec: rank 1 ends as its request says, while rank 0 waits for it in a sum."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import torch

from apps.training.distributed import joined_world
from apps.training.rank import give_up
from data_store.errors import InputError, WorkspaceError


def main(request_file: str) -> None:
    does = json.loads(Path(request_file).read_text())["settings"]["does"]
    with joined_world() as world:
        if world.rank == 1:
            if does == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            kinds = {"input": InputError, "workspace": WorkspaceError, "software": RuntimeError}
            raise kinds[does](f"a {does} failure")
        world.sum_(torch.ones(3))


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except Exception as error:
        give_up(sys.argv[1], error)
