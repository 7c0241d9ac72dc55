"""Files that another host made and this one does not see yet.

A shared file system keeps in each host's memory what is in a folder, and also what is not (NFS: up
to a minute, by ``acdirmax``; other file systems have the like). Opening the folder makes it ask the
server again. Nothing here decides what it means that a file stays out of sight.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from data_store.errors import LostError

__all__ = ["SEEN_WITHIN_S", "await_files", "is_seen", "refresh"]

SEEN_WITHIN_S = 90.0
"""How long a file that is there may stay out of sight: the minute of NFS, and half as much."""

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 2.0


def refresh(folder: Path) -> None:
    """Let this host ask the file server again what is in a folder."""
    with suppress(OSError), os.scandir(folder) as entries:
        next(entries, None)  # the first entry has all that is cached of it checked


def is_seen(path: Path) -> bool:
    """Whether a file is there, asked anew down from two folders above it where it seems not."""
    if _exists(path):
        return True
    refresh(path.parent.parent)
    refresh(path.parent)
    return _exists(path)


def _exists(path: Path) -> bool:
    with suppress(OSError):  # a stale handle, an error of the server: not seen
        return path.exists()
    return False


def await_files(paths: Iterable[Path], for_s: float | None = None) -> None:
    """Wait for files that were made on another host until this one sees them.

    Parameters
    ----------
    paths : iterable of Path
    for_s : float, optional
        For how long in all; `SEEN_WITHIN_S` by default.

    Raises
    ------
    LostError
        If one stays out of sight.
    """
    limit_s = SEEN_WITHIN_S if for_s is None else for_s
    until, wait_s = time.monotonic() + limit_s, _FIRST_WAIT_S
    for path in paths:
        while not is_seen(path):
            if time.monotonic() >= until:
                raise LostError(
                    f"{path} was made, and {platform.node()} does not see it after {limit_s:g} s",
                    "either the file system shows late what other hosts write (attribute caching), "
                    "or another one lies at this path there: `campaign doctor` tells",
                )
            time.sleep(min(wait_s, max(0.0, until - time.monotonic())))
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
