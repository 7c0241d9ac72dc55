"""Writing both forms of the report into the workspace, and the frames of the failures it shows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from campaign.report.failures import file_name
from campaign.report.html import render_html
from campaign.report.inputs import FailurePicture, ReportInputs
from campaign.report.results import report_json
from campaign.workspace import Workspace
from data_store.extxyz import extxyz_bytes
from data_store.molecules import Molecule
from data_store.structures import TIER_CODES, Structures
from data_store.work import write_atomic

__all__ = ["write_report"]


def write_report(workspace: Workspace, inputs: ReportInputs) -> dict[str, Any]:
    """Write ``report.json``, ``report.html`` and ``failures/``; return what the first holds.

    Raises
    ------
    WorkspaceError
        If the file system refuses.
    """
    found = report_json(inputs)
    for picture in inputs.pictures:
        name = file_name(picture, inputs.molecule)
        write_atomic(workspace.failures / name, _frames(picture, inputs.molecule))
    text = json.dumps(found, indent=1, allow_nan=False)
    write_atomic(workspace.report_json, (text + "\n").encode())
    write_atomic(workspace.report_html, render_html(inputs, found).encode())
    return found


def _frames(picture: FailurePicture, molecule: Molecule) -> bytes:
    """Last frames of a replica as extended xyz, the failing one last."""
    return extxyz_bytes(
        Structures.from_dense(
            molecule.numbers,
            picture.frames,
            charge=molecule.charge,
            multiplicity=molecule.multiplicity,
            tiers=TIER_CODES["dynamics"],
            parents=picture.run.replica,
            frames=np.arange(len(picture.frames)),
        )
    )
