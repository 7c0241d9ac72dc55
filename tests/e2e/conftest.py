"""A campaign that nobody disturbed, run once and shared."""

from __future__ import annotations

import pytest

from tests.e2e.kills import Quiet, run_quietly
from tests.slurm.conftest import cluster, slurm

__all__ = ["cluster", "slurm", "undisturbed"]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Quiet:
    """The tiny campaign at its end; a test may add to its folder, what is kept here stays."""
    return run_quietly(tmp_path_factory.mktemp("undisturbed") / "tiny")
