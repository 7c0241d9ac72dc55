"""One private Slurm cluster for all tests here, as new for each of them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.installation import require_slurm


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Four nodes of eight cores and four fake GPUs; without Slurm the test is skipped."""
    require_slurm()
    with Cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def slurm(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster that Slurm's commands talk to in this test; cleared when it is over."""
    for key in [key for key in os.environ if key.startswith("SLURM")]:
        monkeypatch.delenv(key)
    for key, value in cluster.environment().items():
        monkeypatch.setenv(key, value)
    yield cluster
    cluster.clear()
