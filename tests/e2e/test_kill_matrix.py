"""Kill everything that can be killed, with ``kill -9``; the results are those of a quiet run.

The kinds of kills are those of `tests.e2e.kills`. The short form makes one of each in one
campaign. The long form makes at least ten of each, in as many campaigns as it takes, and leaves a
summary (as JSON, in the file that ``KILL_MATRIX_SUMMARY`` names):

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

WANTED, AT_ONCE, MOST_CAMPAIGNS = 10, 3, 20
SEED = 3


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_kill_of_each_kind(undisturbed: Quiet, tmp_path: Path) -> None:
    folder, tallies = tmp_path / "killed", {name: Tally() for name in KINDS}
    output = hunt(folder, dict.fromkeys(KINDS, 1), undisturbed.spans, SEED, tallies)
    check(folder, undisturbed)
    assert {name: tally.hits for name, tally in tallies.items()} == dict.fromkeys(KINDS, 1)
    assert torn_commits(folder)
    assert "report.html" in output


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_ten_kills_of_each_kind(undisturbed: Quiet, tmp_path: Path) -> None:
    tallies = {name: Tally() for name in KINDS}
    began, campaigns, torn = time.monotonic(), 0, 0
    while wanted := _lacking(tallies):
        assert campaigns < MOST_CAMPAIGNS, f"some kinds are hardly ever hit: {tallies}"
        folder = tmp_path / f"killed-{campaigns}"
        hits = tallies["commit"].hits
        hunt(folder, wanted, undisturbed.spans, SEED, tallies)
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


def _lacking(tallies: dict[str, Tally]) -> dict[str, int]:
    lacking = {name: min(AT_ONCE, WANTED - tally.hits) for name, tally in tallies.items()}
    return {name: count for name, count in lacking.items() if count > 0}


def _summarise(summary: dict[str, Any]) -> None:
    """Write what was done so far: into the file, where one is named, and to the output."""
    text = json.dumps(summary, indent=1)
    if "KILL_MATRIX_SUMMARY" in os.environ:
        Path(os.environ["KILL_MATRIX_SUMMARY"]).write_text(text)
    print(text)
