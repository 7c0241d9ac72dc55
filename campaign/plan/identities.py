"""What is left out of identities, and files that are in them by their content.

Keys that came later than parts that are made stay out of identities while they say what was done
before; resources always do.
"""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path

from campaign.spec.model import CampaignSpec
from data_store.fingerprints import file_digest

__all__ = ["TRAINING_RESOURCES", "as_before", "brought", "start_file"]

_CAME_LATER = {
    "potential.prior": "none",
    "pretraining.scramble_labels": False,
}
"""Keys younger than parts that are made, with the value that says what was done before there were
such keys: with it they are left out of identities, which stay what they were."""

TRAINING_RESOURCES = (
    "ranks", "data_memory_MB", "checkpoint_every_s", "checkpoint_every_steps", "checkpoint_every",
)  # fmt: skip
"""Settings of trainings and dynamics that are resources, not science."""


def as_before(spec: CampaignSpec, table: str = "") -> tuple[str, ...]:
    """Dotted keys, from a table on, that say nothing but what was done before there were such."""
    return tuple(
        key.removeprefix(table)
        for key, value in _CAME_LATER.items()
        if key.startswith(table) and attrgetter(key)(spec) == value
    )


def brought(path: str | Path | None) -> tuple[Path, str] | None:
    """A file of the user's and the digest of its content; None where there is none."""
    return (Path(path), file_digest(Path(path))) if path is not None else None


def start_file(spec: CampaignSpec) -> dict[str, tuple[Path, str]]:
    """The weights file that all arms start from, where there is one."""
    found = brought(spec.potential.start_from)
    return {"start": found} if found else {}
