"""What the driver does for each task does not grow with the number of tasks.

Counted, not timed. The workers are fakes that answer at once, so that nothing but the driver's own
work is counted; that it works with Parsl is shown in `tests/integration/test_driver.py`.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps.runner import run_requests
from campaign.execution import driver as module
from campaign.execution import showing
from campaign.execution.driver import Driver
from campaign.execution.showing import SHOWN_SHARE
from campaign.ledger import Ledger, read_ledger
from campaign.plan.items import Items, PlannedPart, planned_part
from campaign.progress import Progress
from campaign.sites.site import LocalSite
from campaign.workspace import Workspace
from data_store.work import item_key, save_item
from tests.watch import UNWATCHED

SITE = LocalSite.model_validate(
    {"site": {"name": "test"}, "pools": {"cpu": {"workers_per_node": 1}}}
)


class AtOnce:
    """Workers that answer before they are asked for it, as many at once as they are given."""

    def __init__(self, *_: Any) -> None: ...

    def __enter__(self) -> AtOnce:
        return self

    def __exit__(self, *_: object) -> None: ...

    def check(self) -> None: ...

    def submit(
        self,
        pool: str,
        function: str,
        requests: Any,
        marks: list[str],
        ranks: int,
        *,
        together: bool,
    ) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(run_requests(function, requests, marks, together=together))
        return future


def items_in_two_tries(request: dict[str, Any]) -> dict[str, Any]:
    """Make the items at the second try, and their part when they are there."""
    folder = Path(request["work_root"]) / request["work_fingerprint"]
    resources: dict[str, Any] = {"outcome": "done", "message": ""}
    if "indices" not in request["key"]:
        part = Path(request["parts_root"]) / request["stage"] / request["fingerprint"]
        part.mkdir(parents=True)
        (part / "manifest.json").touch()
        return resources
    (index,) = request["key"]["indices"]
    tried = folder / f"tried-{index}"
    if not tried.exists():
        folder.mkdir(parents=True, exist_ok=True)
        tried.touch()
        return {**resources, "outcome": "continue"}
    save_item(folder, item_key(index), {"value": np.array([index])}, {})
    return resources


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int], Counter[str]]:
    """Syncs of the ledger, and entries of folders listed, for a part of so many items."""
    monkeypatch.setattr(module, "Workers", AtOnce)
    monkeypatch.setattr(showing, "SHOWN_EVERY_S", float("inf"))
    numbers = itertools.count()

    def count(items: int) -> Counter[str]:
        found: Counter[str] = Counter()
        workspace = Workspace(tmp_path / f"{next(numbers)}")
        workspace.prepare()
        part = many(items)
        with monkeypatch.context() as patched, Ledger(workspace.ledger) as ledger:
            number, sync, scan = ledger._handle.fileno(), os.fsync, os.scandir

            def counted_sync(handle: int) -> None:
                found["syncs"] += handle == number
                sync(handle)

            def counted_scan(folder: Any) -> Any:
                found["entries"] += sum(1 for _ in Path(folder).iterdir())
                return scan(folder)

            patched.setattr("os.fsync", counted_sync)
            patched.setattr("os.scandir", counted_scan)
            driver = Driver([part], workspace, SITE, ledger, lambda progress: None, UNWATCHED)
            assert driver.run().complete
        outcomes = Counter(r.get("outcome", r["event"]) for r in read_ledger(workspace.ledger))
        assert outcomes == {"submitted": 2 * items + 1, "continue": items, "done": items + 1}
        return found

    return count


def many(items: int) -> PlannedPart:
    made = "tests.unit.test_driver_costs:items_in_two_tries"
    series = Items(items, made, "e" * 64, per_task=1)
    return planned_part("label", "items", {}, 0, function=made, items=series)


def test_syncs_and_looks_grow_with_the_tasks_and_not_with_their_square(
    costs: Callable[[int], Counter[str]],
) -> None:
    few, more = costs(20), costs(80)
    tasks = 2 * 80 + 1
    assert more["syncs"] <= tasks + 2, "one for each pass, not two for each task"
    assert more["entries"] <= 4 * few["entries"] + 8


class Clock:
    """A clock that goes on when it is told to."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_showing_takes_but_a_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, shown = Clock(), 0.0
    monkeypatch.setattr(showing, "time", clock)

    def slow(progress: Progress) -> None:
        nonlocal shown
        clock.now += 2.0
        shown += 2.0

    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        driver = Driver([many(3)], Workspace(tmp_path), SITE, ledger, slow, UNWATCHED)
        while clock.now < 500.0:
            if driver._showing.is_due:
                driver._show()
            clock.now += 0.1
    assert 0.0 < shown <= 1.1 * SHOWN_SHARE * clock.now


def test_a_driver_takes_in_all_that_came_back_and_then_hands_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of a pass are on disk before a task of it is with the workers."""
    handed_out: list[str] = []

    class Looking(AtOnce):
        def submit(
            self, pool: str, function: str, requests: Any, marks: list[str], ranks: int, *,
            together: bool,
        ) -> Future[Any]:  # fmt: skip
            (mark,) = marks
            told = [r["task"] for r in read_ledger(workspace.ledger) if r["event"] == "submitted"]
            assert Path(mark).stem in told, "its row is on disk"
            handed_out.append(Path(mark).stem)
            return super().submit(pool, function, requests, marks, ranks, together=together)

    monkeypatch.setattr(module, "Workers", Looking)
    workspace = Workspace(tmp_path / "workspace")
    workspace.prepare()
    with Ledger(workspace.ledger) as ledger:
        driver = Driver([many(12)], workspace, SITE, ledger, lambda progress: None, UNWATCHED)
        assert driver.run().complete
    rows: Iterator[dict[str, Any]] = read_ledger(workspace.ledger)
    assert [r["task"] for r in rows if r["event"] == "submitted"] == handed_out
    flight = Counter[str]()
    for row in read_ledger(workspace.ledger):
        flight[row["task"]] += 1 if row["event"] == "submitted" else -1
        assert flight[row["task"]] in {0, 1}, "a result comes after its submission"
