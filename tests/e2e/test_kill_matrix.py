"""Kill everything that can be killed, with ``kill -9``; the results are those of a quiet run.

The kinds of kills are those of `tests.e2e.kills`. The short form makes one of each, the long form
at least ten, in as many campaigns as it takes: a kill is drawn to come while what it hits lasts in
a quiet campaign, and what goes on from a checkpoint ends sooner. The long form leaves a summary (as
JSON, in the file that ``KILL_MATRIX_SUMMARY`` names):

    python -m pytest -m long tests/e2e/test_kill_matrix.py

At the end of each campaign every part has the same digest as in a quiet one, the report says the
same, nothing that was finished was made again, and no process is left.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kills import KINDS, Quiet, Tally, check, hunt, torn_commits

SEED = 3


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_one_kill_of_each_kind(undisturbed: Quiet, tmp_path: Path) -> None:
    tallies = _hunted(undisturbed, tmp_path, each=1, at_once=1, most=4)
    assert {name: tally.hits for name, tally in tallies.items()} == dict.fromkeys(KINDS, 1)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_ten_kills_of_each_kind(undisturbed: Quiet, tmp_path: Path) -> None:
    tallies = _hunted(undisturbed, tmp_path, each=10, at_once=3, most=20)
    assert min(tally.hits for tally in tallies.values()) >= 10


def _hunted(
    undisturbed: Quiet, tmp_path: Path, each: int, at_once: int, most: int
) -> dict[str, Tally]:
    """Campaigns until there were so many kills of each kind; each ends as the quiet one."""
    tallies = {name: Tally() for name in KINDS}
    began, campaigns, torn = time.monotonic(), 0, 0
    while wanted := _lacking(tallies, each, at_once):
        assert campaigns < most, f"some kinds are hardly ever hit: {tallies}"
        folder = tmp_path / f"killed-{campaigns}"
        hits = tallies["commit"].hits
        assert "report.html" in hunt(folder, wanted, undisturbed.spans, SEED, tallies)
        check(folder, undisturbed)
        left = len(torn_commits(folder))
        assert left >= tallies["commit"].hits - hits
        campaigns, torn = campaigns + 1, torn + left
        _summarise({
            "seed": SEED, "campaigns": campaigns, "wall_s": round(time.monotonic() - began, 1),
            "kinds": {name: tally.to_json() for name, tally in tallies.items()},
            "parts_compared": campaigns * len(undisturbed.digests), "digests_equal": True,
            "torn_commits_left": torn, "spans_s": undisturbed.spans,
        })  # fmt: skip
    assert torn, "no commit was torn"
    return tallies


def _lacking(tallies: dict[str, Tally], each: int, at_once: int) -> dict[str, int]:
    lacking = {name: min(at_once, each - tally.hits) for name, tally in tallies.items()}
    return {name: count for name, count in lacking.items() if count > 0}


def _summarise(summary: dict[str, Any]) -> None:
    """Write what was done so far: into the file, where one is named, and to the output."""
    text = json.dumps(summary, indent=1)
    if "KILL_MATRIX_SUMMARY" in os.environ:
        Path(os.environ["KILL_MATRIX_SUMMARY"]).write_text(text)
    print(text)
