"""Writing both forms of the report into the workspace, and the frames of the failures it shows."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from campaign.report.failures import file_name
from campaign.report.html import draw_figures, render_html
from campaign.report.inputs import FailurePicture, ReportInputs
from campaign.report.results import report_json
from campaign.workspace import Workspace
from data_store.extxyz import extxyz_bytes
from data_store.molecules import Molecule
from data_store.structures import TIER_CODES, Structures
from data_store.work import write_atomic

__all__ = ["write_report"]


def write_report(workspace: Workspace, inputs: ReportInputs) -> dict[str, Any]:
    """Write ``report.json``, ``report.html``, ``figures/``, ``failures/``; return the first.

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
    figures = draw_figures(inputs)
    for name, markup in figures.items():
        suffix, content = _file_of(markup)
        write_atomic(workspace.figures / f"{name}.{suffix}", content)
    write_atomic(workspace.report_html, render_html(inputs, found, figures).encode())
    return found


def _file_of(markup: str) -> tuple[str, bytes]:
    """Suffix and content of a figure on its own."""
    if markup.startswith("<svg"):
        return "svg", markup.encode()
    return "png", base64.b64decode(markup.partition("base64,")[2].partition('"')[0])


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
            cell=picture.cell_A,
        )
    )
