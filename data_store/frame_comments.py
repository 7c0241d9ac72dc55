"""What the comment lines of an extended xyz file say, without its atoms.

For what is known of a frame beside its labels: the channel of a reaction, how it was sampled. What
a frame does not say is None, and is told from a default.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from data_store.errors import InputError

__all__ = ["frame_comments"]


def frame_comments(path: Path, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Values of some keys in the comment line of each frame, None where a frame says nothing.

    Raises
    ------
    InputError
        If the file cannot be read, or is no extended xyz.
    """
    from ase.io.extxyz import key_val_str_to_dict

    try:
        with path.open(encoding="utf-8") as lines:
            said = [key_val_str_to_dict(comment) for comment in _comments(lines)]
    except (OSError, ValueError, StopIteration, RuntimeError) as error:
        raise InputError(
            f"{path} is not valid extended xyz: {error}", "write it anew with ASE"
        ) from error
    return [{key: frame.get(key) for key in keys} for frame in said]


def _comments(lines: TextIO) -> Iterator[str]:
    for count in lines:
        if count.strip():
            yield next(lines)
            for _ in islice(lines, int(count)):
                pass
