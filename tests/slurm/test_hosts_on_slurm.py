"""Hosts on a real Slurm: one that eats tasks is left out; a task that kills its workers is not
held against any."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from campaign.execution.driver import Ending
from campaign.execution.losses import FEWEST_EATEN, MAX_HOSTS
from campaign.execution.squeue import hosts_in
from campaign.left_out import LeftOut, hosts_left_out, leave_out
from campaign.workspace import Workspace
from tests.slurm.cluster import Cluster
from tests.slurm.sites import write_site
from tests.slurm.test_driver_on_slurm import part, rows, run, workspace

pytestmark = pytest.mark.slurm

__all__ = ["workspace"]

BAD = "n2"


def campaign_with_a_bad_host(
    workspace: Workspace, blocks: int, **settings: Any
) -> tuple[Ending, Path]:
    """Enough tasks to see the bad host for what it is, and work for it to be left out of."""
    site = write_site(workspace.root, blocks=blocks, exclusive=True)
    parts = [part(n, seconds=1.0, does="die", on=BAD, **settings) for n in range(40)]
    return run(parts, workspace, site), site


def scripts(workspace: Workspace) -> dict[str, str]:
    """Batch scripts by the job that they became."""
    logs = {row["job"]: Path(row["log"]) for row in rows(workspace, "block_submitted")}
    return {job: log.with_suffix("").read_text() for job, log in logs.items()}


@pytest.mark.timeout(240)
def test_a_host_that_eats_tasks_is_left_out_and_the_campaign_completes(
    slurm: Cluster, workspace: Workspace
) -> None:
    ending, site = campaign_with_a_bad_host(workspace, blocks=3)
    assert ending.complete, "nothing was given up for what the host did"
    (told,) = rows(workspace, "host_left_out")
    assert told["host"] == BAD
    assert told["avoided"]
    assert len(set(told["tasks"])) >= FEWEST_EATEN
    lost = [row for row in rows(workspace, "result") if row.get("with_block") is False]
    assert {row["host"] for row in lost} == {BAD}, "hosts go by the scheduler's names"
    jobs = {row["job"] for row in lost}
    assert told["given_up"] == sorted(jobs), "its block was given up"
    ended = {row["job"]: row for row in rows(workspace, "block_ended")}
    assert all(BAD in ended[job]["reason"] for job in jobs)
    after = [r for r in rows(workspace, "block_submitted") if r["unix"] > told["unix"]]
    assert after, "another block took its place"
    for row in after:
        assert row["without"] == [BAD]
        assert f"#SBATCH --exclude={BAD}\n" in scripts(workspace)[row["job"]]
        assert slurm.job(row["job"]).nodes != (BAD,)
    assert [entry.host for entry in hosts_left_out(workspace)] == [BAD]

    again = run([part(n, seconds=0.1) for n in range(100, 104)], workspace, site)
    assert again.complete
    assert rows(workspace, "block_submitted")[-1]["without"] == [BAD], "later launches heed it"
    assert len(rows(workspace, "host_left_out")) == 1


@pytest.mark.timeout(240)
def test_a_task_that_kills_its_worker_everywhere_is_quarantined_after_the_stated_hosts(
    slurm: Cluster, workspace: Workspace
) -> None:
    site = write_site(workspace.root, blocks=4, exclusive=True)
    deadly = part(0, does="die")
    ending = run([deadly, *(part(n, seconds=0.7) for n in range(1, 40))], workspace, site)
    (entry,) = ending.quarantined
    assert (entry.label, entry.cause) == (deadly.label, "lost")
    lost = [row for row in rows(workspace, "result") if row["outcome"] == "lost"]
    assert {row["label"] for row in lost} == {deadly.label}
    counts = Counter(row["host"] for row in lost)
    assert len(counts) == MAX_HOSTS
    for host, times in counts.items():
        assert f"{host} ({times} time" in entry.message
    assert not rows(workspace, "host_left_out")


@pytest.mark.timeout(240)
def test_a_host_where_no_block_comes_up_is_left_out_while_others_work(
    slurm: Cluster, workspace: Workspace
) -> None:
    """It is free at once each time, and would be given us for ever."""
    slurm.ask("scontrol", "update", "nodename=n4", "state=drain", "reason=test")
    site = write_site(workspace.root, blocks=3, exclusive=True)
    broken = f'[ "$SLURMD_NODENAME" = {BAD} ] && exit 3'
    init = f"[pools.cpu]\nworker_init = '''{broken}\ntrue'''"
    site.write_text(site.read_text().replace("[pools.cpu]", init))
    ending = run([part(n, seconds=1.0) for n in range(40)], workspace, site)
    assert ending.complete
    (told,) = rows(workspace, "host_left_out")
    assert told["host"] == BAD
    ended = {row["job"]: row["state"] for row in rows(workspace, "block_ended")}
    asked = [row["without"] for row in rows(workspace, "block_submitted")]
    assert asked[-1] == [BAD]
    assert asked == sorted(asked), "once it is left out, it stays so"
    assert 3 <= list(ended.values()).count("failed") <= 5, "the driver looks twice a second"
    assert {row["outcome"] for row in rows(workspace, "result")} == {"done"}


def test_where_no_other_host_is_left_the_launch_goes_on_with_it_and_says_so_once(
    slurm: Cluster, workspace: Workspace
) -> None:
    site = write_site(workspace.root, blocks=1)
    without = 'max_blocks = 1\nscheduler_options = ["-x n1,n3,n4"]'
    site.write_text(site.read_text().replace("max_blocks = 1", without))
    leave_out(workspace, LeftOut(BAD, "private", "said by the test", 0.0))
    ending = run([part(n, seconds=0.1) for n in range(3)], workspace, site)
    assert ending.complete
    (told,) = rows(workspace, "hosts_needed")
    assert told["hosts"] == [BAD]
    (asked,) = rows(workspace, "block_submitted")
    assert asked["without"] == []
    assert slurm.job(asked["job"]).nodes == (BAD,)


@pytest.mark.parametrize("text", ["n1", "n[1-2]", "n[1-2,4]", "a[01-03,7],b,c[9-11]", "r1-[08-10]"])
def test_lists_of_hosts_are_read_as_slurm_reads_them(slurm: Cluster, text: str) -> None:
    assert hosts_in(text) == slurm.ask("scontrol", "show", "hostnames", text)
