"""The lock of a workspace's driver, on whatever host that runs.

Two guards. A POSIX lock keeps a second driver out at once; it belongs to the process, and its death
frees it. But on some shared file systems locks do not reach other hosts, and say nothing about it:
so the holder also lets a file beat, and who finds another host's beats watches whether they go on.
Only the change of the beat counts, never its time: clocks of two hosts need not agree.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from data_store.errors import InputError, WorkspaceError
from data_store.work import write_atomic

__all__ = ["driver_of", "held", "is_at_work"]

BEAT_S = 5.0
"""How often a living driver says so."""

PATIENCE_BEATS = 4
"""Beats that another host's driver may miss; a shared file system may show them late."""


def driver_of(root: Path) -> dict[str, Any] | None:
    """Who holds the workspace, or held it and did not say that it ended: host and pid."""
    try:
        found = json.loads((root / "driver.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and not found.get("ended") else None


def is_at_work(root: Path) -> bool:
    """Whether a driver holds the workspace, as far as can be seen from here.

    One on this host is looked for; what another host's file says is believed.
    """
    holder = driver_of(root)
    if holder is None or holder["host"] != platform.node():
        return holder is not None
    return Path(f"/proc/{holder['pid']}").exists() if Path("/proc/self").exists() else True


@contextmanager
def held(root: Path) -> Iterator[None]:
    """Hold a workspace as its only driver.

    Raises
    ------
    InputError
        If another driver holds it, saying where it runs.
    WorkspaceError
        If the lock cannot be written.
    """
    path = root / "driver.lock"
    try:
        handle = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise WorkspaceError(f"cannot write {path}: {error.strerror}") from error
    with handle:
        try:
            # A POSIX lock belongs to the process: no child inherits it, and death frees it.
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise _held_by(root, driver_of(root)) from error
        _refuse_living(root)
        with _beating(root):
            yield


def _held_by(root: Path, holder: dict[str, Any] | None) -> InputError:
    who = f"pid {holder['pid']} on {holder['host']}" if holder else "it has not said where"
    return InputError(
        f"another driver is at work in {root}: {who}",
        "wait for it or stop it; `campaign status` shows how far it is, `campaign cancel` stops it",
    )


def _refuse_living(root: Path) -> None:
    """Refuse where another host's driver goes on beating; one on this host had the lock."""
    before = driver_of(root)
    if before is None or before["host"] == platform.node():
        return
    deadline = time.monotonic() + PATIENCE_BEATS * BEAT_S
    while time.monotonic() < deadline:
        time.sleep(BEAT_S / 5)
        now = driver_of(root)
        if now is None:
            return
        if now != before:
            raise _held_by(root, now)


@contextmanager
def _beating(root: Path) -> Iterator[None]:
    ended = threading.Event()
    thread = threading.Thread(target=_beat, args=(root, ended), name="beat", daemon=True)
    _say(root, 0)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(WorkspaceError):  # it is for others' sake alone
            _say(root, -1, ended=True)


def _beat(root: Path, ended: threading.Event) -> None:
    count = 0
    while not ended.wait(BEAT_S):
        count += 1
        with suppress(WorkspaceError):  # a full disk is told by what needs the space
            _say(root, count)


def _say(root: Path, beat: int, *, ended: bool = False) -> None:
    said = {"pid": os.getpid(), "host": platform.node(), "beat": beat, "ended": ended}
    write_atomic(root / "driver.json", json.dumps(said).encode())
