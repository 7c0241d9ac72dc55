"""What a worker finds where it runs: the tasks of `campaign doctor`.

`examine` says what is there (versions, threads and cores as bound, GPUs, scratch, the clock);
`write` and `read_back` make a part and compare one that another node made; `count_ranks` starts
ranks as pre-training does and says how many met. Nothing is judged here: that is the doctor's, who
knows what was asked for. What is found travels as JSON in the result's message, since a shared
file system is one of the things in question.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from apps.contract import Request, Result
from data_store.columns import Column
from data_store.errors import StoreError
from data_store.parts import open_part, verify_part, write_part

__all__ = ["PACKAGES", "count_ranks", "examine", "found_here", "owners", "read_back", "write"]

PACKAGES = ("apps", "campaign", "data_store", "site_configs")
"""Top-level packages of this distribution; their names are common words."""

_SCRATCH_BYTES = 1 << 20


def found_here() -> dict[str, Any]:
    """Versions, threads, cores, GPUs, scratch and clock of this process."""
    return {
        "host": os.environ.get("SLURMD_NODENAME", platform.node()),
        "python": platform.python_version(),
        "parsl": metadata.version("parsl"),
        "mlip-campaign": metadata.version("mlip-campaign"),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "gpus": _gpus(),
        "devices": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        "scratch": _scratch(),
        "unix": time.time(),
        "owners": owners(),
    }


def owners() -> dict[str, list[str]]:
    """Distributions that own each of our top-level packages here."""
    known = metadata.packages_distributions()
    return {name: sorted(set(known.get(name, []))) for name in PACKAGES}


def _gpus() -> int:
    """GPUs that torch sees; 0 without torch."""
    try:
        import torch
    except ImportError:
        return 0
    return torch.cuda.device_count()


def _scratch() -> str:
    """The folder for temporary files, or why nothing can be written there."""
    try:
        with tempfile.TemporaryFile() as handle:
            handle.write(b"\0" * _SCRATCH_BYTES)
            handle.flush()
    except OSError as error:
        return f"not writable: {error.strerror}"
    return tempfile.gettempdir()


def examine(request: dict[str, Any]) -> dict[str, Any]:
    """Say what is found where this worker runs."""
    return Result("done", message=json.dumps(found_here())).to_json()


def write(request: dict[str, Any]) -> dict[str, Any]:
    """Write a part: arrays, manifest, and the rename into its place."""
    req = Request.from_json(request)
    column = Column(np.arange(4096))
    part = write_part(Path(req.parts_root), req.stage, req.fingerprint, {"value": column}, {})
    return Result.done(part).to_json()


def read_back(request: dict[str, Any]) -> dict[str, Any]:
    """Open the parts given and compare every byte with their manifests."""
    req = Request.from_json(request)
    for path in req.inputs["parts"]:
        problems = verify_part(open_part(Path(path)))
        if problems:
            raise StoreError(f"{path}: {'; '.join(problems)}", "nodes do not see the same bytes")
    return Result("done", message=json.dumps({"read": len(req.inputs["parts"])})).to_json()


def count_ranks(request: dict[str, Any]) -> dict[str, Any]:
    """Start ranks as pre-training does; the result is that of their rank 0."""
    from apps.training.mpi import run_ranks

    req = Request.from_json(request)
    req.work_dir.mkdir(parents=True, exist_ok=True)
    return run_ranks(req, "apps.checkup_rank", int(req.settings["ranks"])).to_json()
