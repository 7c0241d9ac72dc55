"""A site from its layers: packaged file, the user's, the campaign's, and ``--set``.

Each layer is a file of the same form that need name only what it changes; tables are laid over each
other key by key, and every value remembers which layer it came from.

1. the file that comes with the package (``site_configs/NAME.toml``);
2. the user's, ``~/.config/campaign/sites/NAME.toml`` (``$XDG_CONFIG_HOME`` is heeded);
3. the campaign's, ``sites/NAME.toml`` beside its campaign file;
4. ``--set`` of keys that begin with ``site.``, ``pools.`` or ``driver.``.

A site given as the path of a file has that one file instead of the first three.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from campaign.sites.site import SITES, LocalSite, Site, is_blank
from campaign.spec.problems import Problem, problems_of, read_toml, refuse
from data_store.errors import InputError, unknown_name

__all__ = [
    "LayeredSite",
    "Value",
    "layered_site",
    "packaged_sites",
    "read_site",
    "refuse_blanks",
    "site_settings",
    "sites_by_name",
    "user_sites",
]

_SET = "--set"
_DEFAULT = "default"
_TABLES = ("site", "pools", "driver")


@dataclass(frozen=True)
class Value:
    """One value of a site.

    Parameters
    ----------
    key : str
        Dotted.
    value : object
    origin : str
        File that gave it, ``--set``, or ``default``.
    """

    key: str
    value: Any
    origin: str


@dataclass(frozen=True)
class LayeredSite:
    """A site and where its values are from.

    Parameters
    ----------
    site : Site
    origins : dict of str to str
        File (or ``--set``) that gave the value of each dotted key.
    """

    site: Site
    origins: Mapping[str, str]

    @property
    def blanks(self) -> list[str]:
        """Dotted keys that the user has yet to fill."""
        return [key for key, value in _leaves(self.site.model_dump()) if is_blank(value)]

    @property
    def values(self) -> list[Value]:
        """Every value and where it is from, in the order of the model."""
        return [
            Value(key, value, self.origins.get(key, _DEFAULT))
            for key, value in _leaves(self.site.model_dump(mode="json"))
        ]


def packaged_sites() -> dict[str, Path]:
    """Site files that come with the package, by name."""
    return _sites_in(Path(str(resources.files("site_configs"))))


def sites_by_name(campaign_folder: Path | None = None) -> dict[str, list[Path]]:
    """All sites that can be given by name: their files, the nearest to the user last."""
    found: dict[str, list[Path]] = {}
    for folder in _folders(campaign_folder):
        for name, path in _sites_in(folder).items():
            found.setdefault(name, []).append(path)
    return dict(sorted(found.items()))


def user_sites() -> Path:
    """Folder of the user's own site files."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return config / "campaign" / "sites"


def _folders(campaign_folder: Path | None) -> list[Path]:
    folders = [Path(str(resources.files("site_configs"))), user_sites()]
    return [*folders, campaign_folder / "sites"] if campaign_folder else folders


def _sites_in(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def site_settings(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of ``--set``, parted into those of the campaign and those of the site."""
    of_site = {key: value for key, value in settings.items() if key.split(".")[0] in _TABLES}
    return {key: settings[key] for key in settings if key not in of_site}, of_site


def read_site(
    name: str, campaign_folder: Path | None = None, settings: Mapping[str, Any] | None = None
) -> Site:
    """Site by name or by path of a file; see `layered_site`."""
    return layered_site(name, campaign_folder, settings).site


def layered_site(
    name: str, campaign_folder: Path | None = None, settings: Mapping[str, Any] | None = None
) -> LayeredSite:
    """Site by name or by path of a file, with the origin of each value.

    Parameters
    ----------
    name : str
        A site's name, or the path of a file (it ends in ``.toml``).
    campaign_folder : Path, optional
        Folder of the campaign file.
    settings : mapping, optional
        Values by dotted key, as ``--set`` gives them.

    Raises
    ------
    InputError
        If there is no such site or it is wrong; all errors at once, with their origin.
    """
    sites = sites_by_name(campaign_folder)
    files = [Path(name)] if name.endswith(".toml") else sites.get(name)
    if files is None:
        raise unknown_name("site", name, list(sites))
    hint = f"give a file that is there, or a site by name: {', '.join(sites)}"
    tables: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for path in files:
        _lay_over(tables, origins, _leaves(read_toml(path, hint)), str(path))
    _lay_over(tables, origins, (settings or {}).items(), _SET)
    return LayeredSite(_checked(tables, origins, files), origins)


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values of nested tables by dotted key; an empty table is a value."""
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _lay_over(tables: dict[str, Any], origins: dict[str, str], leaves: Any, origin: str) -> None:
    for key, value in leaves:
        *outer, last = key.split(".")
        table = tables
        for step in outer:
            inner = table.get(step)
            if not isinstance(inner, dict):
                table[step] = inner = {}
            table = inner
        if not (value == {} and isinstance(table.get(last), dict)):
            table[last] = value
        origins[key] = origin


def _checked(tables: dict[str, Any], origins: Mapping[str, str], files: Sequence[Path]) -> Site:
    header = tables.get("site")
    scheduler = header.get("scheduler", "local") if isinstance(header, dict) else "local"
    model = SITES.get(scheduler, LocalSite) if isinstance(scheduler, str) else LocalSite
    source = " < ".join(map(str, files))
    try:
        return model.model_validate(tables)
    except ValidationError as error:
        found = [_with_origin(p, origins, len(files) > 1) for p in problems_of(error, model)]
        raise refuse(source, found) from error


def _with_origin(problem: Problem, origins: Mapping[str, str], several: bool) -> Problem:
    origin = origins.get(problem.key, "")
    if not origin or (origin != _SET and not several):
        return problem
    return Problem(problem.key, problem.value, f"{problem.expected} (from {origin})")


def refuse_blanks(layered: LayeredSite, source: str) -> None:
    """Refuse a site that has blanks.

    Raises
    ------
    InputError
        Naming each.
    """
    if layered.blanks:
        raise InputError(
            f"{source}: to be filled in: {', '.join(layered.blanks)}",
            "name your values in ~/.config/campaign/sites/, in sites/ beside the campaign file, or "
            "with --set KEY=VALUE",
        )
