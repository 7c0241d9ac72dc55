"""Names of the labelers: built-in ones, and those that packages bring; none is imported for it.

A package registers ``name = "module:make"`` in the group ``campaign.labelers``, where ``make``
takes `MethodSettings` and returns a `Labeler` (docs/extending.md).
"""

from __future__ import annotations

from apps.plug_ins import PlugIns

__all__ = ["BUILT_IN", "OF_TBLITE", "PLUG_INS", "labeler_names"]

BUILT_IN = ("pyscf", "gfn2-xtb", "gfn1-xtb")
"""Labelers of this project."""

OF_TBLITE = {"GFN2-xTB": "gfn2-xtb", "GFN1-xTB": "gfn1-xtb"}
"""Labelers by the name of tblite's method."""

PLUG_INS = PlugIns(
    "campaign.labelers", "labeler", "labels.source", BUILT_IN,
    "a function of MethodSettings that returns a Labeler", lambda loaded, name: callable(loaded),
)  # fmt: skip


def labeler_names() -> tuple[str, ...]:
    """Names of all labelers: built-in ones, then plug-ins'."""
    return (*BUILT_IN, *PLUG_INS.names())
