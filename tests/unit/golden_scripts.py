"""Batch scripts of the packaged sites, as `tests/unit/golden` keeps them; not a test.

After a change that is meant to change them:

    python -m tests.unit.golden_scripts

writes them anew; read the difference before it is committed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from campaign.execution.rendering import render
from campaign.sites.layers import packaged_sites, read_site
from campaign.sites.site import BatchSite

__all__ = ["FOLDER", "scripts_of_site"]

FOLDER = Path(__file__).parent / "golden"


def scripts_of_site(name: str) -> dict[str, str]:
    """Scripts of a packaged site by file name, with the command that submits each; none if local.

    The interpreter is the one part of them that differs from machine to machine.
    """
    site = read_site(name)
    if not isinstance(site, BatchSite):
        return {}
    return {
        f"{name}-{found.pool}.sh": f"# {found.command}\n{found.script}".replace(
            sys.executable, "<python>"
        )
        for found in render(site)[0]
    }


def main() -> None:
    """Write all scripts anew, and remove those of pools that are gone."""
    for old in FOLDER.glob("*.sh"):
        old.unlink()
    for name in packaged_sites():
        for file, text in scripts_of_site(name).items():
            (FOLDER / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
