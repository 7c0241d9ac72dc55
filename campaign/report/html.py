"""Placeholder until plots land."""

from __future__ import annotations

from typing import Any

from campaign.report.inputs import ReportInputs

__all__ = ["render_html"]


def render_html(inputs: ReportInputs, found: dict[str, Any]) -> str:
    """Render."""
    return "<html></html>"
