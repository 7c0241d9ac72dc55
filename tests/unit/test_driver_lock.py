"""One driver to a workspace, on whatever host: refused while it lives, replaced when dead."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from campaign import driver_lock
from campaign.driver_lock import driver_of, held
from data_store.errors import InputError


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_lock, "BEAT_S", 0.2)


def say(root: Path, beat: int, host: str = "login7", **more: object) -> None:
    said = {"pid": 41, "host": host, "beat": beat, **more}
    aside = root / "aside.json"
    aside.write_text(json.dumps(said))
    aside.replace(root / "driver.json")


@contextmanager
def beating_elsewhere(root: Path) -> Iterator[None]:
    """A driver on another host, whose lock does not reach us."""
    ended = threading.Event()

    def beat() -> None:
        count = 0
        while not ended.wait(0.1):
            count += 1
            say(root, count)

    thread = threading.Thread(target=beat)
    say(root, 0)
    thread.start()
    yield
    ended.set()
    thread.join()


def test_a_driver_that_lives_on_another_host_keeps_us_out(tmp_path: Path) -> None:
    with (
        beating_elsewhere(tmp_path),
        pytest.raises(InputError, match="pid 41 on login7"),
        held(tmp_path),
    ):
        pass


@pytest.mark.parametrize("host", ["login7", platform.node()])
def test_one_that_died_without_a_word_is_replaced(tmp_path: Path, host: str) -> None:
    say(tmp_path, 12, host)
    with held(tmp_path):
        found = driver_of(tmp_path)
        assert found is not None
        assert (found["pid"], found["host"]) == (os.getpid(), platform.node())
    assert driver_of(tmp_path) is None


def test_one_that_said_goodbye_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_lock, "BEAT_S", 1000.0)
    say(tmp_path, 12, ended=True)
    with held(tmp_path):
        pass


def test_a_second_process_on_this_host_is_refused_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from campaign.driver_lock import held\n"
        "with held(Path(sys.argv[1])):\n    print('held', flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(InputError, match=rf"pid {other.pid} on"), held(tmp_path):
            pass
        other.communicate(b"\n")
    with held(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "[]", "{", '{"ended": true}'])
def test_what_is_no_word_of_a_driver_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "driver.json").write_text(text)
    assert driver_of(tmp_path) is None
