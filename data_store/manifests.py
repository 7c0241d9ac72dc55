"""What a part's ``manifest.json`` says, read in the words of this version's schema.

The schema is how a part is laid out. An older manifest is upgraded in memory by a chain of small
functions, one for each step; a newer one is refused, since only a newer version knows what it
means. Nothing on disk is changed, and whether the files are what the manifest says is not asked
here (`data_store.parts.verify_part`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_store.errors import StoreError

__all__ = ["MANIFEST", "SCHEMA", "UPGRADED_FROM", "read_manifest"]

SCHEMA = 1
"""Version of the part layout. A reader refuses a newer one and upgrades an older one."""

MANIFEST = "manifest.json"

UPGRADED_FROM = "upgraded_from"
"""Key of an upgraded manifest, in memory only: the schema that lies on disk."""

Manifest = dict[str, Any]

_UPGRADES: dict[int, Callable[[Manifest], Manifest]] = {}
"""From a schema to the next."""

_KEYS = {
    "stage": str, "fingerprint": str, "digest": str, "columns": dict, "metadata": dict,
    "content_files": list, "files": dict, "provenance": dict,
}  # fmt: skip

_ASIDE = "move its folder away (nothing of it is ever deleted) and launch again: it is made anew"


def read_manifest(path: Path) -> Manifest:
    """Manifest of the part at `path`.

    Raises
    ------
    StoreError
        If there is none, it is damaged, a newer version of this project wrote it, or an older one
        from which no upgrade leads here.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if path.is_dir():
            raise StoreError(f"{path} has no manifest", _ASIDE) from error
        raise StoreError(f"no part at {path}", "launch the campaign that makes it") from error
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"manifest of {path} is unreadable: {error}", _ASIDE) from error
    if not isinstance(manifest, dict) or type(manifest.get("schema")) is not int:
        raise StoreError(f"manifest of {path} says no schema", _ASIDE)
    manifest = _upgraded(path, manifest)
    wrong = [key for key, kind in _KEYS.items() if not isinstance(manifest.get(key), kind)]
    if wrong:
        raise StoreError(f"manifest of {path} lacks {', '.join(wrong)}", _ASIDE)
    return manifest


def _upgraded(path: Path, manifest: Manifest) -> Manifest:
    written = manifest["schema"]
    if written > SCHEMA:
        raise StoreError(
            f"{path} has schema {written}, this version reads up to {SCHEMA}",
            f"install {_writer(manifest)}, which wrote it, or a newer one; or {_ASIDE}",
        )
    for schema in range(written, SCHEMA):
        if schema not in _UPGRADES:
            raise StoreError(
                f"{path} has schema {written}, this version reads {SCHEMA} and has no upgrade "
                f"from {schema}",
                f"use {_writer(manifest)}, which wrote it; or {_ASIDE}",
            )
        manifest = {**_UPGRADES[schema](manifest), "schema": schema + 1, UPGRADED_FROM: written}
    return manifest


def _writer(manifest: Manifest) -> str:
    """Version of this project that wrote a manifest, as far as it says."""
    try:
        return f"mlip-campaign {manifest['provenance']['packages']['mlip-campaign']}"
    except (KeyError, TypeError):
        return "the version of this project"
