"""What a person may call a part: by its label, its stage, or the beginning of its fingerprint.

A label that fits is meant as it is, even where other labels begin with it. Which of several parts
is meant is for the caller to settle.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

__all__ = ["MIN_FINGERPRINT", "matching"]

MIN_FINGERPRINT = 4
"""Digits of a fingerprint that are too many to be hit by accident."""


class _Named(Protocol):
    @property
    def stage(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...


N = TypeVar("N", bound=_Named)


def matching(name: str, parts: Iterable[N]) -> list[N]:
    """Parts that go by a name, in their order; a task's ``stage-fingerprint`` is one too."""
    known = list(parts)
    labelled = [part for part in known if part.label == name]
    return labelled or [part for part in known if part.stage == name or _begins(name, part)]


def _begins(name: str, part: _Named) -> bool:
    digits = name.removeprefix(f"{part.stage}-")
    return len(digits) >= MIN_FINGERPRINT and part.fingerprint.startswith(digits)
