"""A campaign under a storm of a cluster's faults ends with the digests of a quiet one.

The short form throws each kind once. The long form throws four of each, 44 in all, in one campaign
after another, and says what it did (as JSON, in the file that ``FAULTS_SUMMARY`` names):

    python -m pytest -m long tests/e2e/test_faults_on_slurm.py

At the end of each campaign every part has the digest that it has in a quiet one on one machine, and
no process and no job is left.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.faults import FAULTS, Storm, nobody_left, order_of, weather
from tests.e2e.kills import Quiet
from tests.e2e.tiny import digests, events
from tests.slurm.cluster import Cluster
from tests.slurm.sites import write_site
from tests.slurm.waiting import wait_until

pytestmark = pytest.mark.slurm

SEED = 11
MOST_CAMPAIGNS = 25

Weathered = Callable[[int], None]


def weathered(
    slurm: Cluster, undisturbed: Quiet, folder: Path, each: int, most: int
) -> dict[str, int]:
    """Campaigns until every fault was thrown; how often each hit."""
    storm = Storm(order_of(list(FAULTS), each, SEED), SEED)
    site, began, campaigns = write_site(folder, walltime="1"), time.monotonic(), 0
    while storm.kinds:
        assert campaigns < most, f"left to be thrown: {storm.kinds}"
        at = folder / f"storm-{campaigns}"
        weather(slurm, at, site, storm)
        assert digests(at) == undisturbed.digests
        wait_until(lambda at=at: nobody_left(slurm, at), "nobody left", slurm.jobs)  # type: ignore[misc]
        quarantined = [row for row in events(at) if row["event"] == "quarantined"]
        assert not quarantined
        campaigns += 1
        _summarise(storm, campaigns, time.monotonic() - began, at)
    return dict(storm.hits)


def _summarise(storm: Storm, campaigns: int, wall_s: float, folder: Path) -> None:
    rows = events(folder)
    ended = [row["state"] for row in rows if row["event"] == "block_ended"]
    text = json.dumps(
        {
            "seed": storm.seed, "campaigns": campaigns, "wall_s": round(wall_s, 1),
            "hits": dict(storm.hits), "misses": storm.misses, "digests_equal": True,
            "blocks_of_the_last": {state: ended.count(state) for state in sorted(set(ended))},
        },
        indent=1,
    )  # fmt: skip
    if "FAULTS_SUMMARY" in os.environ:
        Path(os.environ["FAULTS_SUMMARY"]).write_text(text)
    print(text)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_each_fault_once(slurm: Cluster, undisturbed: Quiet, tmp_path: Path) -> None:
    assert weathered(slurm, undisturbed, tmp_path, 1, 6) == dict.fromkeys(FAULTS, 1)


@pytest.mark.long
@pytest.mark.timeout(5400)
def test_many_of_each_fault(slurm: Cluster, undisturbed: Quiet, tmp_path: Path) -> None:
    assert weathered(slurm, undisturbed, tmp_path, 4, MOST_CAMPAIGNS) == dict.fromkeys(FAULTS, 4)
