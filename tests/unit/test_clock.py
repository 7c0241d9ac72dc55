"""The wall clock is written down and never counted on: it may be set while a campaign runs.

That a real launch survives a clock that jumps is shown in `tests/e2e/test_clock_jumps.py`.
"""

from __future__ import annotations

import ast
import multiprocessing.queues
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.contract import Request
from campaign.execution.even_clock import main
from data_store.errors import InputError

DAY_S = 86_400.0
ROOT = Path(__file__).parents[2]

WRITES_IT_DOWN = {
    "apps/checkup.py": "the clock of a node, which the doctor examines",
    "apps/runner.py": "since when a task is in flight, for people",
    "campaign/execution/blocks.py": "when a block was asked for, began and ended, for people",
    "campaign/execution/doctor.py": "the clock of this host, to compare a node's with",
    "campaign/execution/driver.py": "since when a part is in quarantine, for people",
    "campaign/execution/hosts.py": "since when a host is left out, for people",
    "campaign/ledger.py": "when an event was",
    "campaign/spending.py": "for how long a block has run so far, for people",
    "campaign/time_left.py": "until when the pace of a stage is taken, for people",
    "data_store/provenance.py": "when a part was made",
}
MAKES_UP_FOR_IT = {
    "apps/contract.py": "a deadline came from another host: it is turned into a monotonic one",
    "campaign/execution/even_clock.py": "Parsl's processes start by it and go on evenly",
    "campaign/execution/workers.py": "Parsl looks after its blocks by it: that is put right",
}


def request(deadline_unix: float | None) -> Request:
    asked = Request("parts", "work", "simulate", "f" * 64, {}, 0, deadline_unix=deadline_unix)
    return Request.from_json(asked.to_json())


@pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S])
def test_a_clock_that_is_set_moves_no_deadline(
    monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    unix, monotonic, unlimited = 1.8e9, 500.0, request(None)
    monkeypatch.setattr("apps.contract.time.time", lambda: unix)
    monkeypatch.setattr("apps.contract.time.monotonic", lambda: monotonic)
    limited = request(unix + 60.0)
    unix += jump_s
    assert not limited.out_of_time()
    monotonic += 59.0
    assert not limited.out_of_time()
    assert limited.out_of_time(margin_s=1.5)
    monotonic += 1.5
    assert limited.out_of_time()
    assert not unlimited.out_of_time()
    assert request(unix - 1.0).out_of_time()


def test_what_is_sent_is_the_deadline_alone() -> None:
    asked = request(2e9)
    assert asked.to_json()["deadline_unix"] == 2e9
    assert Request.from_json(asked.to_json()) == asked
    assert Request(**asked.to_json()) == asked


def wall_clock_reads(source: str) -> Iterator[int]:
    """Lines that ask what time it is, or when a file was written."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and (
            (node.attr in {"time", "time_ns"} and ast.unparse(node.value) == "time")
            or node.attr in {"now", "utcnow", "today", "st_mtime", "st_ctime", "st_mtime_ns"}
        ):
            yield node.lineno
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            yield node.lineno


@pytest.mark.parametrize(
    "source", ["import time\nx = time.time()", "from time import time", "datetime.now()",
               "path.stat().st_mtime"],
)  # fmt: skip
def test_a_read_of_the_wall_clock_is_seen(source: str) -> None:
    assert list(wall_clock_reads(source))
    assert not list(wall_clock_reads("import time\nx = time.monotonic(); time.sleep(1)"))


def test_nothing_but_records_reads_the_wall_clock() -> None:
    """Durations and decisions go by `time.monotonic`; a new reader has to say here what for."""
    readers = {
        path.relative_to(ROOT).as_posix()
        for package in ("campaign", "apps", "data_store")
        for path in (ROOT / package).rglob("*.py")
        if any(wall_clock_reads(path.read_text(encoding="utf-8")))
    }
    assert readers == {*WRITES_IT_DOWN, *MAKES_UP_FOR_IT}


def test_a_script_by_an_even_clock_does_not_see_the_clock_being_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "beats.py"
    script.write_text(
        "#!/usr/bin/env python\nimport sys, time\n"
        "before = time.time(); set_clock(); print(sys.argv[1:], time.time() - before)\n"
    )
    script.chmod(0o755)
    unix = 1.8e9

    def set_clock() -> None:
        nonlocal unix
        unix += DAY_S

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", [])
    monkeypatch.setattr("multiprocessing.queues.Queue", multiprocessing.queues.Queue)
    monkeypatch.setattr("builtins.set_clock", set_clock, raising=False)
    monkeypatch.setattr("time.time", lambda: unix)
    main(["beats.py", "--port=1"])
    assert unix == 1.8e9 + DAY_S
    arguments, passed = capsys.readouterr().out.rsplit(maxsplit=1)
    assert arguments == "['--port=1']"
    assert 0.0 <= float(passed) < 60.0
    with pytest.raises(InputError, match=r"nothing\.py is not on PATH"):
        main(["nothing.py"])


def test_the_clocks_are_the_ones_meant() -> None:
    assert time.get_clock_info("monotonic").monotonic
    assert not time.get_clock_info("time").monotonic
