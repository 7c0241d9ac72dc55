"""What a site asks for against what a cluster has: everything that never fits is named."""

from __future__ import annotations

from typing import Any

import pytest

from campaign.sites.detect import Partition
from campaign.sites.partitions import misfits
from campaign.sites.site import BatchSite

HAD = Partition(
    name="standard", default=True, limit_s=4 * 3600, nodes=8, cpus=64, cores=32, memory_GB=256,
    gpus=2, kinds=1, shared=False, names_accounts=False, names_qos=False,
)  # fmt: skip


def site(**pool: Any) -> BatchSite:
    given = {"walltime": "4:00:00", "cores_per_node": 64, **pool}
    return BatchSite.model_validate(
        {"site": {"name": "s", "scheduler": "slurm"}, "pools": {"cpu": given}}
    )


@pytest.mark.parametrize(
    "pool", [{}, {"partition": "standard"}, {"nodes_per_block": 8, "gpus_per_node": 2}]
)
def test_what_fits_is_no_problem(pool: dict[str, Any]) -> None:
    assert list(misfits(site(**pool), [HAD])) == []


@pytest.mark.parametrize(
    ("pool", "key", "expected"),
    [
        ({"walltime": "4:01:00"}, "pools.cpu.walltime", "allows 04:00:00 at most"),
        ({"walltime": "2-00"}, "pools.cpu.walltime", "allows 04:00:00 at most"),
        ({"partition": "debug"}, "pools.cpu.partition", "standard"),
        ({"nodes_per_block": 9}, "pools.cpu.nodes_per_block", "has 8"),
        ({"cores_per_node": 65}, "pools.cpu.cores_per_node", "has 64"),
        ({"gpus_per_node": 3}, "pools.cpu.gpus_per_node", "has 2"),
    ],
)
def test_what_does_not_is_named_with_what_there_is(
    pool: dict[str, Any], key: str, expected: str
) -> None:
    (problem,) = misfits(site(**pool), [HAD])
    assert problem.key == key
    assert expected in problem.expected


def test_without_a_default_a_partition_must_be_named() -> None:
    other = Partition(**{**vars(HAD), "default": False})
    (problem,) = misfits(site(), [other])
    assert problem.key == "pools.cpu.partition"


def test_of_unlike_nodes_nothing_is_said_but_the_limit() -> None:
    unlike = Partition(**{**vars(HAD), "kinds": 2})
    pool = {"cores_per_node": 128, "gpus_per_node": 4, "walltime": "5:00:00"}
    (problem,) = misfits(site(**pool), [unlike])
    assert problem.key == "pools.cpu.walltime"


def test_no_limit_is_no_problem() -> None:
    endless = Partition(**{**vars(HAD), "limit_s": None})
    assert list(misfits(site(walltime="30-00"), [endless])) == []
