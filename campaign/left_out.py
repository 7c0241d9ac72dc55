"""`LeftOut`: a host that eats tasks, left out of new blocks until it is told to be taken back.

One small file per host in ``quarantine/hosts`` of the workspace, written by the driver, so that
later launches leave it out too. It holds on the site where it was found: elsewhere a host of that
name is another machine. `campaign retry FOLDER --host NAME` moves the file into ``lifted/``;
nothing is deleted. When a host is to be left out is `campaign.execution.losses`' to say.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from campaign.ledger import Ledger
from campaign.quarantine import set_aside
from campaign.workspace import Workspace
from data_store.errors import InputError, unknown_name
from data_store.work import write_atomic

__all__ = ["LeftOut", "hosts_left_out", "leave_out", "take_back"]


@dataclass(frozen=True)
class LeftOut:
    """One host.

    Parameters
    ----------
    host, site : str
    message : str
        What there is against it.
    unix : float
        Since when.
    avoided : bool
        Whether new blocks are asked for without it; not every scheduler can be told that.
    """

    host: str
    site: str
    message: str
    unix: float
    avoided: bool = True

    @property
    def file_name(self) -> str:
        """Name of its file."""
        return f"{quote(self.host, safe='')}.json"

    @property
    def in_words(self) -> str:
        """One line, with what can be done."""
        if self.avoided:
            return f"host left out: {self.host} of site {self.site}: {self.message}"
        return (
            f"host {self.host} of site {self.site} eats tasks and is used all the same: "
            f"{self.message}; the scheduler cannot be told to leave it out, or has no block "
            "without it: tell the operators"
        )


def leave_out(workspace: Workspace, entry: LeftOut) -> None:
    """Keep that a host is left out.

    Raises
    ------
    WorkspaceError
        If the file system refuses.
    """
    data = json.dumps(asdict(entry), indent=1, ensure_ascii=False).encode()
    write_atomic(_folder(workspace) / entry.file_name, data)


def hosts_left_out(workspace: Workspace, site: str | None = None) -> list[LeftOut]:
    """Hosts that are left out, on one site or all.

    Raises
    ------
    InputError
        If a file cannot be read as one that the driver wrote.
    """
    found = [_read(path) for path in sorted(_folder(workspace).glob("*.json"))]
    return [entry for entry in found if site in {None, entry.site}]


def _folder(workspace: Workspace) -> Path:
    return workspace.quarantine / "hosts"


def _read(path: Path) -> LeftOut:
    try:
        entry = LeftOut(**json.loads(path.read_text(encoding="utf-8")))
        kinds = {"unix": float, "avoided": bool}
        for name, value in asdict(entry).items():
            if not isinstance(value, kinds.get(name, str)):
                raise TypeError(f"{name} = {value!r}")
        if path.name != entry.file_name:
            raise ValueError(f"it speaks of host {entry.host}")
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} is no file of a host that a launch left out: {error}",
            "move it away; the host is then used again",
        ) from error
    return entry


def _choose(entries: Sequence[LeftOut], hosts: Sequence[str]) -> list[LeftOut]:
    names = sorted({entry.host for entry in entries})
    for host in hosts:
        if host not in names:
            if not names:
                raise InputError(f"host {host!r} is not left out", "no host is")
            raise unknown_name("host that is left out", host, names)
    return [entry for entry in entries if entry.host in hosts]


def take_back(workspace: Workspace, hosts: Sequence[str]) -> list[LeftOut]:
    """Move the files of hosts aside: the next launch uses them again.

    Raises
    ------
    InputError
        If one of them is not left out, or a driver is at work.
    WorkspaceError
        If the file system refuses.
    """
    with workspace.locked(), Ledger(workspace.ledger) as ledger:
        chosen = _choose(hosts_left_out(workspace), hosts)
        for entry in chosen:
            path = _folder(workspace) / entry.file_name
            set_aside(path, f"the exclusion of host {entry.host}")
            ledger.write("host_taken_back", host=entry.host, site=entry.site)
    return chosen
