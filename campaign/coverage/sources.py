"""Where structures to look at come from: a part, a stage of a workspace, or a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from campaign.campaign import Campaign
from campaign.coverage.blocks import BLOCK, blocks_of
from campaign.coverage.dynamics import dynamics_rows
from campaign.plan.items import PlannedPart
from data_store.errors import InputError, unknown_name
from data_store.interchange.convention import Convention
from data_store.interchange.formats import format_of
from data_store.manifests import MANIFEST
from data_store.molecules import Molecule
from data_store.parts import Part, find_part, open_part
from data_store.structures import Structures

__all__ = ["Source", "source_of"]

_COLUMN = "offsets"
"""The column that only parts with structures have."""


@dataclass(frozen=True)
class Source:
    """Structures, to be read as often as needed.

    Parameters
    ----------
    title : str
        What they are, in words.
    blocks : callable
    molecule : Molecule or None
        What they are structures of, where that is known.
    dynamics : list of dict
        What frames of the teacher's dynamics are worth, where the parts say so.
    digests : tuple of str
        Of the parts they are read from; none of a file.
    """

    title: str
    blocks: Callable[[], Iterator[Structures]]
    molecule: Molecule | None
    dynamics: list[dict[str, float]] = field(default_factory=list)
    digests: tuple[str, ...] = ()


def source_of(path: Path, stage: str | None = None, workspace: Path | None = None) -> Source:
    """Structures of a file, of a part's folder, or of one stage of a campaign or workspace.

    Parameters
    ----------
    path : Path
        File of a format that `data_store.interchange` reads, in eV and Å; the folder of a part, of
        a campaign or of a workspace.
    stage : str, optional
        Of a campaign: by default ``sample``.
    workspace : Path, optional
        Where the campaign keeps everything.

    Raises
    ------
    InputError
        If there is nothing of the kind, or the stage has made no structures.
    """
    if path.is_dir() and not (path / MANIFEST).exists():
        return _of_stage(path, stage or "sample", workspace)
    if stage is not None or workspace is not None:
        raise InputError(
            f"{path} is no campaign, but a stage or workspace was given",
            "leave --stage and --workspace out, or name the campaign's folder",
        )
    if path.is_dir():
        return _of_part(open_part(path))
    if not path.exists():
        raise InputError(
            f"{path}: no such file or folder",
            "expected a file of structures, or the folder of a campaign, a workspace or a part",
        )
    kind = format_of(path)
    return Source(f"{path} ({kind.title})", lambda: kind.read(path, Convention(), BLOCK), None)


def _of_part(part: Part) -> Source:
    if _COLUMN not in part.units:
        raise InputError(
            f"{part.path} is a part of stage {part.stage}, which holds no structures",
            f"it holds: {', '.join(sorted(part.units)) or 'no columns'}",
        )
    prepared = sorted((part.path.parent.parent / "prepare").glob(f"*/{MANIFEST}"))
    # Several molecules may have been prepared in one workspace: then it is not known which.
    molecule = _molecule(open_part(prepared[0].parent)) if len(prepared) == 1 else None
    title = f"part {part.fingerprint[:16]} of stage {part.stage}"
    return Source(title, lambda: blocks_of([part]), molecule, dynamics_rows([part]), (part.digest,))


def _molecule(prepared: Part) -> Molecule | None:
    found = prepared.metadata.get("molecule")
    return None if found is None else Molecule.from_json(found)


def _of_stage(folder: Path, stage: str, workspace: Path | None) -> Source:
    is_workspace = workspace is None and (folder / "parts").is_dir()
    campaign = Campaign.read(folder, workspace=folder if is_workspace else workspace)
    plan = campaign.launched_plan()
    stages = list(dict.fromkeys(planned.stage for planned in plan.parts))
    if stage not in stages:
        raise unknown_name("stage of this campaign", stage, stages)
    planned, root = plan.of(stage), campaign.workspace.parts
    made = [p for part in planned if (p := find_part(root, stage, part.fingerprint))]
    if not made:
        raise InputError(f"stage {stage} has made nothing yet", "`campaign launch` makes it")
    if any(_COLUMN not in part.units for part in made):
        holding = [name for name in stages if _holds(plan.of(name), root)]
        raise InputError(
            f"stage {stage} holds no structures",
            f"stages that hold some: {', '.join(holding) or 'none yet'}",
        )
    prepared = [p for x in plan.of("prepare") if (p := find_part(root, "prepare", x.fingerprint))]
    title = (
        f"stage {stage} of campaign {plan.spec.campaign.name}: {len(made)} of {len(planned)} parts"
    )
    molecule = _molecule(prepared[0]) if len(prepared) == 1 else None
    digests = tuple(part.digest for part in made)
    return Source(title, lambda: blocks_of(made), molecule, dynamics_rows(made), digests)


def _holds(planned: Sequence[PlannedPart], root: Path) -> bool:
    for one in planned:
        part = find_part(root, one.stage, one.fingerprint)
        if part is not None:
            return _COLUMN in part.units
    return False
