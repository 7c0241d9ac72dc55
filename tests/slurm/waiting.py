"""Waiting for what another process does: polled until a deadline, never a fixed sleep."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 120.0
"""What every step of a cluster is given; on a loaded machine some take ten seconds and more."""


def wait_until(
    holds: Callable[[], bool],
    expected: str,
    found: Callable[[], object] = str,
    patience_s: float = PATIENCE_S,
) -> None:
    """Wait until something holds.

    Parameters
    ----------
    holds : callable
    expected : str
        What is waited for, in words.
    found : callable
        What is there instead, for the message.
    patience_s : float

    Raises
    ------
    TimeoutError
        If it does not hold in time.
    """
    deadline = time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {patience_s:.0f} s not yet {expected}; found: {found()}")
        time.sleep(0.05)
