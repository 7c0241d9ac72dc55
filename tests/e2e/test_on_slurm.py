"""The tiny campaign on a real Slurm, pre-training as two ranks on two nodes: the same digests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.kills import Quiet
from tests.e2e.tiny import digests, events, finish, start
from tests.slurm.cluster import Cluster
from tests.slurm.sites import write_site

ROOT = str(Path(__file__).parents[2])


@pytest.mark.slow
@pytest.mark.slurm
def test_a_cluster_changes_no_digest(slurm: Cluster, undisturbed: Quiet, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    site = write_site(tmp_path)
    text = finish(start(folder, "--site", str(site), PYTHONPATH=ROOT), folder)
    assert "pre-training         1/1 done" in text
    assert digests(folder) == undisturbed.digests
    (trained,) = (folder / "workspace" / "parts" / "pretrain").glob("*/manifest.json")
    assert json.loads(trained.read_text())["metadata"]["world_size"] == 2
    ended = [row for row in events(folder) if row["event"] == "block_ended"]
    ranks = [row for row in ended if row["pool"] == "mpi"]
    assert [row["nodes"] for row in ranks] == [2]
    assert {row["pool"] for row in ended} == {"cpu", "mpi"}
    (said,) = [row for row in events(folder) if row["event"] == "predicted"]
    shares = {stage["stage"]: stage["share"] for stage in said["stages"]}
    assert shares["pretrain"] == 2.0, "both nodes of its block"
    assert shares["finetune"] == 1.0, "a node has one worker"
    assert not [job for job in slurm.jobs() if job.state in {"PENDING", "RUNNING"}]
