"""The code of a page of documentation, as the page has it: tests run it, so that it stays true."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

__all__ = ["DOCS", "blocks", "entry_points", "sections"]

DOCS = Path(__file__).parents[2] / "docs"


def sections(page: str) -> dict[str, str]:
    """Text of each section of the second level, by its heading."""
    _, *found = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    return dict(zip(found[::2], found[1::2], strict=True))


def blocks(page: str, language: str) -> dict[str, str]:
    """Code blocks of a language, by the file that their first line names, which is left out."""
    found = re.findall(rf"```{language}\n# (\S+)\n(.*?)```", page, flags=re.DOTALL)
    return dict(found)


def entry_points(page: str) -> dict[str, dict[str, str]]:
    """Entry points that the page's ``pyproject.toml`` registers, by group and name."""
    project: dict[str, Any] = tomllib.loads(blocks(page, "toml")["pyproject.toml"])["project"]
    found: dict[str, dict[str, str]] = project["entry-points"]
    return found
