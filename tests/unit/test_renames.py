"""Renames on file systems that lose replies, refuse, or show late; the faults are put in place of
`os.rename` and `os.replace`, for no file system gives them on demand."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from apps.contract import Request, Result
from data_store import renames, visibility
from data_store.columns import Column
from data_store.errors import LostError, WorkspaceError
from data_store.parts import Part, is_made, open_part, part_path, verify_part, write_part
from data_store.visibility import await_files
from data_store.work import await_item, save_item, write_atomic

PRINT = "f" * 64
LOST_REPLIES = [errno.EEXIST, errno.ENOENT, errno.ESTALE, errno.EIO, errno.ETIMEDOUT]

Rename = Callable[..., None]


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renames, "SEEN_WITHIN_S", 0.3)
    monkeypatch.setattr(visibility, "SEEN_WITHIN_S", 0.3)


def write(root: Path, value: int = 1) -> Part:
    return write_part(root, "label", PRINT, {"value": Column(np.array([value]))}, {})


def names(root: Path) -> list[str]:
    """All that lies in the folder of the stage, what was left aside included."""
    return sorted(path.name for path in (root / "label").iterdir())


class Faulty:
    """A rename that raises in some of its calls, having happened or not."""

    def __init__(self, real: Rename, number: int, calls: range, *, happens: bool) -> None:
        self.real, self.number, self.at, self.happens = real, number, calls, happens
        self.calls = 0

    def __call__(self, source: Path, target: Path) -> None:
        self.calls += 1
        if self.calls - 1 not in self.at:
            self.real(source, target)
            return
        if self.happens:
            self.real(source, target)
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("number", LOST_REPLIES)
def test_a_rename_whose_reply_was_lost_counts_as_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    faulty = Faulty(os.rename, number, range(1), happens=True)
    monkeypatch.setattr("os.rename", faulty)
    part = write(tmp_path)
    assert faulty.calls == 1, "it is not done twice"
    assert not part.was_there, "it is ours"
    assert not verify_part(open_part(part.path))
    assert names(tmp_path) == [PRINT]


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.EBUSY])
def test_a_rename_that_did_not_happen_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    faulty = Faulty(os.rename, number, range(2), happens=False)
    monkeypatch.setattr("os.rename", faulty)
    assert not write(tmp_path).was_there
    assert faulty.calls == 3
    assert names(tmp_path) == [PRINT]


def test_what_cannot_be_told_in_time_is_a_loss_and_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("os.rename", Faulty(os.rename, errno.EIO, range(10**6), happens=False))
        with pytest.raises(LostError, match="cannot tell whether") as caught:
            write(tmp_path)
    assert Result.failed(caught.value).outcome == "lost", "tried again, without using up tries"
    assert not is_made(tmp_path, "label", PRINT)
    (left,) = names(tmp_path)
    assert left.endswith(".tmp"), "under its own name: it might be the very same folder"
    assert (tmp_path / "label" / left / "manifest.json").exists()
    assert not write(tmp_path).was_there, "the next attempt makes it"


def test_a_part_that_comes_into_sight_late_at_the_target_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rename happened, and for a while this host sees neither name."""
    real, hidden = os.rename, tmp_path / "hidden"

    def rename(source: Path, target: Path) -> None:
        if hidden.exists() or Path(target).exists():
            raise OSError(errno.ENOENT, "gone")
        real(source, hidden)
        threading.Timer(0.1, lambda: real(hidden, target)).start()
        raise OSError(errno.EIO, "no answer")

    monkeypatch.setattr("os.rename", rename)
    part = write(tmp_path)
    assert not part.was_there
    assert not verify_part(open_part(part.path))


def test_the_same_content_that_is_there_already_is_counted(tmp_path: Path) -> None:
    first, second = write(tmp_path), write(tmp_path)
    assert (first.was_there, second.was_there) == (False, True)
    assert second.digest == first.digest
    assert names(tmp_path) == [PRINT], "ours is discarded"
    assert "made_twice" not in Result.done(first).counts
    assert Result.done(second, {"labels": 3.0}).counts == {"labels": 3.0, "made_twice": 1.0}


def test_another_content_that_is_there_is_refused_and_both_are_named(tmp_path: Path) -> None:
    there, ours = write(tmp_path, 1), write(tmp_path / "elsewhere", 2)
    with pytest.raises(WorkspaceError, match=there.digest) as caught:
        write(tmp_path, 2)
    assert ours.digest in caught.value.message
    assert str(there.path) in caught.value.message
    assert "launching again builds on it" in caught.value.hint
    assert open_part(there.path).digest == there.digest
    assert names(tmp_path) == [PRINT]


def test_a_folder_without_a_manifest_in_its_place_is_refused(tmp_path: Path) -> None:
    target = part_path(tmp_path, "label", PRINT)
    (target / "someone's").mkdir(parents=True)
    with pytest.raises(WorkspaceError, match="without a manifest") as caught:
        write(tmp_path)
    assert "move it away" in caught.value.hint
    assert names(tmp_path) == [PRINT]
    assert (target / "someone's").is_dir()


def test_two_file_systems_in_one_folder_are_said_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty = Faulty(os.rename, errno.EXDEV, range(10**6), happens=False)
    monkeypatch.setattr("os.rename", faulty)
    with pytest.raises(WorkspaceError, match="two file systems") as caught:
        write(tmp_path)
    assert "plain file system" in caught.value.hint
    assert faulty.calls == 1, "there is nothing to wait for"
    assert names(tmp_path) == []


@contextmanager
def other_file_system(here: Path) -> Iterator[Path]:
    folder = Path("/dev/shm") / f"campaign-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no other file system to write on: {error}")
    try:
        if folder.stat().st_dev == here.stat().st_dev:
            pytest.skip("both are on one file system")
        yield folder
    finally:
        shutil.rmtree(folder)


def test_a_stage_may_lie_on_a_file_system_of_its_own(tmp_path: Path) -> None:
    """A part is written beside its target, so it is renamed within the stage's file system."""
    with other_file_system(tmp_path) as elsewhere:
        (tmp_path / "a").mkdir()
        with pytest.raises(OSError, match="cross-device"):
            (tmp_path / "a").rename(elsewhere / "a")
        (tmp_path / "label").symlink_to(elsewhere)
        part = write(tmp_path)
        assert part.path.stat().st_dev == elsewhere.stat().st_dev
        assert not verify_part(part)
        work = tmp_path / "work"
        work.symlink_to(elsewhere)
        save_item(work, "000000", {"value": np.array([1])}, {})
        assert await_item(work, "000000")[0]["value"] == [1]


@pytest.mark.parametrize("number", LOST_REPLIES)
def test_a_file_whose_rename_was_not_answered_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    faulty = Faulty(os.replace, number, range(1), happens=True)
    monkeypatch.setattr("os.replace", faulty)
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert faulty.calls == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_renamed_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr("os.replace", Faulty(os.replace, errno.EIO, range(10**6), happens=False))
    with pytest.raises(WorkspaceError, match=os.strerror(errno.EIO)):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def asked_for(path: Path) -> Request:
    return Request("p", "w", "split", PRINT, {}, 0, inputs={"labels": [str(path)]})


def test_an_input_that_is_seen_late_is_waited_for(tmp_path: Path) -> None:
    made, path = write(tmp_path / "elsewhere"), part_path(tmp_path, "label", PRINT)
    path.parent.mkdir()
    mover = threading.Timer(0.1, lambda: made.path.rename(path))
    mover.start()
    (part,) = asked_for(path).input_parts("labels")
    mover.join()
    assert part.digest == made.digest
    assert asked_for(path).input_parts("nothing of the kind") == []


def test_what_stays_out_of_sight_is_a_loss_in_words(tmp_path: Path) -> None:
    path, began = part_path(tmp_path, "label", PRINT), time.monotonic()
    with pytest.raises(LostError, match=r"does not see it after 0\.3 s") as caught:
        asked_for(path).input_parts("labels")
    assert time.monotonic() - began >= 0.3
    assert str(path) in caught.value.message
    assert "campaign doctor" in caught.value.hint
    assert Result.failed(caught.value).outcome == "lost"
    with pytest.raises(LostError, match=r"000007\.npz"):
        await_item(tmp_path, "000007")


def test_looking_asks_the_server_anew_and_a_stale_handle_is_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "part" / "manifest.json"
    path.parent.mkdir()
    path.touch()
    fresh = set[Path]()
    exists = Path.exists

    def cached(self: Path) -> bool:
        """What a host sees that remembers that there was nothing, until the folders are opened."""
        if self == path and not {path.parent, tmp_path} <= fresh:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return exists(self)

    opened = os.scandir

    def scandir(folder: Path) -> Iterator[os.DirEntry[str]]:
        fresh.add(Path(folder))
        return opened(folder)

    monkeypatch.setattr(Path, "exists", cached)
    monkeypatch.setattr("os.scandir", scandir)
    await_files([path], for_s=0.0)
    assert {path.parent, tmp_path} <= fresh
