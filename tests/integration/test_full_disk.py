"""A disk that fills up in the middle of the commit of a part, at each file in turn.

The disk is real: a file system in memory that only holds so many files, or so many bytes, which
only root may mount. Where it is not the writing but the syncing that is refused (a quota on a
network file system), the refusal is put in place of `os.fsync`.
"""

from __future__ import annotations

import errno
import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from campaign.execution.driver import Driver, Ending
from campaign.ledger import Ledger, read_ledger
from campaign.plan.items import PlannedPart, planned_part
from campaign.sites.site import LocalSite
from campaign.workspace import Workspace
from data_store.columns import Column
from data_store.errors import WorkspaceError
from data_store.parts import Part, is_made, open_part, part_path, verify_part, write_part
from tests.watch import UNWATCHED

PRINT = "f" * 64
SITE = LocalSite.model_validate(
    {"site": {"name": "test"}, "pools": {"cpu": {"workers_per_node": 1}}}
)

Resize = Callable[[str], None]


def mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Resize]]:
    """A disk, and what gives it another limit (its content stays)."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or not mount("-t", "tmpfs", "tmpfs", str(folder)):
        pytest.skip("only root may mount a file system, and not in every container")

    def resize(limit: str) -> None:
        assert mount("-o", f"remount,{limit}", str(folder))

    yield folder, resize
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def write(root: Path) -> Part:
    noise = np.random.default_rng(0).normal(size=(200, 9))  # does not compress
    columns = {"forces": Column(noise, "eV/Å"), "index": Column(np.arange(200))}
    files, attachments = {"model.bin": noise.tobytes()}, {"log.txt": b"step 1\n" * 2000}
    return write_part(root, "label", PRINT, columns, {}, files=files, attachments=attachments)


def visible(root: Path) -> list[str]:
    """Parts, and what was left aside of them."""
    return [path.as_posix() for path in root.glob("*/*")]


LIMITS = {
    # One file or folder more from case to case, or one page; ENOSPC wherever it comes.
    "nr_inodes": (range(2, 60), "nr_inodes={}"),
    "bytes": (range(4, 400, 4), "size={}k"),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_a_disk_that_fills_up_at_any_file_leaves_the_old_state_or_the_new(
    disk: tuple[Path, Resize], tmp_path: Path, limit: str
) -> None:
    (root, resize), roomy = disk, write(tmp_path / "roomy")
    sizes, option = LIMITS[limit]
    refusals: list[WorkspaceError] = []
    for size in sizes:
        resize(option.format(size))
        try:
            write(root)
            break
        except WorkspaceError as error:
            refusals.append(error)
        assert not visible(root), "half a part, or pieces of one"
        assert not is_made(root, "label", PRINT)
    assert len(refusals) > 8, "it was to fill up at one file after the other"
    assert all("No space left" in error.message for error in refusals)
    assert all("launch again" in error.hint for error in refusals)
    part = open_part(part_path(root, "label", PRINT))
    assert part.digest == roomy.digest
    assert not verify_part(part)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_refused_sync_leaves_the_old_state_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    sync, calls, refuse_at = os.fsync, itertools.count(1), 0

    def refusing(handle: int) -> None:
        if next(calls) == refuse_at:  # asked by several threads at once
            raise OSError(number, os.strerror(number))
        sync(handle)

    monkeypatch.setattr("os.fsync", refusing)
    digest = write(tmp_path / "roomy").digest
    syncs = next(calls) - 1
    assert syncs > 10
    for refuse_at in range(1, syncs + 1):
        calls, root = itertools.count(1), tmp_path / str(refuse_at)
        with pytest.raises(WorkspaceError, match=os.strerror(number)):
            write(root)
        # The last sync is that of the folder that it was renamed into: it is there already.
        assert len(visible(root)) == (1 if refuse_at == syncs else 0)
        assert write(root).digest == digest
        assert not verify_part(open_part(part_path(root, "label", PRINT)))


def toy(stage: str, value: int, needs: list[PlannedPart] | None = None) -> PlannedPart:
    return planned_part(
        stage, f"{stage} {value}", {"value": value}, 0, inputs={"needs": needs or []},
        function="tests.integration.toy_tasks:make",
    )  # fmt: skip


def run(plan: list[PlannedPart], workspace: Workspace) -> Ending:
    with Ledger(workspace.ledger) as ledger:
        return Driver(plan, workspace, SITE, ledger, lambda progress: None, UNWATCHED).run()


def test_a_launch_says_which_item_the_disk_refused_and_goes_on_when_there_is_space(
    disk: tuple[Path, Resize], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    workspace = Workspace(tmp_path / "workspace")
    workspace.prepare()
    workspace.parts.rmdir()
    (root, resize), first = disk, toy("sample", 1)
    workspace.parts.symlink_to(root)  # parts have a disk of their own: nothing else fills it
    plan = [first, toy("pretrain", 10, [first])]
    resize("nr_inodes=12")
    with pytest.raises(WorkspaceError, match=r"cannot write .*pretrain.*No space left"):
        run(plan, workspace)
    kept = open_part(part_path(root, "sample", first.fingerprint))
    assert len(visible(root)) == 1
    rows = [row for row in read_ledger(workspace.ledger) if row["event"] == "result"]
    assert [(row["label"], row["outcome"]) for row in rows] == [
        ("sample 1", "done"), ("pretrain 10", "failed_workspace")
    ]  # fmt: skip
    assert "No space left" in rows[1]["message"]

    resize("nr_inodes=1000")
    assert run(plan, workspace).complete
    made = [open_part(part_path(root, part.stage, part.fingerprint)) for part in plan]
    assert made[0].digest == kept.digest
    assert not any(verify_part(part) for part in made)
    assert made[1].read("value", "").tolist() == [11]


def never(*_: object) -> NoReturn:
    raise AssertionError("a part was renamed before all of it was synced")


def test_nothing_is_renamed_before_all_of_it_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", refusing)
    monkeypatch.setattr("data_store.parts.put_in_place", never)
    with pytest.raises(WorkspaceError, match="No space left"):
        write(tmp_path)
