"""Renames on shared file systems, which lose replies.

A client that hears nothing asks again, and then hears of the rename that it asked for first: that
the source is gone, that the target exists, or an error of its own. So an error says little until
one has looked what lies at the target. Here a rename ends in one of three ways: what was to be
there is there, whoever put it there; the file system refuses, and nothing happened; or neither can
be told in time, which is a loss.

What is renamed lies beside its target from the start, so that a folder of parts may be a file
system of its own.
"""

from __future__ import annotations

import errno
import platform
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from data_store.errors import LostError, WorkspaceError
from data_store.manifests import MANIFEST, read_manifest
from data_store.visibility import SEEN_WITHIN_S, refresh

__all__ = ["put_in_place", "rename_surely"]

_THERE = {errno.EEXIST, errno.ENOTEMPTY}
"""Something lies at the target."""

_UNSURE = _THERE | {
    errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.ENOENT, errno.EBUSY,
    errno.EAGAIN, errno.EINTR,
}  # fmt: skip
"""Errors after which a rename may have happened, or may succeed when tried again."""

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 5.0


def rename_surely(
    rename: Callable[[], object],
    landed: Callable[[], bool],
    folder: Path,
    for_s: float | None = None,
) -> None:
    """Rename, and where that raises find out whether it happened all the same, or try again.

    Parameters
    ----------
    rename : callable
        The rename itself.
    landed : callable
        Whether what was to be at the target is there.
    folder : Path
        Of the target.
    for_s : float, optional
        How long; `SEEN_WITHIN_S` by default.

    Raises
    ------
    OSError
        If the file system refuses, or it cannot be told in time.
    """
    limit_s = SEEN_WITHIN_S if for_s is None else for_s
    until, wait_s = time.monotonic() + limit_s, _FIRST_WAIT_S
    while True:
        try:
            rename()
        except OSError as error:
            refresh(folder)
            if landed():
                return
            if error.errno not in _UNSURE or time.monotonic() >= until:
                raise
        else:
            return
        time.sleep(min(wait_s, max(0.0, until - time.monotonic())))
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


def put_in_place(aside: Path, target: Path, digest: str, for_s: float | None = None) -> bool:
    """Rename a finished part into its place; where the target exists already, discard ours.

    Parameters
    ----------
    aside : Path
        The part, sealed, beside its target.
    target : Path
    digest : str
        Of its content.
    for_s : float, optional
        How long a file system may take to say what lies at the target.

    Returns
    -------
    bool
        Whether it is ours that lies there, not that of another attempt of the same content.

    Raises
    ------
    WorkspaceError
        If something else lies there, or both are on different file systems.
    LostError
        If it cannot be told in time whether it is there; ours is left where it is.
    OSError
        If the file system refuses.
    """
    ours = _identity(aside)
    try:
        rename_surely(
            lambda: aside.rename(target), (target / MANIFEST).exists, target.parent, for_s
        )
    except OSError as error:
        if error.errno in _UNSURE - _THERE:
            # Ours may lie at the target though this host does not see it. To remove what it
            # remembers under the old name could remove the very same folder.
            raise LostError(
                f"{platform.node()} cannot tell whether {aside} was renamed to {target.name}: "
                f"{error.strerror}",
                "the file server does not answer, or the folder was taken away; it is tried again",
            ) from error
        shutil.rmtree(aside, ignore_errors=True)
        _refuse(error, aside, target)
        raise
    if ours == _identity(target):
        return True
    shutil.rmtree(aside, ignore_errors=True)
    _refuse_other(target, digest)
    return False


def _identity(folder: Path) -> tuple[int, int]:
    """What tells a folder from all others, under whatever name."""
    found = folder.stat()
    return found.st_dev, found.st_ino


def _refuse(error: OSError, aside: Path, target: Path) -> None:
    """Say what to do where that is known of an error."""
    if error.errno == errno.EXDEV:
        raise WorkspaceError(
            f"{aside.name} cannot be renamed to {target}, in the same folder, because these are on "
            "two file systems (EXDEV)",
            "overlay and union mounts say so: put the workspace, or its folder of parts, on a "
            "plain file system, and launch again",
        ) from error
    if error.errno in _THERE:
        raise WorkspaceError(
            f"{target}, where a part is to lie, is a folder without a manifest",
            "no launch leaves one behind: move it away and launch again",
        ) from error


def _refuse_other(target: Path, digest: str) -> None:
    """Refuse a part of another content than ours at its place."""
    there = read_manifest(target)
    if there["digest"] != digest:
        made = there["provenance"]
        raise WorkspaceError(
            f"{target} holds another content than was made now from the same inputs: digest "
            f"{there['digest']}, made on {made.get('host')} ({made.get('cpu')}), against {digest}, "
            f"made on {platform.node()}",
            "two attempts ran at once, on different processors or packages, or on more than one "
            "thread, and values agree within tolerances alone; else it is a fault. The one that is "
            "there stays, and launching again builds on it; to decide otherwise, move it away",
        )
