"""`Workspace`: all paths of one campaign named in one place, and the lock of its driver.

A workspace belongs to one campaign for good: its frozen campaign file says which. A lock held by
the driver's process (released by the kernel when that dies) keeps a second driver out. Deleting
anything is not done here.
"""

from __future__ import annotations

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from data_store.errors import InputError, WorkspaceError

__all__ = ["Workspace"]


@dataclass(frozen=True)
class Workspace:
    """Folder of a campaign.

    Parameters
    ----------
    root : Path
    """

    root: Path

    @property
    def campaign_file(self) -> Path:
        """Frozen copy of the campaign file."""
        return self.root / "campaign.toml"

    @property
    def parts(self) -> Path:
        """Finished parts: ``parts/<stage>/<fingerprint>``."""
        return self.root / "parts"

    @property
    def work(self) -> Path:
        """Unfinished items and checkpoints: ``work/<fingerprint>``."""
        return self.root / "work"

    @property
    def running(self) -> Path:
        """Marks of tasks in flight: which process is at what."""
        return self.root / "running"

    @property
    def quarantine(self) -> Path:
        """What is not tried again until it is told to: a file per part."""
        return self.root / "quarantine"

    @property
    def task_logs(self) -> Path:
        """Tracebacks of failed tasks, one file by task, the latest."""
        return self.logs / "tasks"

    @property
    def logs(self) -> Path:
        """Logs of Parsl and tracebacks of failed items."""
        return self.root / "logs"

    @property
    def ledger(self) -> Path:
        """Append-only history."""
        return self.root / "ledger.jsonl"

    @property
    def report_json(self) -> Path:
        """The report for programs."""
        return self.root / "report.json"

    @property
    def report_html(self) -> Path:
        """The report for people."""
        return self.root / "report.html"

    @property
    def failures(self) -> Path:
        """Last frames of the failures that the report shows."""
        return self.root / "failures"

    @property
    def figures(self) -> Path:
        """The report's figures, each a file."""
        return self.root / "figures"

    def prepare(self) -> None:
        """Make the folders.

        Raises
        ------
        WorkspaceError
            If the file system refuses.
        """
        try:
            for folder in (self.parts, self.work, self.running, self.logs):
                folder.mkdir(parents=True, exist_ok=True)
                if not os.access(folder, os.W_OK):
                    raise PermissionError(13, "not writable", str(folder))
        except OSError as error:
            raise WorkspaceError(
                f"cannot write the workspace {self.root}: {error.strerror}",
                "give another folder with --workspace, or free space and permissions",
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the workspace as its only driver.

        Raises
        ------
        InputError
            If another driver holds it.
        WorkspaceError
            If the lock file cannot be written.
        """
        path = self.root / "driver.lock"
        try:
            handle = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise WorkspaceError(f"cannot write {path}: {error.strerror}") from error
        with handle:
            try:
                # A POSIX lock belongs to the process: no child inherits it, and death frees it.
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                handle.seek(0)
                raise InputError(
                    f"another driver is at work in {self.root}: {handle.read().strip()}",
                    "wait for it or stop it; `campaign status` shows how far it is",
                ) from error
            handle.truncate(0)
            handle.write(f"pid {os.getpid()} on {platform.node()}\n")
            handle.flush()
            yield
