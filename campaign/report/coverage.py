"""What the student was shown: coverage of the teacher's structures.

Read block by block from the parts, of a number of structures that does not grow with the campaign:
where there are more, chunks are taken at even distances, and how many is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from campaign.coverage.blocks import blocks_of
from campaign.coverage.measures import Coverage, coverage_of
from campaign.report.inputs import ReportInputs
from data_store.molecules import Molecule
from data_store.parts import Part
from data_store.structure_parts import count_structures

__all__ = ["MOST_LOOKED_AT", "covered_in_words", "shown_to_the_student"]

MOST_LOOKED_AT = 200_000
"""Structures, some four seconds' work; whole chunks, one at least."""


def shown_to_the_student(parts: Sequence[Part], molecule: Molecule) -> Coverage:
    """Coverage of teacher structures, whose energies are above the relaxed minimum."""
    return coverage_of(blocks_of(_evenly(parts, MOST_LOOKED_AT)), molecule)


def _evenly(parts: Sequence[Part], most: int) -> list[Part]:
    """Parts at even distances that hold no more structures than `most`; one at least."""
    total = sum(count_structures(part) for part in parts)
    if total <= most:
        return list(parts)
    count = max(1, len(parts) * most // total)
    return [parts[place * len(parts) // count] for place in range(count)]


def covered_in_words(inputs: ReportInputs) -> dict[str, Any]:
    """What the page says beside figure and table."""
    looked_at = sum(tier.structures for tier in inputs.coverage.tiers.values()) if (
        inputs.coverage
    ) else 0  # fmt: skip
    return {
        "looked_at": looked_at,
        "structures": sum(inputs.teacher.get("structures", {}).values()),
        "dynamics": inputs.teacher.get("dynamics", []),
    }
