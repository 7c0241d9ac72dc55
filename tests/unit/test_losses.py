"""Lost workers: when a task is given up, when a host is, and when neither."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaign.execution.losses import (
    FEWEST_EATEN,
    MAX_BLOCK_LOSSES,
    MAX_CHANCE,
    MAX_HOSTS,
    MAX_LOSSES,
    Eater,
    Losses,
)

HOSTS = tuple(f"n{number}" for number in range(1, 7))


class Cluster:
    """Losses where each host that is found to eat tasks is left out at once."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.eaters: list[Eater] = []
        self.losses = Losses(lambda: self.out, can_leave_out=True)

    def lost(self, task: str, host: str, stage: str = "label") -> str:
        said = self.losses.lost(task, stage, host)
        self.see()
        return said

    def answered(self, host: str, stage: str = "label", times: int = 1) -> None:
        for _ in range(times):
            self.losses.answered(stage, host)
            self.see()

    def see(self) -> None:
        found = list(self.losses.eaters())
        self.eaters += found
        self.out += [eater.host for eater in found]


@given(
    st.lists(st.sampled_from(HOSTS), min_size=MAX_BLOCK_LOSSES - 1, max_size=MAX_BLOCK_LOSSES - 1)
)
def test_losses_with_the_block_never_reach_the_cap_of_lost_workers(hosts: list[str]) -> None:
    losses = Losses(can_leave_out=True)
    assert not any(losses.lost("t", "label", host, with_block=True) for host in hosts)
    for _ in range(MAX_LOSSES - 1):  # and take none of the worker's away
        assert losses.lost("t", "label", "n1") == ""
    assert "n1" in losses.lost("t", "label", "n1")
    assert not list(losses.eaters()), "nor is a host held to it"


def test_a_task_lost_with_its_block_is_given_up_at_the_stated_number() -> None:
    losses = Losses()
    said = [losses.lost("t", "label", "n1", with_block=True) for _ in range(MAX_BLOCK_LOSSES)]
    assert [bool(words) for words in said] == [False] * (MAX_BLOCK_LOSSES - 1) + [True]
    assert f"{MAX_BLOCK_LOSSES} times" in said[-1]


@given(st.lists(st.sampled_from([*HOSTS[:3], "", ""]), max_size=40))
def test_a_task_is_given_up_at_exactly_the_stated_hosts_or_losses(hosts: list[str]) -> None:
    losses, counts = Losses(), dict.fromkeys([*HOSTS, ""], 0)
    for host in hosts:
        counts[host] += 1
        met = [name for name, times in counts.items() if name and times]
        due = len(met) >= MAX_HOSTS or max(counts.values()) >= MAX_LOSSES
        said = losses.lost("t", "label", host)
        assert bool(said) == due
        if due and host:
            assert all(f"{name} ({counts[name]} time" in said for name in met)
        elif due:
            assert f"{MAX_LOSSES} times, for none of which one host is to blame" in said
        if due:
            return


@given(st.permutations(HOSTS), st.integers(0, 3))
def test_tasks_that_kill_their_workers_put_out_no_row_of_hosts(hosts: list[str], more: int) -> None:
    """However hosts are met, each such task is held against one host at most."""
    cluster = Cluster()
    tasks = [f"deadly-{number}" for number in range(FEWEST_EATEN + more)]
    given_up = set()
    for place, host in enumerate(hosts):
        for task in tasks:
            if task not in given_up and cluster.lost(task, host):
                given_up.add(task)
        cluster.answered(hosts[place - 1], times=40)
    assert given_up == set(tasks)
    assert len(cluster.eaters) <= len(tasks) // FEWEST_EATEN


def test_a_host_that_eats_tasks_is_found_and_they_are_not_given_up() -> None:
    cluster = Cluster()
    for number in range(8):
        assert cluster.lost(f"t{number}", "n1") == ""
        cluster.answered("n2")
    assert cluster.out == ["n1"]
    assert len(cluster.eaters[0].tasks) >= FEWEST_EATEN
    assert "t0" in cluster.eaters[0].in_words
    for _ in range(MAX_BLOCK_LOSSES + 1):
        assert cluster.lost("t0", "n1") == "", "what it still eats says nothing of the task"
    assert cluster.lost("t0", "n2") == ""
    assert cluster.lost("t0", "n3") == "", "nor what it ate before"
    assert cluster.lost("t0", "n4") != ""


@pytest.mark.parametrize("innocent", ["answers in between", "too few", "one task", "no news"])
def test_what_does_not_make_an_eater(innocent: str) -> None:
    cluster = Cluster()
    for number in range(6):
        if innocent == "too few" and number >= FEWEST_EATEN - 1:
            break
        cluster.lost("t" if innocent == "one task" else f"t{number}", "n1")
        if innocent == "answers in between" and number % 2:
            cluster.answered("n1")
        if innocent != "no news":
            cluster.answered("n2", times=50)
    if innocent == "no news":  # what was answered before the run, or in another stage, is none
        cluster.answered("n2", stage="sample", times=50)
    assert not cluster.out


def test_a_stage_that_dies_everywhere_puts_out_no_host() -> None:
    cluster = Cluster()
    cluster.answered("n1", stage="sample", times=1000)
    tasks = iter(range(10_000))
    for _ in range(30):
        for host in HOSTS:
            cluster.lost(f"t{next(tasks)}", host)
    cluster.answered("n3")
    assert not cluster.out


def test_trouble_of_all_hosts_at_once_puts_out_none_when_it_is_over() -> None:
    cluster = Cluster()
    cluster.answered("n1", times=1000)
    for number in range(5 * len(HOSTS)):
        cluster.lost(f"t{number}", HOSTS[number % len(HOSTS)])
    for host in HOSTS:
        cluster.answered(host)
    assert not cluster.out


def test_two_hosts_that_eat_at_once_are_both_found() -> None:
    cluster = Cluster()
    for number in range(16):
        cluster.lost(f"a{number}", "n1")
        cluster.lost(f"b{number}", "n2")
        cluster.answered("n3", times=4)
    assert set(cluster.out) == {"n1", "n2"}


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(HOSTS), st.booleans()), min_size=200, max_size=400),
    st.integers(1, 9),
)
def test_every_host_found_passes_its_own_test(tries: list[tuple[str, bool]], several: int) -> None:
    """The evidence is what was asked for, whatever came before; and each host is told once."""
    cluster = Cluster()
    for number, (host, lost) in enumerate(tries):
        if lost or host == "n1":
            cluster.lost(f"t{number // several}", host)
        else:
            cluster.answered(host)
    assert len(set(cluster.out)) == len(cluster.out)
    for eater in cluster.eaters:
        share = (eater.lost_elsewhere + 1) / (eater.lost_elsewhere + eater.answered_elsewhere + 2)
        assert len(set(eater.tasks)) >= FEWEST_EATEN
        assert share ** len(eater.tasks) <= MAX_CHANCE


def test_where_hosts_cannot_be_left_out_every_loss_counts() -> None:
    losses = Losses()
    for number in range(20):
        losses.lost(f"t{number}", "label", "n1")
    said = [losses.lost("t", "label", "n1") for _ in range(MAX_LOSSES)]
    assert [bool(words) for words in said] == [False] * (MAX_LOSSES - 1) + [True]
