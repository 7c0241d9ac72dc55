"""Whether Slurm's programs are on this machine, and what tests do where they are not."""

from __future__ import annotations

import os
import shutil

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")


def program(name: str) -> str | None:
    """Path of a program; daemons lie where an ordinary user's PATH does not look."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def require_slurm() -> None:
    """Skip the test where a program is absent; fail it in continuous integration."""
    absent = [name for name in PROGRAMS if program(name) is None]
    if not absent:
        return
    reason = f"needs Slurm, but there is no {', '.join(absent)} (CONTRIBUTING.md: Tests on Slurm)"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
