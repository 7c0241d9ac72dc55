"""Identity: a SHA-256 over canonical JSON.

What goes in is science (settings, seeds, the fingerprints of inputs), never resources, paths or
times; see the plan for what an item's identity consists of. Floats are written by ``repr``, the
shortest text that reads back equal, so that equal values give equal fingerprints on every platform.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from data_store.errors import InputError

__all__ = ["canonical_json", "file_digest", "fingerprint"]


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no white space, no NaN: one text for one value.

    Raises
    ------
    InputError
        If the value holds something that JSON cannot carry (NaN, infinity, an object).
    """
    try:
        return json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"not representable as canonical JSON: {error}") from error


def fingerprint(value: Any) -> str:
    """SHA-256 (64 hex digits) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes: the identity of something imported.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "check the path") from error
