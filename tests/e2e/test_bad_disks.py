"""A disk that is full, or that may not be written: a launch says so, loses nothing, and goes on.

The disk is real: a small file system in memory, which only root may mount.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.kills import Quiet
from tests.e2e.tiny import digests, finish, report, start


def mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Path]:
    """Folder of a campaign whose workspace lies on a disk of 600 kB: room for its first parts."""
    folder = tmp_path / "tiny"
    workspace = folder / "workspace"
    workspace.mkdir(parents=True)
    if os.geteuid() != 0 or not mount("-t", "tmpfs", "-o", "size=600k", "tmpfs", str(workspace)):
        pytest.skip("only root may mount a file system, and not in every container")
    yield folder
    subprocess.run(["umount", "--lazy", str(workspace)], check=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_full_and_a_read_only_disk_lose_nothing(undisturbed: Quiet, campaign: Path) -> None:
    workspace = campaign / "workspace"
    full = finish(start(campaign), campaign, 3)
    assert "No space left" in full
    assert "launch again" in full
    assert "Traceback" not in full
    kept = digests(campaign)
    assert kept, "it was full before anything was made"
    assert not list(workspace.glob("parts/*/.*")), "a part that could not be written left pieces"

    assert mount("-o", "remount,size=64m", str(workspace))
    finish(start(campaign), campaign)
    made = digests(campaign)
    assert {path: made[path] for path in kept} == kept
    assert made == undisturbed.digests
    assert report(campaign)["comparisons"]

    assert mount("-o", "remount,ro", str(workspace))
    refused = finish(start(campaign), campaign, 3)
    assert "cannot write the workspace" in refused
    assert "Traceback" not in refused
    assert mount("-o", "remount,rw", str(workspace))
    finish(start(campaign), campaign)
    assert digests(campaign) == made
