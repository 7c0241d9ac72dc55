"""The driver treats each class of outcome by its own rule; workers are real Parsl workers."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from campaign.execution.driver import Driver, Ending
from campaign.execution.losses import MAX_LOSSES
from campaign.ledger import Ledger, read_ledger
from campaign.plan.items import Items, PlannedPart, planned_part
from campaign.plan.stages import STAGES
from campaign.progress import Progress
from campaign.quarantine import Quarantined, keep, kept, lift
from campaign.sites.site import LocalSite
from campaign.workspace import Workspace
from data_store.errors import InputError, WorkspaceError
from data_store.parts import open_part, part_path
from data_store.work import item_keys
from tests.watch import UNWATCHED

SITE = LocalSite.model_validate(
    {"site": {"name": "test"}, "pools": {"cpu": {"workers_per_node": 2}}}
)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    made = Workspace(tmp_path / "workspace")
    made.prepare()
    return made


def toy(stage: str, needs: list[PlannedPart] | None = None, **settings: Any) -> PlannedPart:
    return planned_part(
        stage,
        f"{stage} {settings}",
        settings,
        seed=0,
        inputs={"needs": needs or []},
        function="tests.integration.toy_tasks:make",
    )


def run(parts: list[PlannedPart], workspace: Workspace) -> tuple[Ending, list[Progress]]:
    shown: list[Progress] = []
    with Ledger(workspace.ledger) as ledger:
        ending = Driver(parts, workspace, SITE, ledger, shown.append, UNWATCHED).run()
    return ending, shown


def outcomes(workspace: Workspace) -> Counter[str]:
    return Counter(
        str(row["outcome"]) for row in read_ledger(workspace.ledger) if row["event"] == "result"
    )


def value(part: PlannedPart, workspace: Workspace) -> int:
    found = open_part(part_path(workspace.parts, part.stage, part.fingerprint))
    return int(found.read("value", "")[0])


def test_parts_are_made_in_order_of_dependence(workspace: Workspace) -> None:
    first = [toy("sample", value=v) for v in (1, 2, 3)]
    last = toy("pretrain", first, value=10)
    ending, shown = run([*first, last], workspace)
    assert ending.complete
    assert value(last, workspace) == 16
    assert shown[-1].complete
    assert not list(workspace.running.glob("*.json"))
    before = sum(1 for _ in read_ledger(workspace.ledger))
    assert run([*first, last], workspace)[0].complete
    assert sum(1 for _ in read_ledger(workspace.ledger)) == before, "a second launch does nothing"


def test_a_long_task_does_not_take_the_core_that_a_wide_one_is_about_to_need(
    workspace: Workspace,
) -> None:
    narrow = [toy("sample", value=1), toy("sample", value=2, seconds=2.0)]
    wide = planned_part(
        "pretrain", "wide", {}, 0, inputs={"needs": narrow}, cores=2,
        function="tests.integration.toy_tasks:make",
    )  # fmt: skip
    long = toy("finetune", value=3)
    assert run([*narrow, wide, long], workspace)[0].complete
    order = [r["stage"] for r in read_ledger(workspace.ledger) if r["event"] == "submitted"]
    assert order == ["sample", "sample", "pretrain", "finetune"]


def test_each_outcome_has_its_rule(workspace: Workspace) -> None:
    goes_on = toy("sample", does="continue", times=3, value=1)
    dies = toy("sample", does="die", times=1, value=2)
    breaks_once = toy("sample", does="software", times=1, value=3)
    breaks = toy("sample", does="software")
    fails = toy("sample", does="method")
    blocked = toy("pretrain", [fails])
    ending, _ = run([goes_on, dies, breaks_once, breaks, fails, blocked], workspace)
    assert [value(p, workspace) for p in (goes_on, dies, breaks_once)] == [1, 2, 3]
    assert {entry.label: entry.cause for entry in ending.quarantined} == {
        breaks.label: "software", fails.label: "method"
    }  # fmt: skip
    assert ending.blocked == (blocked.label,)
    assert outcomes(workspace) == {
        "done": 3, "continue": 3, "lost": 1, "failed_software": 3, "failed_method": 1
    }  # fmt: skip
    logs = [p.read_text() for p in (workspace.logs / "tasks").iterdir()]
    assert any("RuntimeError" in text for text in logs), "tracebacks are kept for the curious"


def test_what_is_lost_again_and_again_is_quarantined(workspace: Workspace) -> None:
    unlucky, doomed = toy("sample", does="lost", times=2, value=1), toy("sample", does="lost")
    ending, _ = run([unlucky, doomed], workspace)
    assert value(unlucky, workspace) == 1
    assert [(entry.label, entry.cause) for entry in ending.quarantined] == [(doomed.label, "lost")]
    assert "on purpose" in ending.quarantined[0].message
    assert outcomes(workspace) == {"done": 1, "lost": 2 + MAX_LOSSES}


def test_finished_items_survive_the_death_of_their_worker(workspace: Workspace) -> None:
    items = Items(7, "tests.integration.toy_tasks:item", "e" * 64, per_task=3)
    part = planned_part(
        "label", "items", {"dies_at": 4}, 0, items=items,
        function="tests.integration.toy_tasks:make",
    )  # fmt: skip
    ending, shown = run([part], workspace)
    assert ending.complete
    assert item_keys(workspace.work / items.fingerprint) == [f"{i:06d}" for i in range(7)]
    again = [
        row["items"]
        for row in read_ledger(workspace.ledger)
        if row["event"] == "submitted" and row["task"].endswith("-000001")
    ]
    assert again == [3, 2], "the item done before the death is not handed out again"
    handed_out = sum(r["items"] for r in read_ledger(workspace.ledger) if r["event"] == "submitted")
    assert handed_out == 7 + 2 + 1, "no item was in two tasks: seven, two again, the merging"
    assert outcomes(workspace)["lost"] == 1
    assert shown[-1].complete


@pytest.mark.parametrize(("does", "kind"), [("input", InputError), ("workspace", WorkspaceError)])
def test_what_stops_all_keeps_what_is_finished(
    workspace: Workspace, does: str, kind: type[Exception]
) -> None:
    finished = toy("prepare", value=4)
    with pytest.raises(kind, match=f"a {does} failure"):
        run([finished, toy("sample", [finished], does=does)], workspace)
    assert value(finished, workspace) == 4


def submitted(workspace: Workspace) -> list[str]:
    return [row["label"] for row in read_ledger(workspace.ledger) if row["event"] == "submitted"]


def test_quarantine_outlasts_the_launch_until_it_is_lifted(workspace: Workspace) -> None:
    breaks_thrice = toy("sample", does="software", times=3, value=1)
    fails = toy("sample", does="method")
    needs_it = toy("pretrain", [breaks_thrice], value=2)
    plan = [breaks_thrice, fails, needs_it]
    first, _ = run(plan, workspace)
    by_label = {entry.label: entry for entry in kept(workspace)}
    assert {label: entry.cause for label, entry in by_label.items()} == {
        breaks_thrice.label: "software", fails.label: "method"
    }  # fmt: skip
    entry = by_label[breaks_thrice.label]
    assert "RuntimeError: a software failure" in entry.message
    assert "RuntimeError" in (workspace.root / entry.traceback).read_text()
    assert entry.host

    before = submitted(workspace)
    again, shown = run(plan, workspace)
    assert submitted(workspace) == before, "what is in quarantine is not handed out, nor its kin"
    assert again == first
    assert again.blocked == (needs_it.label,)
    assert {e.label for e in shown[0].quarantined} == set(by_label), "said from the start"

    lift(workspace, entry)
    third, _ = run(plan, workspace)
    assert [e.label for e in third.quarantined] == [fails.label]
    assert value(needs_it, workspace) == 3
    assert outcomes(workspace)["failed_software"] == 3, "one more failure: the tries are fresh"
    assert [p.name for p in (workspace.quarantine / "lifted").iterdir()] == [entry.file_name]


def test_a_raised_version_remakes_that_stage_and_what_depends_on_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan() -> list[PlannedPart]:
        sample = toy("sample", value=1)
        pretrain = toy("pretrain", [sample], value=10)
        return [sample, toy("starts", [sample], value=5), pretrain, toy("finetune", [pretrain])]

    before = plan()
    gone = Quarantined("sample", "0" * 64, "gone", "method", "of another plan", "", "", 0.0)
    keep(workspace, gone)
    assert run(before, workspace)[0].complete, "what is in no plan any more holds up nothing"
    handed_out = submitted(workspace)
    stage = STAGES["pretrain"]
    monkeypatch.setitem(STAGES, "pretrain", dataclasses.replace(stage, version=stage.version + 1))
    after = plan()
    assert run(after, workspace)[0].complete
    assert submitted(workspace)[len(handed_out) :] == [after[2].label, after[3].label]
    assert [value(part, workspace) for part in before] == [1, 6, 11, 11], "what was there stays"
    keep(workspace, dataclasses.replace(gone, fingerprint=after[0].fingerprint))
    assert run(after, workspace)[0].complete, "nor does a file of what is made"
