"""Packages as an installer leaves them: modules and a dist-info folder in one directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["write_package"]


def write_package(
    folder: Path,
    name: str,
    entry_points: Mapping[str, Mapping[str, str]],
    modules: Mapping[str, str] | None = None,
) -> Path:
    """Write version 1.0 of a package; put `folder` on the path to use it.

    Parameters
    ----------
    folder : Path
    name : str
    entry_points : mapping of str to mapping of str to str
        By group and name.
    modules : mapping of str to str, optional
        Source by relative path.
    """
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    lines = [
        line
        for group, entries in entry_points.items()
        for line in (f"[{group}]", *(f"{key} = {value}" for key, value in entries.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for path, source in (modules or {}).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(source, encoding="utf-8")
    return folder
