"""What frames of the teacher's dynamics are worth, as the chunks of a campaign say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from data_store.parts import Part

__all__ = ["dynamics_rows"]


def dynamics_rows(parts: Iterable[Part]) -> list[dict[str, float]]:
    """Frames of the teacher's dynamics, and what they are worth, summed over chunks."""
    found: dict[float, dict[str, float]] = defaultdict(lambda: {"frames": 0, "effective": 0.0})
    for part in parts:
        for row in part.metadata.get("thermal", []):
            found[row["temperature_K"]]["frames"] += row["frames"]
            found[row["temperature_K"]]["effective"] += row["effective"]
    return [{"temperature_K": t, **found[t]} for t in sorted(found)]
