"""The compiled `messages.cpp`, for one number of features and of radial functions."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path

from apps.compiling import compiled_library

__all__ = ["library_for"]

_SOURCE = Path(__file__).with_name("messages.cpp")


@lru_cache(maxsize=8)
def library_for(features: int, radial: int) -> ctypes.CDLL:
    """Library for so many features and radial functions.

    Raises
    ------
    RuntimeError
        If there is no C++ compiler (``CXX``, or ``g++``), it fails, or the cache is not writable.
    """
    return compiled_library(_SOURCE, (f"FEATURES={features}", f"RADIAL={radial}"))
