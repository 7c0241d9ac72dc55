"""The ledger: an append-only JSONL file of what happened, written by who holds the workspace.

That is the driver, and `campaign retry` while there is none.

It is history, never truth: whether something is done is decided by its part. So a torn last line (a
driver that was killed while writing) is left where it is and skipped, counted, by the reader.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from data_store.errors import WorkspaceError

__all__ = ["Ledger", "read_ledger"]


class Ledger:
    """Open ledger of a running driver.

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
        try:
            # Unbuffered: what a full disk refuses must not wait to be written again on closing.
            self._handle = path.open("ab", buffering=0)
            if self._handle.tell() and not _ends_with_newline(path):
                self._handle.write(b"\n")
        except OSError as error:
            raise _refused(path, error) from error

    def write(self, event: str, **fields: Any) -> None:
        """Append one event with the time.

        Raises
        ------
        WorkspaceError
            If the file system refuses.
        """
        row = {"event": event, "unix": round(time.time(), 3), **fields}
        try:
            self._handle.write(json.dumps(row, default=str).encode() + b"\n")
            os.fsync(self._handle.fileno())
        except OSError as error:
            raise _refused(self.path, error) from error

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


def read_ledger(path: Path) -> Iterator[dict[str, Any]]:
    """Events in order; a line that is no JSON becomes an event ``unreadable``."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as handle:
        for line in handle:
            if not line.strip():
                continue
            try:
                yield json.loads(line)
            except ValueError:
                yield {"event": "unreadable", "text": line[:200]}
