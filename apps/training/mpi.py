"""Starting ranks, on this machine or over the nodes of a block, and making sense of how they end.

On one machine by ``mpiexec``. In a block of Parsl's `MPIExecutor` by the launcher that it composed
for the task (``srun`` or ``mpiexec``, with ranks and nodes), from ``PARSL_MPI_PREFIX``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from apps.contract import Outcome, Request, Result
from apps.training.parent import die_with_parent
from data_store.errors import InputError
from data_store.work import write_atomic

__all__ = ["EXIT_CODES", "MPI_PREFIX", "failure_file", "find_mpiexec", "run_ranks"]

EXIT_CODES: dict[Outcome, int] = {
    "failed_input": 65,
    "failed_method": 69,
    "failed_software": 70,
    "failed_workspace": 73,
    "lost": 75,
}
"""With what a rank ends that failed (the codes of ``sysexits.h``): all that gets out for certain,
since a full disk takes no file and mpiexec drops what an aborting rank has just written."""

_WORDLESS: dict[Outcome, str] = {
    "failed_input": "since what it was given cannot be used",
    "failed_method": "since its method gave no result",
    "failed_software": "by an error of the software",
    "failed_workspace": "since it could not write: free space or permissions, and launch again",
    "lost": "since it lost another rank",
}

MPI_PREFIX = "PARSL_MPI_PREFIX"
"""Environment variable with the command that Parsl composed to start ranks over nodes."""

_KILLED = {signal.SIGKILL, signal.SIGTERM, signal.SIGBUS}
"""Signals by which the system, not our code, ends a rank (1, SIGHUP's, is what failing gives)."""

_TAIL = 2000


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
        What rank 0 left; "lost" where a rank was killed or ended without a word; the failure that
        a rank reported; "failed_software" with the end of what they wrote where none did.
    """
    folder = req.work_dir
    request_file, result_file = folder / "request.json", folder / "result.json"
    write_atomic(request_file, json.dumps(req.to_json()).encode())
    for stale in (result_file, *(failure_file(folder, rank) for rank in range(ranks))):
        stale.unlink(missing_ok=True)
    command = [*_launcher(ranks), sys.executable, "-m", module, str(request_file)]
    ended = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
        errors="replace", env=_environment(req.threads), preexec_fn=die_with_parent, check=False,
    )  # fmt: skip
    with contextlib.suppress(OSError):
        (folder / "ranks.log").write_text(ended.stdout, encoding="utf-8")
    if ended.returncode == 0 and result_file.exists():
        return Result(**json.loads(result_file.read_text(encoding="utf-8")))
    return _ended_badly(folder, ended.returncode, ended.stdout[-_TAIL:].strip(), ranks)


def _launcher(ranks: int) -> list[str]:
    """Command that starts ranks, before what they run."""
    composed = os.environ.get(MPI_PREFIX)
    return shlex.split(composed) if composed else [find_mpiexec(), "-n", str(ranks)]


def failure_file(folder: Path, rank: int) -> Path:
    """Where a rank that fails leaves its result."""
    return folder / f"failure-{rank}.json"


def _ended_badly(folder: Path, code: int, tail: str, ranks: int) -> Result:
    files = [failure_file(folder, rank) for rank in range(ranks)]
    reported = [Result(**json.loads(file.read_text())) for file in files if file.exists()]
    # A rank that lost another one reports that: the cause is what the other reported.
    for result in sorted(reported, key=lambda result: result.outcome == "lost"):
        return result
    # MPICH reports a killed rank by the signal's number, shells by 128 more, POSIX by its negative.
    if code in {n for s in _KILLED for n in (s, 128 + s, -s)}:
        return Result("lost", message=f"a rank of {ranks} was killed (mpiexec gave {code})")
    for outcome, number in EXIT_CODES.items():
        if code == number:
            return Result(outcome, message=f"a rank of {ranks} ended {_WORDLESS[outcome]}")
    return Result("failed_software", message=f"mpiexec ended with {code}: {tail or 'no output'}")


def _environment(threads: int) -> dict[str, str]:
    """Environment of the ranks: threads as declared, and no trace of an outer MPI.

    Nor of Slurm, where ranks are to stay on this machine: mpiexec would take the whole allocation.
    """
    batch = () if MPI_PREFIX in os.environ else ("SLURM_", "PBS_")
    foreign = ("PMI_", "PMIX_", "OMPI_", "HYDI_", "MPI_LOCAL", "RANK", "WORLD_SIZE", *batch)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    return {**kept, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
