"""Whether an exception says that memory ran out, whoever raised it.

Python, numpy and torch each say it in their own way. Running out of memory is the machine's doing,
not the work's: who asked for too much at once asks for less, and what cannot be had is lost, to be
tried again, never a failure of the method.
"""

from __future__ import annotations

__all__ = ["ran_out_of_memory"]

_IN_WORDS = ("can't allocate memory", "not enough memory", "std::bad_alloc")
"""What torch's allocator of a host says, in a plain RuntimeError."""


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether that is what it says."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _IN_WORDS)
