"""The registry of failure criteria: built in, or brought by a package's entry point.

A package registers ``name = "module:RECORD"`` in the group ``campaign.criteria``, where ``RECORD``
is a `Criterion` of that name (docs/criteria.md). Names are looked up in the metadata of installed
packages alone; what a package brings is imported when its criterion is asked for, so that a broken
one harms no campaign that does not name it. A built-in name means the built-in criterion, whatever
packages register. Light: without plug-ins, nothing here loads torch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from apps.dynamics.criteria_records import BUILT_IN, Criterion
from data_store.errors import InputError, unknown_name

if TYPE_CHECKING:
    from apps.dynamics.settings import DynamicsSettings

__all__ = [
    "ENTRY_POINT_GROUP",
    "CriterionRow",
    "criterion_names",
    "criterion_rows",
    "find_criterion",
    "in_order",
]

ENTRY_POINT_GROUP = "campaign.criteria"


@dataclass(frozen=True)
class CriterionRow:
    """What a report says of one criterion of a campaign."""

    name: str
    definition: str
    threshold: str
    unit: str
    reference: str


def criterion_names() -> tuple[str, ...]:
    """Names that ``dynamics.criteria`` may hold: built-in ones in their order, then plug-ins'."""
    return (*BUILT_IN, *sorted(_plug_ins()))


def find_criterion(name: str) -> Criterion:
    """Criterion by its name; a plug-in's is imported now.

    Raises
    ------
    InputError
        If there is none of that name, two packages register it, or it cannot be loaded.
    """
    return BUILT_IN[name] if name in BUILT_IN else _load(_plug_in(name))


def in_order(names: Sequence[str]) -> tuple[str, ...]:
    """Names in the order in which criteria are asked: built-in ones, then plug-ins' by name.

    Raises
    ------
    InputError
        If there is none of such a name, or two packages register it.
    """
    plug_ins = [_plug_in(name).name for name in names if name not in BUILT_IN]
    return (*(name for name in BUILT_IN if name in names), *sorted(plug_ins))


def criterion_rows(settings: DynamicsSettings) -> list[CriterionRow]:
    """Definition, threshold and reference of each criterion of a campaign, in their order.

    Raises
    ------
    InputError
        If a plug-in cannot be loaded, or names a setting that is none.
    """
    found = [find_criterion(name) for name in settings.criteria]
    return [
        CriterionRow(c.name, c.definition, c.threshold_under(settings), c.unit, c.reference)
        for c in found
    ]


def _plug_ins() -> dict[str, list[metadata.EntryPoint]]:
    found: dict[str, list[metadata.EntryPoint]] = defaultdict(list)
    for entry in metadata.entry_points(group=ENTRY_POINT_GROUP):
        if entry.name not in BUILT_IN:
            found[entry.name].append(entry)
    return dict(found)


def _plug_in(name: str) -> metadata.EntryPoint:
    found = _plug_ins()
    if name not in found:
        raise unknown_name("criterion", name, [*BUILT_IN, *found])
    first, *others = found[name]
    if others:
        owners = " and ".join(_owner(entry) for entry in found[name])
        raise InputError(
            f"criterion {name!r} is registered more than once: by {owners}",
            "uninstall all but one, or leave the name out of dynamics.criteria",
        )
    return first


def _load(entry: metadata.EntryPoint) -> Criterion:
    where = f"criterion {entry.name!r} of {_owner(entry)} ({entry.value})"
    try:
        loaded = entry.load()
    except Exception as error:
        raise InputError(
            f"{where} cannot be loaded: {error!r}",
            "mend or uninstall the package, or leave the name out of dynamics.criteria",
        ) from error
    if not isinstance(loaded, Criterion) or loaded.name != entry.name:
        raise InputError(
            f"{where} is {loaded!r}, expected a Criterion of that name",
            "the entry point must name an apps.dynamics.criteria_records.Criterion",
        )
    return loaded


def _owner(entry: metadata.EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"
