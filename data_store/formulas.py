"""Names of compositions."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["hill_formula"]


def hill_formula(counts: Mapping[str, int]) -> str:
    """Formula in Hill order (with carbon: C, H, then the rest by symbol; else all by symbol).

    Hill 1900, doi:10.1021/ja02046a005.
    """
    first = [symbol for symbol in ("C", "H") if counts.get(symbol)] if counts.get("C") else []
    order = first + sorted(symbol for symbol in counts if symbol not in first)
    return "".join(s + (str(counts[s]) if counts[s] > 1 else "") for s in order if counts[s])
