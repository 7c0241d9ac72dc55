"""The code of a page of documentation, as the page has it: tests run it, so that it stays true."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

__all__ = ["DOCS", "apply_edit", "blocks", "entry_points", "sections"]

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


def apply_edit(source: str, edit: str) -> str:
    """Source after the hunks of a diff without line numbers: context must be there, once."""
    for hunk in edit.rstrip("\n").split("\n@@\n"):
        lines = hunk.split("\n")
        before, after = (
            "\n".join(line[1:] for line in lines if not line.startswith(sign)) for sign in "+-"
        )
        if source.count(f"{before}\n") != 1:
            raise ValueError(f"{source.count(before)} times in the file, not once:\n{before}")
        source = source.replace(f"{before}\n", f"{after}\n")
    return source
