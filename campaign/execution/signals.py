"""SIGINT and SIGTERM turned into an event, so that a driver stops where it can stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["stopping_signals"]


@contextmanager
def stopping_signals() -> Iterator[threading.Event]:
    """Turn SIGINT and SIGTERM into an event, in the main thread; elsewhere it is never set."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
