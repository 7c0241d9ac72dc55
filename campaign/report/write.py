"""Writing both forms of the report into the workspace."""

from __future__ import annotations

import json
from typing import Any

from campaign.report.html import render_html
from campaign.report.inputs import ReportInputs
from campaign.report.results import report_json
from campaign.workspace import Workspace
from data_store.work import write_atomic

__all__ = ["write_report"]


def write_report(workspace: Workspace, inputs: ReportInputs) -> dict[str, Any]:
    """Write ``report.json`` and ``report.html``; return what the first holds.

    Raises
    ------
    WorkspaceError
        If the file system refuses.
    """
    found = report_json(inputs)
    text = json.dumps(found, indent=1, allow_nan=False)
    write_atomic(workspace.report_json, (text + "\n").encode())
    write_atomic(workspace.report_html, render_html(inputs, found).encode())
    return found
