"""Whether the parts of a plan are still what was written: at a glance, or byte by byte.

`campaign data verify` reads every byte; a launch glances at every part that it would build on (the
manifest can be read, all files have their sizes: `campaign.glancing`). Nothing is mended or moved
here: a damaged part is named, and is made anew once a person has moved it away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from campaign.plan.build import Plan
from campaign.plan.items import PlannedPart
from campaign.plan.stages import STAGES
from campaign.workspace import Workspace
from data_store.errors import InputError, StoreError, unknown_name
from data_store.parts import open_part, part_path, verify_part

__all__ = ["Damage", "Verification", "refusal", "verify"]

_SHOWN = 10


@dataclass(frozen=True)
class Damage:
    """One damaged part.

    Parameters
    ----------
    stage, label, fingerprint : str
    path : Path
    problems : tuple of str
        File by file, in words.
    """

    stage: str
    label: str
    fingerprint: str
    path: Path
    problems: tuple[str, ...]

    @property
    def in_words(self) -> str:
        """Which part, where, and a line for each problem."""
        return f"{self.label} ({self.stage}) in {self.path}" + "".join(
            f"\n    {problem}" for problem in self.problems
        )


@dataclass(frozen=True)
class Verification:
    """What a verification found.

    Parameters
    ----------
    verified : int
        Parts that were read, the damaged ones included.
    absent : int
        Parts of the plan that are not made yet.
    damaged : tuple of Damage
    """

    verified: int
    absent: int
    damaged: tuple[Damage, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        damaged = [{**asdict(damage), "path": str(damage.path)} for damage in self.damaged]
        return {"verified": self.verified, "absent": self.absent, "damaged": damaged}


def verify(plan: Plan, workspace: Workspace, stage: str | None = None) -> Verification:
    """Compare every part of the plan that is there with its manifest, byte by byte.

    Parameters
    ----------
    plan : Plan
    workspace : Workspace
    stage : str, optional
        Only parts of this stage.

    Raises
    ------
    InputError
        If there is no such stage.
    """
    if stage is not None and stage not in STAGES:
        raise unknown_name("stage", stage, list(STAGES))
    asked = [part for part in plan.parts if stage in {None, part.stage}]
    there = list(_there(asked, workspace))
    damaged = tuple(_damaged(there))
    return Verification(len(there), len(asked) - len(there), damaged)


Located = tuple[PlannedPart, Path]


def _there(parts: Iterable[PlannedPart], workspace: Workspace) -> Iterator[Located]:
    """Parts whose folder is there, be it without a manifest."""
    for part in parts:
        path = part_path(workspace.parts, part.stage, part.fingerprint)
        if path.exists():
            yield part, path


def _damaged(there: Iterable[Located]) -> Iterator[Damage]:
    for part, path in there:
        problems = _verified(path)
        if problems:
            yield Damage(part.stage, part.label, part.fingerprint, path, tuple(problems))


def _verified(path: Path) -> list[str]:
    try:
        return verify_part(open_part(path))
    except StoreError as error:
        return [f"manifest.json: {error.message}; {error.hint}"]


def refusal(damaged: Sequence[Damage]) -> InputError:
    """What a launch that would use damaged parts says."""
    listed = "".join(f"\n  - {damage.in_words}" for damage in damaged[:_SHOWN])
    more = f"\n  and {len(damaged) - _SHOWN} more" if len(damaged) > _SHOWN else ""
    return InputError(
        f"{len(damaged)} of the parts that this launch would use cannot be used:{listed}{more}",
        "`campaign data verify FOLDER` reads every byte and names all damage; then move these "
        "folders out of parts/ (nothing is deleted for you) and launch again: they are made anew",
    )
