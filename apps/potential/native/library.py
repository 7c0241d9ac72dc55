"""The compiled `messages.cpp`: built once for each machine, kept in the user's cache.

A library is named by the digest of its source, the command, the compiler's version and what the
processor can do, so that machines of one home folder do not meet each other's.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

__all__ = ["library_for"]

_SOURCE = Path(__file__).with_name("messages.cpp")
_FLAGS = (
    "-O3", "-march=native", "-std=c++17", "-fPIC", "-shared", "-fno-math-errno",
    "-fno-trapping-math", "-ffp-contract=fast",
)  # fmt: skip
_PATIENCE_S = 120.0


@lru_cache(maxsize=8)
def library_for(features: int, radial: int) -> ctypes.CDLL:
    """Library for so many features and radial functions.

    Raises
    ------
    RuntimeError
        If there is no C++ compiler (``CXX``, or ``g++``), it fails, or the cache is not writable.
    """
    command = [
        os.environ.get("CXX", "g++"),
        *_FLAGS,
        f"-DFEATURES={features}",
        f"-DRADIAL={radial}",
    ]
    try:
        path = _folder() / f"messages-{_digest(command)}.so"
        if not path.exists():
            _build(command, path)
        return ctypes.CDLL(str(path))
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{command[0]} failed: {error.stderr.strip()[-500:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(f"no compiled sums over pairs: {error}") from error


def _folder() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "campaign" / "native"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _digest(command: list[str]) -> str:
    version = subprocess.run(
        [command[0], "--version"], check=True, capture_output=True, text=True, timeout=_PATIENCE_S
    ).stdout
    parts = (_SOURCE.read_text(), *command, version, platform.machine(), _abilities())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _abilities() -> str:
    """What the processor says it can do; where nothing is said, its name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _build(command: list[str], path: Path) -> None:
    """Compile beside and move into place, as others may be at it too."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".building-") as folder:
        made = Path(folder) / path.name
        subprocess.run(
            [*command, "-o", str(made), str(_SOURCE)],
            check=True, capture_output=True, text=True, timeout=_PATIENCE_S,
        )  # fmt: skip
        made.replace(path)
