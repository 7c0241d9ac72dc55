"""The registry of failure criteria: built in, or brought by a package's entry point.

A package registers ``name = "module:RECORD"`` in the group ``campaign.criteria``, where ``RECORD``
is a `Criterion` of that name (docs/criteria.md; `apps.plug_ins` says what holds for all plug-ins).
Light: without plug-ins, nothing here loads torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from apps.dynamics.criteria_records import BUILT_IN, Criterion
from apps.plug_ins import PlugIns

if TYPE_CHECKING:
    from apps.dynamics.settings import DynamicsSettings

__all__ = [
    "CriterionRow",
    "criterion_names",
    "criterion_rows",
    "find_criterion",
    "in_order",
]

_PLUG_INS = PlugIns(
    "campaign.criteria", "criterion", "dynamics.criteria", BUILT_IN, "a Criterion of that name",
    lambda loaded, name: isinstance(loaded, Criterion) and loaded.name == name,
)  # fmt: skip


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
    return (*BUILT_IN, *_PLUG_INS.names())


def find_criterion(name: str) -> Criterion:
    """Criterion by its name; a plug-in's is imported now.

    Raises
    ------
    InputError
        If there is none of that name, two packages register it, or it cannot be loaded.
    """
    return BUILT_IN[name] if name in BUILT_IN else _loaded(name)


def in_order(names: Sequence[str]) -> tuple[str, ...]:
    """Names in the order in which criteria are asked: built-in ones, then plug-ins' by name.

    Raises
    ------
    InputError
        If there is none of such a name, or two packages register it.
    """
    plug_ins = [name for name in names if name not in BUILT_IN]
    for name in plug_ins:
        _PLUG_INS.check(name)
    return (*(name for name in BUILT_IN if name in names), *sorted(plug_ins))


def criterion_rows(settings: DynamicsSettings) -> list[CriterionRow]:
    """Definition, threshold and reference of each criterion of a campaign, in their order.

    Raises
    ------
    InputError
        If a plug-in cannot be loaded, or names a setting that is none.
    """
    found = [find_criterion(name) for name in settings.criteria]
    for criterion in found:
        criterion.lasting_under(settings)
    return [
        CriterionRow(c.name, c.definition, c.threshold_under(settings), c.unit, c.reference)
        for c in found
    ]


def _loaded(name: str) -> Criterion:
    loaded: Criterion = _PLUG_INS.load(name)
    return loaded
