"""Hosts of a launch: a verdict on one is kept, told and carried out as far as the site can."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from campaign.execution.blocks import BlockWatch
from campaign.execution.hosts import Hosts
from campaign.execution.losses import FEWEST_EATEN, MAX_HOSTS, MAX_LOSSES
from campaign.execution.tasks import Task
from campaign.ledger import Ledger, read_ledger
from campaign.left_out import hosts_left_out
from campaign.plan.items import planned_part
from campaign.sites.site import SITES, Site
from campaign.workspace import Workspace


def task(number: int, cores: int = 1) -> Task:
    part = planned_part("sample", f"toy {number}", {"n": number}, 0, function="a:b", cores=cores)
    return Task(f"sample-{number}", part, "a:b", ({},), 1, merges=True)


def site_of(scheduler: str, **head: Any) -> Site:
    pool = {"workers_per_node": 1} | ({} if scheduler == "local" else {"walltime": "1:00:00"})
    asked = {"site": {"name": "hawk", "scheduler": scheduler, **head}, "pools": {"cpu": pool}}
    return SITES[scheduler].model_validate(asked)


class Launch:
    """Hosts of a launch with three blocks: on n1, on n2, and on n1 and n3."""

    def __init__(self, workspace: Workspace, ledger: Ledger, site: Site) -> None:
        self.workspace = workspace
        self.watch = BlockWatch(ledger.write, "campaign-x")
        for job, hosts in (("1", "n1"), ("2", "n2"), ("3", "n[1,3]")):
            self.watch.submitted(job, "cpu", 1, 60.0)
            self.watch.seen(job, "running", 1.0, "", hosts)
        self.hosts = Hosts(workspace, site, ledger, self.watch)

    def eat(self) -> list[dict[str, Any]]:
        """Let n1 eat tasks until it would be known; what the ledger says of it."""
        for number in range(2 * FEWEST_EATEN):
            self.hosts.lost(task(number), "n1", with_block=False)
            for _ in range(4):
                self.hosts.answered(task(100), "n2")
        rows = read_ledger(self.workspace.ledger)
        return [row for row in rows if row["event"] == "host_left_out"]


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Callable[[Site], Launch]]:
    workspace = Workspace(tmp_path)
    workspace.prepare()
    with Ledger(workspace.ledger) as ledger:
        yield lambda site: Launch(workspace, ledger, site)


Launched = Callable[[Site], Launch]


def test_slurm_is_asked_for_blocks_without_it(launched: Launched) -> None:
    launch = launched(site_of("slurm"))
    (told,) = launch.eat()
    assert (told["host"], told["avoided"]) == ("n1", True)
    assert (told["given_up"], told["going_on"]) == (["1"], ["3"])
    assert "blocks 3 go on with it" in told["message"]
    assert [*launch.watch.left_out] == ["n1"]
    (entry,) = hosts_left_out(launch.workspace, "hawk")
    assert entry.message == told["message"]
    assert launch.hosts.left_out == [entry]
    launch.watch.cannot_do_without("cpu", ["n1"], "no other")
    assert [found.avoided for found in launch.hosts.left_out] == [False]


@pytest.mark.parametrize(
    "site", [site_of("pbs"), site_of("local"), site_of("slurm", python="mine:config")]
)
def test_what_cannot_be_left_out_is_told_all_the_same(launched: Launched, site: Site) -> None:
    launch = launched(site)
    (told,) = launch.eat()
    assert (told["avoided"], told["given_up"], told["going_on"]) == (False, [], ["1", "3"])
    assert not launch.watch.left_out
    (entry,) = launch.hosts.left_out
    assert "is used all the same" in entry.in_words


@pytest.mark.parametrize(
    ("scheduler", "hosts", "suspected"),
    [
        ("slurm", "n9", True),
        ("slurm", "n[8-9]", False),
        ("slurm", "", False),
        ("pbs", "n9", False),
    ],
)
def test_blocks_that_die_at_once_are_a_host_s_doing_when_another_gives_an_answer(
    launched: Launched, scheduler: str, hosts: str, suspected: bool
) -> None:
    launch = launched(site_of(scheduler))
    assert launch.hosts.blocks_died("cpu", hosts, ["4", "5", "6"]) == suspected
    assert [*launch.watch.left_out] == ([hosts] if suspected else [])
    launch.hosts.answered(task(0), hosts)
    assert not launch.hosts.left_out, "it may be as wrong everywhere"
    launch.hosts.answered(task(0), "n2")
    assert ["jobs 4, 5, 6" in entry.message for entry in launch.hosts.left_out] == [
        True
    ] * suspected
    assert [entry.host for entry in hosts_left_out(launch.workspace)] == [hosts] * suspected
    assert not launch.hosts.blocks_died("cpu", hosts, ["7", "8", "9"]), "known: it changed nothing"


def test_blocks_that_die_at_once_end_the_launch_where_no_other_runs(launched: Launched) -> None:
    launch = launched(site_of("slurm"))
    assert not launch.hosts.blocks_died("gpu", "n1", ["4", "5", "6"]), "cpu's say nothing of gpu's"
    for job in ("2", "3"):
        launch.watch.seen(job, "failed", 1.0)
    assert not launch.hosts.blocks_died("cpu", "n1", ["4", "5", "6"])
    assert not launch.watch.left_out


def test_a_task_on_several_nodes_is_held_against_none(launched: Launched) -> None:
    launch = launched(site_of("slurm"))
    wide = task(0, cores=2)
    said = [launch.hosts.lost(wide, f"n{n % 5}", with_block=False) for n in range(MAX_LOSSES)]
    assert [bool(words) for words in said] == [False] * (MAX_LOSSES - 1) + [True]
    assert MAX_HOSTS < 5
