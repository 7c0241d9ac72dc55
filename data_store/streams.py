"""Random numbers by path: each consumer names its stream; order and placement never matter.

``stream(seed, "sample", "methanol", 3)`` is the same generator on any worker, in any order. There
is no global seeding anywhere in the project. This is not a cryptographic generator.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np

__all__ = ["stream", "stream_seed"]


def _digest(seed: int, path: tuple[str | int, ...]) -> bytes:
    text = json.dumps([seed, *path], separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).digest()


def stream(seed: int, *path: str | int) -> np.random.Generator:
    """Generator (PCG64) that belongs to one seed and path.

    Parameters
    ----------
    seed : int
        The campaign's seed.
    *path : str or int
        Names and numbers that tell this stream from all others.
    """
    words = np.frombuffer(_digest(seed, path), dtype="<u4")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([int(w) for w in words])))


def stream_seed(seed: int, *path: str | int) -> int:
    """Seed in [0, 2**63) of the same path, for generators of other libraries (torch, OpenMM)."""
    return int.from_bytes(_digest(seed, path)[:8], "little") >> 1
