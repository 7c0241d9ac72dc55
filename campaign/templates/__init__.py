"""Campaign files to start from: package data, one TOML each; this only lists and writes them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from data_store.errors import InputError, unknown_name
from data_store.work import write_atomic

__all__ = ["templates", "write_template"]


def templates() -> dict[str, str]:
    """Text of each template, by name."""
    folder = Path(str(resources.files(__package__)))
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.toml"))}


def write_template(name: str, folder: Path) -> Path:
    """Write ``folder/campaign.toml`` from a template, unless that very file is there.

    Returns
    -------
    Path
        The campaign file.

    Raises
    ------
    InputError
        If there is no such template, or the folder holds another campaign file.
    WorkspaceError
        If the folder cannot be written.
    """
    found = templates()
    if name not in found:
        raise unknown_name("template", name, list(found))
    path = folder / "campaign.toml"
    if path.exists() and path.read_text(encoding="utf-8", errors="replace") != found[name]:
        raise InputError(
            f"{path} exists and is not the template {name!r}; it is left as it is",
            "give another folder with --dir",
        )
    write_atomic(path, found[name].encode())
    return path
