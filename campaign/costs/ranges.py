"""`Range`: what is expected of a quantity, and between what it is thought to lie."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Range", "total"]


@dataclass(frozen=True)
class Range:
    """Low, expected, high, of a quantity that is not negative; in its unit.

    Raises
    ------
    ValueError
        If they are not in this order, or negative.
    """

    low: float
    expected: float
    high: float

    def __post_init__(self) -> None:
        """Refuse what is no range."""
        if not 0.0 <= self.low <= self.expected <= self.high:
            raise ValueError(f"expected 0 <= low <= expected <= high, got {self}")

    @staticmethod
    def about(expected: float, below: float, above: float) -> Range:
        """From `expected` divided by `below` to `expected` times `above`; both are at least 1."""
        return Range(expected / below, expected, expected * above)

    def __add__(self, other: Range) -> Range:
        """Both together, where they err to the same side."""
        return Range(self.low + other.low, self.expected + other.expected, self.high + other.high)

    def times(self, factor: float) -> Range:
        """So many times it."""
        return Range(self.low * factor, self.expected * factor, self.high * factor)

    def holds(self, value: float) -> bool:
        """Whether a value lies within."""
        return self.low <= value <= self.high

    def to_json(self) -> dict[str, float]:
        """Plain data, to six significant digits."""
        return {name: float(f"{getattr(self, name):.6g}") for name in ("low", "expected", "high")}


def total(ranges: Iterable[Range]) -> Range:
    """Sum of ranges that err to the same side: wider than chance alone would make it."""
    found = Range(0.0, 0.0, 0.0)
    for one in ranges:
        found = found + one
    return found
