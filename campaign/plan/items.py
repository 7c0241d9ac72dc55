"""`PlannedPart`: one part that a campaign will make, with its identity and all it needs.

Its fingerprint is a SHA-256 over stage, stage version, settings, seed, key, and the fingerprints of
its inputs (content digests for files): science alone. Resources travel beside it: paths, how many
items it has, which pool serves it. A part of many items (labels) is merged when all of them wait in
its work folder, which has an identity of its own, so that asking for more labels makes only those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from campaign.plan.stages import STAGES
from data_store.fingerprints import fingerprint

__all__ = ["Items", "PlannedPart", "planned_part", "without"]


@dataclass(frozen=True)
class Items:
    """The items of a part that is merged from many.

    Parameters
    ----------
    count : int
    function : str
        ``module:name`` of the task that makes items; its key holds ``indices``.
    fingerprint : str
        Identity of the series, independent of its length.
    per_task : int
        Items handed to a worker at once; a resource, not an identity.
    """

    count: int
    function: str
    fingerprint: str
    per_task: int


@dataclass(frozen=True)
class PlannedPart:
    """One part to make.

    Parameters
    ----------
    stage, fingerprint : str
    label : str
        What a person calls it: "finetune pretrained 50 seed 0".
    function : str
        ``module:name`` of the task that makes it.
    role : str
        Pool role: "cpu", "gpu" or "mpi".
    cores : int
        Cores it keeps busy on one machine.
    settings : dict
        What the task gets, resources included.
    seed : int
    key : dict
    inputs : dict of str to tuple of str
        Fingerprints of the parts it is made from, by role.
    input_stages : dict of str to str
        Stage of the parts of each role.
    files : dict of str to Path
        Files that the user brought.
    items : Items or None
        Present where the part is merged from items.
    """

    stage: str
    fingerprint: str
    label: str
    function: str
    role: str
    cores: int
    settings: dict[str, Any]
    seed: int
    key: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    input_stages: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    items: Items | None = None

    @property
    def needs(self) -> frozenset[str]:
        """Fingerprints of all its inputs."""
        return frozenset(f for role in self.inputs.values() for f in role)


def without(settings: Mapping[str, Any], dotted: Sequence[str]) -> Mapping[str, Any]:
    """`settings` without the dotted keys; what holds none of them is shared, not copied."""
    if not dotted:
        return settings
    kept: dict[str, Any] = {}
    for key, value in settings.items():
        below = [d.removeprefix(f"{key}.") for d in dotted if d.startswith(f"{key}.")]
        if key not in dotted:
            kept[key] = without(value, below) if isinstance(value, Mapping) else value
    return kept


def planned_part(
    stage: str,
    label: str,
    settings: Mapping[str, Any],
    seed: int,
    *,
    key: Mapping[str, Any] | None = None,
    inputs: Mapping[str, list[PlannedPart]] | None = None,
    files: Mapping[str, tuple[Path, str]] | None = None,
    not_science: Sequence[str] = (),
    cores: int = 1,
    function: str | None = None,
    items: Items | None = None,
) -> PlannedPart:
    """Build a planned part and its fingerprint.

    Parameters
    ----------
    stage : str
        A name in `STAGES`.
    label : str
    settings : mapping
        What the task gets; part of the identity but for `not_science`.
    seed : int
    key : mapping, optional
        What tells it from its siblings; part of the identity.
    inputs : mapping of str to list of PlannedPart, optional
        By role; their fingerprints are part of the identity.
    files : mapping of str to (Path, digest), optional
        By role; the digest is part of the identity, the path is not.
    not_science : sequence of str, optional
        Dotted keys of `settings` that are resources (ranks, checkpoint intervals, names).
    cores : int
    function : str, optional
        Instead of the stage's own task function.
    items : Items, optional
    """
    kind, given, brought = STAGES[stage], dict(inputs or {}), dict(files or {})
    identity = {
        "stage": stage,
        "version": kind.version,
        "settings": without(settings, not_science),
        "seed": seed,
        "key": dict(key or {}),
        "inputs": {role: [p.fingerprint for p in parts] for role, parts in given.items()},
        "files": {role: digest for role, (_, digest) in brought.items()},
    }
    return PlannedPart(
        stage=stage,
        fingerprint=fingerprint(identity),
        label=label,
        function=function or kind.function,
        role=kind.role,
        cores=cores,
        settings=dict(settings),
        seed=seed,
        key=dict(key or {}),
        inputs={role: tuple(p.fingerprint for p in parts) for role, parts in given.items()},
        input_stages={role: parts[0].stage for role, parts in given.items() if parts},
        files={role: path for role, (path, _) in brought.items()},
        items=items,
    )
