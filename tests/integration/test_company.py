"""Tasks that share a worker, and tasks that do not find the memory: by real Parsl workers."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from campaign.execution.driver import Driver, Ending
from campaign.ledger import Ledger, read_ledger
from campaign.plan.items import PlannedPart, planned_part
from campaign.plan.stages import STAGES
from campaign.sites.site import LocalSite
from campaign.workspace import Workspace
from tests.integration.test_driver import outcomes, value
from tests.watch import UNWATCHED

TOYS = "tests.integration.toy_tasks"
BLOCKS = 5


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    stage = dataclasses.replace(STAGES["simulate"], together=f"{TOYS}:together")
    monkeypatch.setitem(STAGES, "simulate", stage)
    made = Workspace(tmp_path / "workspace")
    made.prepare()
    return made


def site(gpus: int, workers: int = 1) -> LocalSite:
    pool = {"workers_per_node": workers, "gpus_per_node": gpus}
    return LocalSite.model_validate(
        {"site": {"name": "test"}, "pools": {"cpu": {"workers_per_node": 2}, "gpu": pool}}
    )


def blocks(model: int, function: str = "alone", **settings: Any) -> list[PlannedPart]:
    """Blocks of one model; `value` tells the models apart."""
    return [
        planned_part(
            "simulate", f"model {model} block {block}", {"value": model, **settings}, 0,
            key={"seed": model, "block": block}, function=f"{TOYS}:{function}",
        )
        for block in range(BLOCKS)
    ]  # fmt: skip


def run(parts: list[PlannedPart], workspace: Workspace, where: LocalSite) -> Ending:
    with Ledger(workspace.ledger) as ledger:
        return Driver(parts, workspace, where, ledger, lambda _: None, UNWATCHED).run()


def rows(workspace: Workspace, event: str) -> list[dict[str, Any]]:
    return [row for row in read_ledger(workspace.ledger) if row["event"] == event]


def sizes(workspace: Workspace) -> Counter[int]:
    """How many parts were made in batches of which size."""
    made = (row for row in rows(workspace, "result") if row["outcome"] == "done")
    return Counter(int(row["counts"].get("together", 1)) for row in made)


def test_blocks_of_one_model_go_to_a_gpu_together(workspace: Workspace) -> None:
    plan = [*blocks(1), *blocks(2)]
    assert run(plan, workspace, site(gpus=1)).complete
    assert [value(part, workspace) for part in plan] == [1] * BLOCKS + [2] * BLOCKS
    assert sizes(workspace) == {BLOCKS: 2 * BLOCKS}
    led = [row.get("with_task") for row in rows(workspace, "submitted")]
    assert Counter(led)[None] == 2
    walls = [row["resources"]["wall_s"] for row in rows(workspace, "result")]
    assert len(set(walls)) == 2, "a batch's time is shared evenly"
    assert not list(workspace.running.glob("*.json"))


def test_all_workers_get_some_before_one_gets_all(workspace: Workspace) -> None:
    assert run(blocks(1), workspace, site(gpus=2, workers=2)).complete
    assert max(sizes(workspace)) < BLOCKS


def test_without_a_gpu_each_goes_alone(workspace: Workspace) -> None:
    assert run(blocks(1), workspace, site(gpus=0)).complete
    assert sizes(workspace) == {1: BLOCKS}


def test_blocks_with_a_bias_go_alone(workspace: Workspace) -> None:
    biased = blocks(1, dynamics={"metadynamics": {"height_eV": 0.01}})
    assert run(biased, workspace, site(gpus=1)).complete
    assert sizes(workspace) == {1: BLOCKS}


@pytest.mark.parametrize("does", ["die", "fail"])
def test_company_of_one_that_kills_its_worker_is_not_harmed(
    workspace: Workspace, does: str
) -> None:
    plan = blocks(1, poison=2, does=does)
    assert run(plan, workspace, site(gpus=1)).complete, "none is given up, the poisoned included"
    found = outcomes(workspace)
    assert found["done"] == BLOCKS
    assert found["lost" if does == "die" else "failed_software"] == BLOCKS, "once each"
    assert sizes(workspace) == {1: BLOCKS}, "alone from then on"


def test_where_memory_runs_out_fewer_run_at_once_and_none_is_given_up(
    workspace: Workspace,
) -> None:
    plan = blocks(1, "hungry", room=1)
    assert run(plan, workspace, site(gpus=0, workers=2)).complete
    told = rows(workspace, "fewer_at_once")
    assert {row["at_once"] for row in told} == {1}
    found = outcomes(workspace)
    assert found["done"] == BLOCKS
    assert 1 <= found["lost"] <= 2, "what was at work together at first, and no more"
    assert not list(workspace.quarantine.glob("*.json"))
