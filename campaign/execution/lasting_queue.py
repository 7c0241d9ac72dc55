"""A queue between processes that outlives a reader killed while it waits.

The workers of one block take their tasks from one queue of `multiprocessing`, and the one that
waits in front holds the queue's lock, a semaphore that nobody gives back if that worker is killed:
it is then held for ever, no worker of the block gets a task again, and Parsl notices nothing,
because a dead worker is replaced and the block answers. A worker without a task is as likely to be
killed as any, by the kernel for want of memory or by a person. So Parsl's processes get queues
whose locks the kernel takes back from the dead.

What is left is a worker killed in the microseconds between taking a task and noting that it has it.
"""

from __future__ import annotations

import fcntl
import multiprocessing.queues
import os
import tempfile
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.context import BaseContext
from pathlib import Path

__all__ = ["KernelLock", "LastingQueue"]

_LONGEST_WAIT_S = 0.02
"""Between two looks at a lock that another process holds; the first comes after a millisecond."""


class KernelLock:
    """A lock between processes that is free when its holder is dead, however it died.

    An advisory lock of an empty file (``flock``), which each process opens for itself: one thread
    of a process may use it. The process that makes it removes the file at its end.

    Parameters
    ----------
    path : str, optional
        The file of a lock that another process has made.
    """

    def __init__(self, path: str | None = None) -> None:
        if path is None:
            opened, path = tempfile.mkstemp(prefix="campaign-lock-")
            os.close(opened)
            weakref.finalize(self, Path(path).unlink, missing_ok=True)
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._file)

    def __reduce__(self) -> tuple[Callable[[str], KernelLock], tuple[str]]:
        """By its path: a child opens the file anew."""
        return KernelLock, (self._path,)

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take the lock, within some time if one is given; whether it is taken."""
        deadline = time.monotonic() + (timeout if timeout is not None else float("inf"))
        wait_s = 0.001
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            left_s = deadline - time.monotonic()
            if not block or left_s <= 0.0:
                return False
            time.sleep(min(wait_s, left_s))
            wait_s = min(2.0 * wait_s, _LONGEST_WAIT_S)

    def release(self) -> None:
        """Give the lock back."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exception: object) -> None:
        self.release()


class LastingQueue(multiprocessing.queues.Queue):  # type: ignore[type-arg]
    """`multiprocessing.Queue` with locks that the kernel takes back from the dead."""

    def __init__(self, maxsize: int = 0, *, ctx: BaseContext) -> None:
        super().__init__(maxsize, ctx=ctx)
        # Before the feeding thread starts, which it does with the first item.
        self._rlock = KernelLock()
        self._wlock = KernelLock()
