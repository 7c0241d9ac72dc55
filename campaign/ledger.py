"""The ledger: an append-only JSONL file of what happened, written by who holds the workspace.

That is the driver, and `campaign retry` while there is none.

It is history, never truth: whether something is done is decided by its part. So a torn last line (a
driver that was killed while writing) is left where it is and skipped, counted, by the reader.

A row is on disk before anything that it tells of leaves the driver: before a task is handed to
workers, before a part is put in quarantine. Rows of what happens at once are gathered and synced
once (`Ledger.together`), in the order in which they were written; a kill before that takes rows of
what nobody has seen.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from data_store.errors import WorkspaceError

__all__ = ["Ledger", "read_ledger"]


class Ledger:
    """Open ledger of a running driver; threads may write to it at once.

    Parameters
    ----------
    path : Path
        Appended to; made where absent.

    Raises
    ------
    WorkspaceError
        If it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._rows: list[bytes] = []
        self._gathering: int | None = None
        try:
            # Unbuffered: what a full disk refuses must not wait to be written again on closing.
            self._handle = path.open("ab", buffering=0)
            self._torn = self._handle.tell() > 0 and not _ends_with_newline(path)
        except OSError as error:
            raise _refused(path, error) from error

    def write(self, event: str, **fields: Any) -> None:
        """Append one event with the time; it is on disk afterwards, but for `together`.

        Raises
        ------
        WorkspaceError
            If the file system refuses.
        """
        row = {"event": event, "unix": round(time.time(), 3), **fields}
        with self._lock:
            self._rows.append(json.dumps(row, default=str).encode() + b"\n")
            if self._gathering != threading.get_ident():
                self.sync()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Sync the rows that this thread writes inside once, on leaving; not to be nested.

        Raises
        ------
        WorkspaceError
            If the file system refuses.
        """
        self._gathering = threading.get_ident()
        try:
            yield
        finally:
            self._gathering = None
            self.sync()

    def sync(self) -> None:
        """Put on disk all that was written so far.

        Raises
        ------
        WorkspaceError
            If the file system refuses; rows that it refused are not tried again.
        """
        with self._lock:
            rows, self._rows = self._rows, []
            if not rows:
                return
            try:
                self._append(b"\n" * self._torn + b"".join(rows))
                os.fsync(self._handle.fileno())
            except OSError as error:
                raise _refused(self.path, error) from error

    def _append(self, data: bytes) -> None:
        """Write all of it: a disk that fills up takes a piece before it refuses."""
        self._torn = True
        while data:
            data = data[self._handle.write(data) :]
        self._torn = False

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handle.close()


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as handle:
        handle.seek(-1, os.SEEK_END)
        return handle.read(1) == b"\n"


def _refused(path: Path, error: OSError) -> WorkspaceError:
    return WorkspaceError(
        f"cannot write the ledger {path}: {error.strerror}",
        "free space or permissions are needed; finished work is kept, launch again after",
    )


def read_ledger(path: Path, events: Collection[str] = ()) -> Iterator[dict[str, Any]]:
    """Events in order; a line that is no JSON becomes an event ``unreadable``.

    Parameters
    ----------
    path : Path
    events : collection of str, optional
        Only these; lines of others are not parsed, which for a long ledger is most of the time.
    """
    if not path.exists():
        return
    wanted = tuple(f'{{"event": "{event}"' for event in events)
    with path.open(encoding="utf-8", errors="replace") as handle:
        for line in handle:
            if not line.strip() or (wanted and not line.startswith(wanted)):
                continue
            try:
                yield json.loads(line)
            except ValueError:
                if not wanted:
                    yield {"event": "unreadable", "text": line[:200]}
