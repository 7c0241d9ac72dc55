"""`PlugIns`: what installed packages bring to one registry, by entry point.

Names are looked up in the metadata of installed packages alone; what a package brings is imported
when it is asked for, so that a broken one harms no campaign that does not name it. A built-in name
means what is built in, whatever packages register, and of two packages that register one name
neither is used. What is brought is the registry's business. Light: nothing here loads what plug-ins
need.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from data_store.errors import InputError, unknown_name

__all__ = ["PlugIns"]


@dataclass(frozen=True)
class PlugIns:
    """Entry points of one group.

    Parameters
    ----------
    group : str
    noun : str
        What messages call one of them ("criterion").
    key : str
        Key of the campaign file that names them.
    built_in : collection of str
        Names that packages cannot take over.
    expected : str
        What an entry point must name, in words.
    fits : callable
        Whether what was loaded under a name is that.
    """

    group: str
    noun: str
    key: str
    built_in: Collection[str]
    expected: str
    fits: Callable[[Any, str], bool]

    def names(self) -> tuple[str, ...]:
        """Names that packages bring, sorted; nothing is imported."""
        return tuple(sorted(self._found()))

    def check(self, name: str) -> None:
        """Refuse a name that no package brings, or more than one.

        Raises
        ------
        InputError
            Listing the valid names, or naming the packages.
        """
        self._entry(name)

    def load(self, name: str) -> Any:
        """Import what a package brings.

        Raises
        ------
        InputError
            If there is none of that name, two packages register it, or it cannot be loaded.
        """
        entry = self._entry(name)
        where = f"{self.noun} {name!r} of {_owner(entry)} ({entry.value})"
        try:
            loaded = entry.load()
        except Exception as error:
            raise InputError(
                f"{where} cannot be loaded: {error!r}",
                f"mend or uninstall the package, or leave the name out of {self.key}",
            ) from error
        if not self.fits(loaded, name):
            raise InputError(
                f"{where} is {loaded!r}, expected {self.expected}",
                "the entry point must name one (docs/extending.md)",
            )
        return loaded

    def _found(self) -> dict[str, list[metadata.EntryPoint]]:
        found: dict[str, list[metadata.EntryPoint]] = defaultdict(list)
        for entry in metadata.entry_points(group=self.group):
            if entry.name not in self.built_in:
                found[entry.name].append(entry)
        return dict(found)

    def _entry(self, name: str) -> metadata.EntryPoint:
        found = self._found()
        if name not in found:
            raise unknown_name(self.noun, name, [*self.built_in, *found])
        first, *others = found[name]
        if others:
            owners = " and ".join(_owner(entry) for entry in found[name])
            raise InputError(
                f"{self.noun} {name!r} is registered more than once: by {owners}",
                f"uninstall all but one, or leave the name out of {self.key}",
            )
        return first


def _owner(entry: metadata.EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"
