"""Seeded kills: whoever is in flight in a campaign is killed at a moment drawn beforehand.

A *kind* of kill says who can be seen in flight (a worker that samples, a rank that trains, a
process in the middle of committing a part, ...). For each kill of a kind a stream of its own says
how many that are seen are let by and how long the next one is left alone: up to four fifths of
what such a thing lasted in a campaign that nobody disturbed. A kill *hits* if what was seen was
still in flight when its process died, and *misses* if it ended before; both are counted. Only
processes of the campaign's own workspace are ever killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from data_store.parts import open_part, verify_part
from data_store.streams import stream
from tests.e2e.tiny import digests, events, report, start

Spans = dict[str, float]
"""Median time in flight of each kind, in seconds."""

_TICK_S = 0.003
"""Between two looks: a commit of a part of the tiny campaign takes some seventy milliseconds."""

_SHARE = 0.8


@dataclass(frozen=True)
class Target:
    """Something in flight.

    Parameters
    ----------
    key : str
        Tells it from all that was seen before.
    pids : tuple of int
        Processes that are at it; one of them is killed.
    sign : Path
        Lies there for as long as it is in flight.
    """

    key: str
    pids: tuple[int, ...]
    sign: Path

    def in_flight(self) -> bool:
        return self.sign.exists()


def read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return None  # not there yet, or gone again


def marks(workspace: Path, pattern: str) -> Iterator[tuple[Path, int]]:
    """Marks of tasks in flight and their processes."""
    for path in (workspace / "running").glob(pattern):
        found = read(path)
        if found is not None and psutil.pid_exists(found["pid"]):
            yield path, found["pid"]


def tasks(pattern: str) -> Callable[[Path], Iterator[Target]]:
    """Workers at a task whose mark goes by `pattern`."""

    def look(workspace: Path) -> Iterator[Target]:
        for path, pid in marks(workspace, pattern):
            yield Target(f"{path.name} {pid}", (pid,), path)

    return look


def ranks(workspace: Path) -> Iterator[Target]:
    """All ranks of a training that have met."""
    for path, _ in marks(workspace, "pretrain-*.json"):
        folder = f"{path.stem.split('-')[1]}*"
        found = [read(file) for file in (workspace / "work").glob(f"{folder}/rank-?.json")]
        pids = tuple(sorted(mark["pid"] for mark in found if mark is not None))
        if len(pids) == 2 and all(psutil.pid_exists(pid) for pid in pids):
            yield Target(f"ranks {pids}", pids, path)


def commits(workspace: Path) -> Iterator[Target]:
    """Processes between the first byte of a part and its renaming into place."""
    for aside in (workspace / "parts").glob("*/.*.tmp"):
        stage, fingerprint = aside.parent.name, aside.name.split(".")[1]
        first = next(iter((workspace / "work").glob(f"{fingerprint}*/rank-0.json")), None)
        mark = read(first or workspace / "running" / f"{stage}-{fingerprint}.json")
        if mark is not None and psutil.pid_exists(mark["pid"]):
            yield Target(aside.name, (mark["pid"],), aside)


@dataclass(frozen=True)
class Kind:
    """A kind of kill.

    Parameters
    ----------
    look : callable
        From a workspace to what is in flight.
    let_by : int
        Up to how many are let by before one is killed.
    """

    look: Callable[[Path], Iterator[Target]]
    let_by: int


KINDS = {
    "sampling": Kind(tasks("sample-*.json"), 1),
    "scf": Kind(tasks("label-*-*.json"), 2),
    "training": Kind(ranks, 0),
    "dynamics": Kind(tasks("simulate-*.json"), 2),
    "commit": Kind(commits, 6),
    "driver": Kind(tasks("*.json"), 8),
}


@dataclass
class Tally:
    """Kills of one kind, over any number of campaigns.

    Parameters
    ----------
    hits, misses : int
    after_s : list of float
        How long what was hit had been in sight.
    """

    hits: int = 0
    misses: int = 0
    after_s: list[float] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        middle = round(statistics.median(self.after_s), 4) if self.after_s else None
        return {"kills": self.hits + self.misses, "hits": self.hits, "misses": self.misses,
                "median_s_in_sight": middle}  # fmt: skip


def processes_of(folder: Path) -> list[int]:
    """Processes of a campaign's launches, by what they inherited."""
    workspace = str(folder / "workspace")
    return [
        process.pid
        for process in psutil.process_iter(["environ"])
        if (process.info["environ"] or {}).get("CAMPAIGN_WORKSPACE") == workspace
    ]


def interchange_of(driver: subprocess.Popen[bytes]) -> psutil.Process:
    children = psutil.Process(driver.pid).children(recursive=True)
    return next(child for child in children if "interchange" in " ".join(child.cmdline()))


class Hunter:
    """Kills of one kind in one campaign.

    Parameters
    ----------
    name : str
    folder : Path
    wanted : int
        Hits to make.
    span_s : float
        What such a thing lasts.
    seed : int
    tally : Tally
        Continued; its count numbers the kills.
    """

    def __init__(
        self, name: str, folder: Path, wanted: int, span_s: float, seed: int, tally: Tally
    ) -> None:
        self.name, self.folder, self.span_s, self.seed, self.tally = (
            name, folder, span_s, seed, tally
        )  # fmt: skip
        self._until = tally.hits + wanted
        self._seen: set[str] = set()
        self._chosen: tuple[Target, psutil.Process, float] | None = None
        self._draw()

    def _draw(self) -> None:
        rng = stream(self.seed, "kill", self.name, self.tally.hits + self.tally.misses)
        self._let_by = int(rng.integers(0, KINDS[self.name].let_by + 1))
        self._delay_s = float(rng.uniform(0.0, _SHARE * self.span_s))
        self._which = float(rng.uniform())

    @property
    def satisfied(self) -> bool:
        return self.tally.hits >= self._until

    def step(self, driver: subprocess.Popen[bytes]) -> bool:
        """Look once; whether something was killed."""
        if self.satisfied:
            return False
        if self._chosen is None:
            self._choose(driver)
        if self._chosen is None or time.monotonic() < self._chosen[2] + self._delay_s:
            return False
        self._kill(driver, *self._chosen)
        return True

    def _choose(self, driver: subprocess.Popen[bytes]) -> None:
        """Of what is new in sight, let by as many as were drawn; the next one it is."""
        for target in KINDS[self.name].look(self.folder / "workspace"):
            if target.key in self._seen:
                continue
            self._seen.add(target.key)
            if self._let_by:
                self._let_by -= 1
                continue
            pid = target.pids[int(self._which * len(target.pids))]
            process = _own(driver.pid if self.name == "driver" else pid, self.folder, driver.pid)
            if process is not None:
                self._chosen = target, process, time.monotonic()
                return

    def _kill(
        self,
        driver: subprocess.Popen[bytes],
        target: Target,
        process: psutil.Process,
        since: float,
    ) -> None:
        in_sight = time.monotonic() - since
        # psutil refuses if another process has got this number meanwhile.
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
            _wait_for_death(process)
        if driver.wait() == -signal.SIGKILL if self.name == "driver" else target.in_flight():
            self.tally.hits += 1
            self.tally.after_s.append(in_sight)
        else:
            self.tally.misses += 1
        self._chosen = None
        self._draw()


def _own(pid: int, folder: Path, driver: int) -> psutil.Process | None:
    """The process, if it is of this campaign and no other."""
    try:
        process = psutil.Process(pid)
        inherited = process.environ().get("CAMPAIGN_WORKSPACE")
    except psutil.Error:
        return None
    return process if pid == driver or inherited == str(folder / "workspace") else None


def _wait_for_death(process: psutil.Process) -> None:
    """Until nothing more can come from it: gone, or waiting to be buried by its parent."""
    deadline = time.monotonic() + 20.0
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"{process} survived kill -9"
        time.sleep(_TICK_S)


def hunt(
    folder: Path, wanted: dict[str, int], spans: Spans, seed: int, tallies: dict[str, Tally]
) -> str:
    """Run a campaign to its end while killing in it, the driver too; what it wrote at its end.

    At each kill it is noted what is finished; at the end that must not have been made again.
    """
    hunters = [Hunter(k, folder, n, spans[k], seed, tallies[k]) for k, n in wanted.items()]
    finished: dict[Path, tuple[int, int]] = {}
    driver = start(folder)
    with _nobody_left(folder):
        while driver.poll() is None:
            killed = [hunter.name for hunter in hunters if hunter.step(driver)]
            for path in _finished(folder) if killed else ():
                finished.setdefault(path, _identity(path))
            if driver.poll() == -signal.SIGKILL:
                assert processes_of(folder), "what it leaves behind is known as its own"
                driver = start(folder)
            time.sleep(_TICK_S)
    output = (folder / "output.txt").read_text()
    assert driver.returncode == 0, output
    again = [str(path) for path, was in finished.items() if _identity(path) != was]
    assert not again, "finished and made again"
    return output


@contextlib.contextmanager
def _nobody_left(folder: Path) -> Iterator[None]:
    """End a campaign's processes if the test does not come to its end."""
    try:
        yield
    except BaseException:
        for pid in processes_of(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        raise


def _finished(folder: Path) -> Iterator[Path]:
    yield from (folder / "workspace" / "parts").glob("*/[!.]*/manifest.json")
    yield from (folder / "workspace" / "work").glob("*/0*.npz")


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def torn_commits(folder: Path) -> list[Path]:
    """What kills in the middle of a commit left: hidden, and never taken for a part."""
    return list((folder / "workspace" / "parts").glob("*/.*.tmp"))


@dataclass(frozen=True)
class Quiet:
    """A campaign that nobody disturbed, as it was at its end.

    Parameters
    ----------
    folder : Path
    digests : dict of str to str
    report : dict
    spans : dict of str to float
    """

    folder: Path
    digests: dict[str, str]
    report: dict[str, Any]
    spans: Spans


def run_quietly(folder: Path) -> Quiet:
    """Run a campaign to its end and see how long everything is in flight."""
    lasted: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in KINDS}
    driver = start(folder)
    while driver.poll() is None:
        now = time.monotonic()
        for name, kind in KINDS.items():
            for target in kind.look(folder / "workspace"):
                lasted[name][target.key].append(now)
        time.sleep(_TICK_S)
    assert driver.returncode == 0, (folder / "output.txt").read_text()
    spans = {
        name: float(np.median([seen[-1] - seen[0] for seen in found.values()] or [0.0]))
        for name, found in lasted.items()
    }
    return Quiet(folder, digests(folder), report(folder), spans)


def check(folder: Path, quiet: Quiet) -> None:
    """What was killed ended as what was not: the same parts, nothing failed, nobody left."""
    assert not processes_of(folder), "somebody was left behind"
    assert digests(folder) == quiet.digests
    for key in ("results", "comparisons"):
        assert report(folder)[key] == quiet.report[key]
    made = [path.parent for path in (folder / "workspace" / "parts").glob("*/[!.]*/manifest.json")]
    assert all(not verify_part(open_part(path)) for path in made)
    rows = [row for row in events(folder) if row["event"] == "result"]
    assert {row["outcome"] for row in rows} <= {"done", "lost"}
    done = [row for row in rows if row["outcome"] == "done" and row["path"]]
    assert len({row["path"] for row in done}) == len(done), "a part was made twice"
    worlds = [row["counts"]["world_size"] for row in done if row["stage"] == "pretrain"]
    assert set(worlds) <= {2.0}, "it went on with fewer ranks"
