"""A site file from Slurm's answers: figures, choices, blanks; and any answer at all."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaign.sites.detect import Answers, partitions_of, records, site_file
from campaign.sites.layers import layered_site
from campaign.sites.site import BatchSite
from data_store.errors import InputError

NODE = (
    "NodeName={name} Arch=x86_64 CoresPerSocket={cores} CPUTot={cpus} CPUEfctv={cpus} "
    "AvailableFeatures=(null) Gres={gres} NodeAddr={name} OS=Linux 5.14.0 #1 SMP Mon Jan 1 2026 "
    "RealMemory={memory} AllocMem=0 Sockets=2 ThreadsPerCore={threads} Partitions={partitions} "
    "CfgTRES=cpu={cpus},mem={memory}M,billing={cpus}"
)
PARTITION = (
    "PartitionName={name} AllowGroups=ALL AllowAccounts={accounts} AllowQos=ALL Default={default} "
    "MaxNodes={most} MaxTime={limit} OverSubscribe={share} State=UP "
    "TRES=cpu=16,mem=8000M,node=2"
)


def node(name: str, partitions: str, **given: Any) -> str:
    base = {"cores": 32, "cpus": 128, "threads": 2, "memory": 257_000, "gres": "(null)"}
    return NODE.format(**{**base, **given}, name=name, partitions=partitions)


def partition(name: str, **given: Any) -> str:
    base = {
        "default": "NO", "most": "UNLIMITED", "limit": "2-00:00:00", "share": "NO",
        "accounts": "ALL",
    }  # fmt: skip
    return PARTITION.format(**{**base, **given}, name=name)


def config(enforced: str = "none", mpi: str = "none") -> str:
    return (
        f"Configuration data as of 2026-11-24T10:00:00\nAccountingStorageEnforce = {enforced}\n"
        f"ClusterName             = hawk\nMpiDefault              = {mpi}\n"
    )


CLUSTER = Answers(
    sinfo="short|up\nlong|up\nold|down\nvolta|up\nblink|up\n",
    partitions="\n".join(
        [
            partition("short", default="YES", limit="04:00:00"),
            partition("long", share="FORCE:4"),
            partition("old"),
            partition("volta", limit="UNLIMITED", most="4"),
            partition("blink", limit="00:05:00"),
            partition("hidden"),
        ]
    ),
    nodes="\n".join(
        [
            *(node(f"c{i}", "short,long,blink") for i in range(20)),
            node("big", "long", memory=1_030_000, cpus=64, threads=1),
            *(node(f"g{i}", "volta", gres="gpu:v100:4(S:0-1),nvme:1") for i in range(6)),
            node("g9", "volta", gres="gpu:2", memory=190_000, cpus=80),
            node("c99", "old"),
        ]
    ),
    config=config("associations,limits,qos"),
)


def pools_of(answers: Answers) -> dict[str, Any]:
    pools: dict[str, Any] = tomllib.loads(site_file("hawk", answers, "2026-11-24"))["pools"]
    return pools


def test_partitions_are_told_by_what_each_of_their_nodes_has() -> None:
    found = {partition.name: partition for partition in partitions_of(CLUSTER)}
    assert list(found) == ["short", "volta", "long"], "the default, then by how long jobs may be"
    assert (found["short"].nodes, found["short"].cores, found["short"].cpus) == (20, 64, 128)
    assert (found["short"].memory_GB, found["short"].limit_s) == (250, 4 * 3600)
    assert (found["long"].cpus, found["long"].cores, found["long"].kinds) == (64, 64, 2)
    assert found["long"].shared
    volta = found["volta"]
    assert (volta.gpus, volta.memory_GB, volta.cpus, volta.limit_s) == (2, 185, 80, None)
    assert volta.nodes == 4, "no more than a job may have"


def test_pools_are_chosen_by_what_they_need() -> None:
    pools = pools_of(CLUSTER)
    assert pools["cpu"]["partition"] == "short"
    assert pools["cpu"]["walltime"] == "04:00:00"
    assert (pools["cpu"]["cores_per_node"], pools["cpu"]["workers_per_node"]) == (128, 64)
    assert (pools["gpu"]["partition"], pools["gpu"]["gpus_per_node"]) == ("volta", 2)
    assert pools["gpu"]["walltime"] == "24:00:00", "no limit is a day"
    assert (pools["mpi"]["partition"], pools["mpi"]["ranks_per_node"]) == ("volta", 2)
    assert pools["mpi"]["launcher_options"] == "--mpi=pmi2 --overlap"


@pytest.mark.parametrize(
    ("enforced", "blank"),
    [
        ("none", []),
        ("(null)", []),
        ("associations", ["account"]),
        ("limits,qos", ["account", "qos"]),
    ],
)
def test_what_slurm_does_not_tell_is_a_blank(
    tmp_path: Path, enforced: str, blank: list[str]
) -> None:
    answers = Answers(CLUSTER.sinfo, CLUSTER.partitions, CLUSTER.nodes, config(enforced))
    path = tmp_path / "hawk.toml"
    path.write_text(site_file("hawk", answers))
    layered = layered_site(str(path))
    assert layered.blanks == [f"pools.{pool}.{key}" for pool in layered.site.pools for key in blank]
    assert layered.site.site.source == "sinfo and scontrol of cluster hawk"
    assert layered.site.site.source_date
    assert not layered.site.site.tested


def test_a_partition_for_some_accounts_wants_one_where_none_are_enforced() -> None:
    answers = Answers("a|up", partition("a", accounts="x,y"), node("n", "a"), config())
    assert pools_of(answers)["cpu"]["account"] == "<account>"


def test_one_node_without_gpus_has_one_pool_and_a_shared_one_is_not_asked_for_whole() -> None:
    answers = Answers("a|up", partition("a", share="FORCE:2"), node("n", "a"), config(mpi="pmix"))
    pools = pools_of(answers)
    assert list(pools) == ["cpu"]
    assert pools["cpu"]["exclusive"] is False
    more = Answers(
        "a|up", partition("a"), node("n", "a") + "\n" + node("m", "a"), config(mpi="pmix")
    )
    assert pools_of(more)["mpi"]["launcher_options"] == "--overlap"


def test_no_partition_is_refused() -> None:
    for answers in (Answers("", "", "", ""), Answers("blink|up", CLUSTER.partitions, "", "")):
        with pytest.raises(InputError, match="no partition"):
            site_file("hawk", answers)


def test_records_on_several_lines_are_the_same() -> None:
    line = node("c1", "short")
    assert records(line.replace(" CPUTot", "\n   CPUTot")) == records(line)
    (found,) = records(line)
    assert found["OS"] == "Linux 5.14.0 #1 SMP Mon Jan 1 2026"
    assert found["CfgTRES"].startswith("cpu=128,mem=")


keys = st.text("ABxyz", min_size=1, max_size=6)
words = st.lists(st.text("a1:,.()/-", min_size=1, max_size=6), min_size=1, max_size=3).map(" ".join)


@settings(deadline=None)
@given(st.lists(st.dictionaries(keys, words, max_size=6), max_size=4))
def test_records_are_read_as_they_were_written(written: list[dict[str, str]]) -> None:
    written = [{"NodeName": f"n{number}", **fields} for number, fields in enumerate(written)]
    text = "\n".join(" ".join(f"{k}={v}" for k, v in fields.items()) for fields in written)
    assert records(text) == written


names = st.text("ab0_-", min_size=1, max_size=6)
numbers = st.integers(0, 10**7)


@st.composite
def clusters(draw: st.DrawFn) -> Answers:
    partitions = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    limits = st.sampled_from(["UNLIMITED", "00:30:00", "7-00:00:00", "nonsense", "5", ""])
    gres = st.sampled_from(["(null)", "gpu", "gpu:4", "gpu:a:2,gpu:b:1(S:0)", "nvme:1", "gpu:x"])
    nodes = [
        node(
            f"n{number}", ",".join(draw(st.sets(st.sampled_from(partitions)))),
            memory=draw(numbers), cpus=draw(numbers), threads=draw(st.integers(0, 4)),
            gres=draw(gres),
        )
        for number in range(draw(st.integers(0, 5)))
    ]  # fmt: skip
    told = [
        partition(name, limit=draw(limits), most=draw(st.sampled_from(["UNLIMITED", "1", "0"])))
        for name in partitions
    ]
    enforced = draw(st.sampled_from(["none", "associations", "qos", "all"]))
    up = "\n".join(f"{name}|up" for name in partitions)
    return Answers(up, "\n".join(told), "\n".join(nodes), config(enforced))


def reads_or_is_refused(answers: Answers) -> None:
    if not partitions_of(answers):
        with pytest.raises(InputError, match="no partition"):
            site_file("x", answers)
        return
    text = site_file("x", answers)
    site = BatchSite.model_validate(tomllib.loads(text))
    for name, pool in site.pools.items():
        assert site.drain_s(pool) > 0
        assert bool(pool.gpus_per_node) == (name == "gpu") or name == "mpi"


@settings(deadline=None)
@given(clusters())
def test_what_is_written_reads_back(answers: Answers) -> None:
    reads_or_is_refused(answers)


@settings(deadline=None)
@given(st.builds(Answers, *[st.text(max_size=40)] * 4))
def test_any_answer_gives_a_site_or_is_refused(answers: Answers) -> None:
    reads_or_is_refused(answers)
