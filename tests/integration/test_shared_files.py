"""A driver that sees late, or never, what its workers made on another host.

The lateness is a fake: a worker makes things out of sight, and another process moves them in.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from campaign.execution.driver import Driver, Ending
from campaign.execution.losses import MAX_LOSSES
from campaign.execution.sightings import Sightings
from campaign.ledger import Ledger, read_ledger
from campaign.plan.items import Items, PlannedPart, planned_part
from campaign.sites.site import LocalSite
from campaign.workspace import Workspace
from data_store.parts import open_part, part_path, verify_part
from data_store.work import item_keys
from tests.watch import UNWATCHED

SITE = LocalSite.model_validate(
    {"site": {"name": "test"}, "pools": {"cpu": {"workers_per_node": 2}}}
)
OUT_OF_SIGHT = "tests.integration.toy_tasks:made_out_of_sight"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    made = Workspace(tmp_path / "workspace")
    made.prepare()
    return made


def toy(function: str, items: Items | None = None, **settings: Any) -> PlannedPart:
    stage = "label" if items else "sample"
    return planned_part(stage, f"{stage} {settings}", settings, 0, function=function, items=items)


def run(
    plan: list[PlannedPart], workspace: Workspace, monkeypatch: pytest.MonkeyPatch, within_s: float
) -> Ending:
    monkeypatch.setattr(
        "campaign.execution.driver.Sightings", lambda where: Sightings(where, within_s)
    )
    with Ledger(workspace.ledger) as ledger:
        return Driver(plan, workspace, SITE, ledger, lambda progress: None, UNWATCHED).run()


def events(workspace: Workspace) -> Counter[str]:
    rows = read_ledger(workspace.ledger)
    return Counter(str(row.get("outcome", row["event"])) for row in rows)


def test_what_is_seen_late_is_waited_for_and_counted(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = toy(OUT_OF_SIGHT, value=3, hidden_s=2)
    series = Items(3, OUT_OF_SIGHT, "e" * 64, per_task=3)
    labels = toy("tests.integration.toy_tasks:make", series, value=4, hidden_s=2)
    quick = toy("tests.integration.toy_tasks:make", value=5)
    assert run([late, labels, quick], workspace, monkeypatch, within_s=60.0).complete
    for part in (late, labels):
        found = open_part(part_path(workspace.parts, part.stage, part.fingerprint))
        assert not verify_part(found)
    assert len(item_keys(workspace.work / series.fingerprint)) == 3
    assert events(workspace) == {"submitted": 4, "unseen": 2, "done": 4}
    order = [
        (row["event"], row["label"])
        for row in read_ledger(workspace.ledger)
        if row["event"] != "submitted"
    ]
    assert order.index(("result", quick.label)) < order.index(("result", late.label)), (
        "nothing else waits for it"
    )


def test_what_stays_out_of_sight_is_lost_and_made_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = toy(OUT_OF_SIGHT, value=3, hidden_s=0, times=1)
    never = toy(OUT_OF_SIGHT, value=4, hidden_s=0, times=10**6)
    ending = run([once, never], workspace, monkeypatch, within_s=0.5)
    assert not verify_part(open_part(part_path(workspace.parts, "sample", once.fingerprint)))
    (entry,) = ending.quarantined
    assert (entry.label, entry.cause) == (never.label, "lost")
    assert never.fingerprint in entry.message
    assert "not to be seen from the driver's host after 0.5 s" in entry.message
    assert entry.host
    found = events(workspace)
    assert (found["done"], found["lost"]) == (1, 1 + MAX_LOSSES)
