"""`Workspace`: all paths of one campaign named in one place, and the lock of its driver.

A workspace belongs to one campaign for good: its frozen campaign file says which. Deleting anything
is not done here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from campaign.driver_lock import held
from data_store.errors import WorkspaceError

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
        """Hold the workspace as its only driver; see `campaign.driver_lock`.

        Raises
        ------
        InputError
            If another driver holds it, on whatever host.
        WorkspaceError
            If the lock file cannot be written.
        """
        with held(self.root):
            yield
