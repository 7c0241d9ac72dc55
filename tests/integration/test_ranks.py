"""However a rank ends, all ranks end, and the cause comes home classed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from apps.contract import Request
from apps.training.mpi import run_ranks


@pytest.mark.parametrize(
    ("does", "outcome"),
    [
        ("input", "failed_input"),
        ("workspace", "failed_workspace"),
        ("software", "failed_software"),
        ("killed", "lost"),
    ],
)
@pytest.mark.timeout(120)
def test_the_failure_of_one_rank_ends_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, outcome: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    req = Request(str(tmp_path), str(tmp_path), "pretrain", "f" * 64, {"does": does}, 0)
    began = time.monotonic()
    result = run_ranks(req, "tests.integration.failing_rank", 2)
    assert time.monotonic() - began < 60
    assert result.outcome == outcome
    if does != "killed":
        assert f"a {does} failure" in result.message
        assert "Traceback" in result.detail


def test_a_rank_that_can_leave_no_file_says_it_by_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    req = Request(str(tmp_path), str(tmp_path), "pretrain", "f" * 64, {"does": "workspace"}, 0)
    # As if the disk had taken no file: what the rank left is not looked for where it is.
    monkeypatch.setattr("apps.training.mpi.failure_file", lambda f, rank: f / f"nothing-{rank}")
    result = run_ranks(req, "tests.integration.failing_rank", 2)
    assert result.outcome == "failed_workspace"
    assert "could not write" in result.message


def test_ranks_that_never_start_show_why(tmp_path: Path) -> None:
    req = Request(str(tmp_path), str(tmp_path), "pretrain", "f" * 64, {}, 0)
    result = run_ranks(req, "apps.training.no_such_module", 2)
    assert result.outcome == "failed_software"
    assert "No module named apps.training.no_such_module" in result.message
