"""Starting ranks by ``mpiexec`` on this machine, and making sense of how they end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from apps.contract import Request, Result
from apps.training.parent import die_with_parent
from data_store.errors import CampaignError, InputError
from data_store.work import write_atomic

__all__ = ["find_mpiexec", "run_ranks"]

_KILLED = {signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGBUS}
"""Signals by which the system, not our code, ends a rank."""


def find_mpiexec() -> str:
    """``mpiexec`` beside this interpreter, else on the path.

    Raises
    ------
    InputError
        If there is none.
    """
    beside = Path(sys.executable).parent / "mpiexec"
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        raise InputError(
            "pretraining.ranks > 1 needs mpiexec, and there is none on this machine",
            "install the extra `mpi` (pip install 'mlip-campaign[mpi]') or load an MPI module, "
            "or set pretraining.ranks = 1",
        )
    return found


def run_ranks(req: Request, module: str, ranks: int) -> Result:
    """Run ``python -m module REQUEST.json`` on `ranks` ranks.

    Returns
    -------
    Result
        What rank 0 left; "lost" where a rank was killed from outside.

    Raises
    ------
    CampaignError
        If a rank failed; with the end of what the ranks wrote.
    """
    folder = req.work_dir
    request_file, result_file = folder / "request.json", folder / "result.json"
    write_atomic(request_file, json.dumps(req.to_json()).encode())
    result_file.unlink(missing_ok=True)
    command = [find_mpiexec(), "-n", str(ranks), sys.executable, "-m", module, str(request_file)]
    with (folder / "ranks.log").open("wb") as log:
        code = subprocess.run(
            command, stdout=log, stderr=subprocess.STDOUT, env=_environment(req.threads),
            preexec_fn=die_with_parent, check=False,
        ).returncode  # fmt: skip
    if code == 0 and result_file.exists():
        return Result(**json.loads(result_file.read_text(encoding="utf-8")))
    # MPICH reports a killed rank by the signal's number, shells by 128 more, POSIX by its negative.
    if code in {n for s in _KILLED for n in (s, 128 + s, -s)}:
        return Result("lost", message=f"a rank of {ranks} was killed (mpiexec gave {code})")
    tail = (folder / "ranks.log").read_text(encoding="utf-8", errors="replace")[-2000:]
    raise CampaignError(f"mpiexec ended with {code}: {tail.strip() or 'nothing was written'}")


def _environment(threads: int) -> dict[str, str]:
    """Environment of the ranks: threads as declared, and no trace of an outer MPI or Slurm step."""
    foreign = ("PMI_", "PMIX_", "OMPI_", "HYDI_", "MPI_LOCAL", "RANK", "WORLD_SIZE")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    return {**kept, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
