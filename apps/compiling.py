"""C++ compiled where it runs: built once for each machine, kept in the user's cache.

A library is named by the digest of its source, the command, the compiler's version and what the
processor can do, so that machines of one home folder do not meet each other's. It knows nothing of
what the source is about.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["compiled_library"]

_FLAGS = (
    "-O3", "-march=native", "-std=c++17", "-fPIC", "-shared", "-fno-math-errno",
    "-fno-trapping-math", "-ffp-contract=fast",
)  # fmt: skip
_PATIENCE_S = 120.0


def compiled_library(source: Path, definitions: Sequence[str] = ()) -> ctypes.CDLL:
    """Library of one source file, with macros defined as ``NAME=VALUE``.

    Raises
    ------
    RuntimeError
        If there is no C++ compiler (``CXX``, or ``g++``), it fails, or the cache is not writable.
    """
    command = [os.environ.get("CXX", "g++"), *_FLAGS, *(f"-D{text}" for text in definitions)]
    try:
        path = _folder() / f"{source.stem}-{_digest(source, command)}.so"
        if not path.exists():
            _build(source, command, path)
        return ctypes.CDLL(str(path))
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{command[0]} failed: {error.stderr.strip()[-500:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(f"{source.name} is not compiled: {error}") from error


def _folder() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "campaign" / "native"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _digest(source: Path, command: list[str]) -> str:
    version = subprocess.run(
        [command[0], "--version"], check=True, capture_output=True, text=True, timeout=_PATIENCE_S
    ).stdout
    parts = (source.read_text(), *command, version, platform.machine(), _abilities())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _abilities() -> str:
    """What the processor says it can do; where nothing is said, its name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _build(source: Path, command: list[str], path: Path) -> None:
    """Compile beside and move into place, as others may be at it too."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".building-") as folder:
        made = Path(folder) / path.name
        subprocess.run(
            [*command, "-o", str(made), str(source)],
            check=True, capture_output=True, text=True, timeout=_PATIENCE_S,
        )  # fmt: skip
        made.replace(path)
