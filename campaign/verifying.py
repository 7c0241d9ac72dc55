"""Whether the parts of a plan are still what was written: at a glance, or byte by byte.

A launch glances at every part that it would build on (the manifest can be read, all files have
their sizes), which costs a look at the folder; `campaign data verify` reads every byte. Nothing is
mended or moved here: a damaged part is named, and is made anew once a person has moved it away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from campaign.plan.build import Plan
from campaign.plan.items import PlannedPart
from campaign.plan.stages import STAGES
from campaign.workspace import Workspace
from data_store.errors import InputError, StoreError, unknown_name
from data_store.parts import glance_at_part, open_part, part_path, verify_part

__all__ = ["Damage", "Verification", "refuse_damaged", "verify"]

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
    damaged = tuple(_damaged(there, _verified))
    return Verification(len(there), len(asked) - len(there), damaged)


Located = tuple[PlannedPart, Path]


def _there(parts: Iterable[PlannedPart], workspace: Workspace) -> Iterator[Located]:
    """Parts whose folder is there, be it without a manifest."""
    for part in parts:
        path = part_path(workspace.parts, part.stage, part.fingerprint)
        if path.exists():
            yield part, path


def _damaged(there: Iterable[Located], check: Callable[[Path], list[str]]) -> Iterator[Damage]:
    for part, path in there:
        problems = check(path)
        if problems:
            yield Damage(part.stage, part.label, part.fingerprint, path, tuple(problems))


def _verified(path: Path) -> list[str]:
    try:
        return verify_part(open_part(path))
    except StoreError as error:
        return [f"manifest.json: {error.message}; {error.hint}"]


def refuse_damaged(plan: Plan, workspace: Workspace) -> None:
    """Glance at every part of the plan that is there.

    Raises
    ------
    InputError
        If one is damaged, or of a schema that cannot be read.
    """
    damaged = list(_damaged(_there(plan.parts, workspace), glance_at_part))
    if damaged:
        listed = "".join(f"\n  - {damage.in_words}" for damage in damaged[:_SHOWN])
        more = f"\n  and {len(damaged) - _SHOWN} more" if len(damaged) > _SHOWN else ""
        raise InputError(
            f"{len(damaged)} of the parts that this launch would use cannot be used:{listed}{more}",
            "`campaign data verify FOLDER` reads every byte and names all damage; then move these "
            "folders out of parts/ (nothing is deleted for you) and launch again: they are made "
            "anew",
        )
