"""The ledger's promise: a row is on disk before what it tells of is seen, in the order written."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaign.ledger import Ledger, read_ledger
from data_store.errors import WorkspaceError

Syncs = list[list[str]]


@pytest.fixture
def syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Syncs:
    """What the ledger held at each sync."""
    found: Syncs = []
    monkeypatch.setattr("os.fsync", lambda handle: found.append(told(tmp_path / "ledger.jsonl")))
    return found


def told(path: Path) -> list[str]:
    return [row["event"] for row in read_ledger(path)]


def test_a_row_is_synced_when_it_is_written(tmp_path: Path, syncs: Syncs) -> None:
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        ledger.write("one")
        assert syncs == [["one"]]
        ledger.write("two")
    assert syncs == [["one"], ["one", "two"]]


def test_rows_of_one_pass_are_synced_once_and_before_what_comes_after(
    tmp_path: Path, syncs: Syncs
) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        with ledger.together():
            for number in range(500):
                ledger.write(f"{number}")
            assert told(path) == []
        assert syncs == [[f"{number}" for number in range(500)]]
        with ledger.together():
            pass
        assert len(syncs) == 1, "nothing to sync"
        with ledger.together():
            ledger.write("result")
            ledger.sync()
            assert told(path)[-1] == "result", "what is acted upon inside can be made sure of"


def test_rows_of_a_pass_that_breaks_off_are_kept(tmp_path: Path, syncs: Syncs) -> None:
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        with suppress(KeyError), ledger.together():
            ledger.write("before")
            raise KeyError
        assert syncs == [["before"]]
        ledger.write("after")
        assert syncs[-1] == ["before", "after"], "it gathers no more"


def test_what_another_thread_writes_meanwhile_waits_for_nobody(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger, ledger.together():
        ledger.write("mine")
        other = threading.Thread(target=lambda: ledger.write("block_started"))
        other.start()
        other.join()
        assert told(path) == ["mine", "block_started"], "in the order in which they were written"


@settings(deadline=None, max_examples=25)  # it syncs a disk
@given(groups=st.lists(st.integers(0, 4), max_size=8), threads=st.integers(1, 3))
def test_every_row_of_every_thread_is_there_once_and_in_its_order(
    tmp_path_factory: pytest.TempPathFactory, groups: list[int], threads: int
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    with Ledger(path) as ledger:

        def from_blocks(name: int) -> None:
            for number in range(6):
                ledger.write("block", thread=name, number=number)

        others = [threading.Thread(target=from_blocks, args=(n,)) for n in range(threads)]
        for other in others:
            other.start()
        for group, size in enumerate(groups):
            with ledger.together():
                for number in range(size):
                    ledger.write("driver", number=(group, number))
        for other in others:
            other.join()
    rows = list(read_ledger(path))
    mine = [tuple(row["number"]) for row in rows if row["event"] == "driver"]
    assert mine == [(group, n) for group, size in enumerate(groups) for n in range(size)]
    for name in range(threads):
        assert [r["number"] for r in rows if r.get("thread") == name] == list(range(6))


VICTIM = """
import os, sys
from pathlib import Path
from campaign.ledger import Ledger
with Ledger(Path(sys.argv[1])) as ledger:
    number = 0
    while True:
        with ledger.together():
            for _ in range(7):
                ledger.write("row", number=number)
                number += 1
        os.write(1, f"{number}\\n".encode())
"""


def test_all_rows_up_to_the_last_pass_that_was_answered_outlive_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(path)], stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert process.stdout is not None
    for _ in range(20):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    answered = [int(line) for line in process.stdout.read().split()]
    process.wait()
    process.stdout.close()
    with Ledger(path) as ledger:
        ledger.write("next")
    rows = [row for row in read_ledger(path) if row["event"] == "row"]
    assert len(rows) >= (answered[-1] if answered else 20 * 7)
    assert [row["number"] for row in rows] == list(range(len(rows)))
    assert told(path)[-1] == "next"


def test_a_disk_that_fills_up_within_a_row_tears_that_row_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.write("one")
        whole = ledger._handle

        class Filling:
            """Takes some bytes, then none."""

            def write(self, data: bytes) -> int:
                if len(data) < 30:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return whole.write(data[:10])

        monkeypatch.setattr(ledger, "_handle", Filling())
        with pytest.raises(WorkspaceError, match="No space left"):
            ledger.write("torn", text="x" * 50)
        monkeypatch.setattr(ledger, "_handle", whole)
        ledger.write("two")
    assert told(path) == ["one", "unreadable", "two"]


def test_only_the_events_that_are_asked_for_are_read(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        for event in ("launched", "submitted", "block_started", "blocked", "result"):
            ledger.write(event, label='{"event": "block"}')
    with path.open("a") as handle:
        handle.write('{"event": "launched", "uni')
    asked = [row["event"] for row in read_ledger(path, ("block_started", "launched", "block"))]
    assert asked == ["launched", "block_started"]
    assert told(path) == [
        "launched", "submitted", "block_started", "blocked", "result", "unreadable"
    ]  # fmt: skip
