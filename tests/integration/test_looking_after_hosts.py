"""What a campaign's user sees of losses, hosts and blocks: status, why, retry --host."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from campaign.campaign import Campaign
from campaign.freezing import freeze
from campaign.ledger import Ledger, read_ledger
from campaign.left_out import LeftOut, hosts_left_out, leave_out
from campaign.plan.items import PlannedPart
from campaign.quarantine import Quarantined, keep
from data_store.work import save_item
from tests.e2e.tiny import TINY

Runner = Callable[..., tuple[int, str, str]]


@pytest.fixture
def tiny(tmp_path: Path) -> Campaign:
    """A campaign that was launched once and has made nothing."""
    (tmp_path / "campaign.toml").write_text(TINY)
    campaign = Campaign.read(tmp_path)
    campaign.workspace.prepare()
    freeze(campaign.workspace, campaign.spec)
    return campaign


def folder(campaign: Campaign) -> str:
    return str(campaign.file.parent)


def planned(campaign: Campaign, stage: str) -> PlannedPart:
    return campaign.plan().of(stage)[0]


def result(part: PlannedPart, outcome: str, items: int = 1, block: str = "", **more: Any) -> Any:
    task = f"{part.stage}-{part.fingerprint[:16]}" + (f"-{block}" if block else "")
    return {
        "task": task, "stage": part.stage, "label": part.label, "fingerprint": part.fingerprint,
        "items": items, "outcome": outcome, **more,
    }  # fmt: skip


def test_status_tells_items_by_outcome_and_all_answers(run: Runner, tiny: Campaign) -> None:
    label, other = planned(tiny, "label"), planned(tiny, "pretrain")
    assert label.items is not None
    size = label.items.per_task
    for index in range(3):
        save_item(
            tiny.workspace.work / label.items.fingerprint, f"{index:06d}",
            {"value": np.array([index])}, {},
        )  # fmt: skip
    with Ledger(tiny.workspace.ledger) as ledger:
        ledger.write("launched")
        ledger.write("result", **result(label, "lost", size, "000000", with_block=False))
        ledger.write("result", **result(label, "done", size, "000000"))
        ledger.write("result", **result(label, "failed_software", size, "000001"))
        ledger.write("result", **result(label, "lost", size, "000001", with_block=True))
        ledger.write("result", **result(other, "continue"))
        ledger.write("result", **{**result(other, "failed_method"), "fingerprint": "f" * 64})
    code, out, _ = run("status", folder(tiny), "--json")
    assert code == 0
    found = json.loads(out)
    left = len([i for i in range(size, min(2 * size, label.items.count)) if i >= 3])
    assert found["outcomes"]["label"]["items"] == {"done": 3, **({"lost": left} if left else {})}
    assert found["outcomes"]["label"]["answers"] == {"done": 1, "failed_software": 1, "lost": 2}
    assert found["outcomes"]["pretrain"]["items"] == {"done": 0, "continue": 1}
    assert found["outcomes"]["sample"] == {
        "stage": "sample", "title": "teacher structures", "items": {"done": 0}, "answers": {}
    }  # fmt: skip
    assert found["time_left"]["at_work"] is False
    out = run("status", folder(tiny))[1]
    assert "expert labels: 3 done" in out
    assert "answers so far: 1 done, 1 failed_software, 2 lost" in out
    assert "pre-training: 0 done, 1 continue; answers so far: 1 continue" in out
    assert "teacher structures: 0 done" not in out, "of what went well there is nothing to say"
    assert "time left: no driver is at work" in out


def test_a_driver_at_work_has_a_pace(run: Runner, tiny: Campaign) -> None:
    sample = planned(tiny, "sample")
    driver = {"pid": os.getpid(), "host": os.uname().nodename, "beat": 1, "ended": False}
    (tiny.workspace.root / "driver.json").write_text(json.dumps(driver))
    with Ledger(tiny.workspace.ledger) as ledger:
        ledger.write("launched")
        ledger.write("submitted", stage="sample")
        ledger.write("result", **result(sample, "done"))
    left = json.loads(run("status", folder(tiny), "--json")[1])["time_left"]
    assert left["at_work"]
    assert left["stages_s"]["teacher structures"] > 0
    assert left["stages_s"]["fine-tuning"] is None
    assert left["at_most_s"] is None
    assert "time left: more than" in run("status", folder(tiny))[1]


def test_a_host_left_out_is_shown_and_taken_back(run: Runner, tiny: Campaign) -> None:
    for host, avoided in (("n2", True), ("n9/odd", False)):
        leave_out(tiny.workspace, LeftOut(host, "hawk", "3 tasks [in a row]", 1e9, avoided))
    keep(tiny.workspace, Quarantined("label", "f" * 64, "gone", "lost", "", "", "", 0.0))
    out = run("status", folder(tiny))[1]
    assert "host left out: n2 of site hawk: 3 tasks [in a row]" in out
    assert "host n9/odd of site hawk eats tasks and is used all the same" in out
    assert "campaign retry FOLDER --host NAME" in out
    found = json.loads(run("status", folder(tiny), "--json")[1])
    assert [entry["host"] for entry in found["hosts_left_out"]] == ["n2", "n9/odd"]

    code, _, err = run("retry", folder(tiny), "--host", "n3")
    assert code == 2
    assert "valid: n2, n9/odd" in err
    code, out, _ = run("retry", folder(tiny), "--host", "n2", "--json")
    assert code == 0
    told = json.loads(out)
    assert [entry["host"] for entry in told["hosts_taken_back"]] == ["n2"]
    assert told["lifted"] == [], "a quarantine is another matter"
    assert [entry.host for entry in hosts_left_out(tiny.workspace)] == ["n9/odd"]
    assert [row["host"] for row in read_ledger(tiny.workspace.ledger)] == ["n2"]
    assert "taken back: host n9/odd" in run("retry", folder(tiny), "--host", "n9/odd")[1]
    assert hosts_left_out(tiny.workspace) == []
    lifted = tiny.workspace.quarantine / "hosts" / "lifted"
    assert len(list(lifted.iterdir())) == 2, "nothing is deleted"
    assert run("retry", folder(tiny), "--host", "n2")[0] == 2


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"host": "n1"}', "torn"])
def test_a_file_that_no_launch_wrote_is_refused(run: Runner, tiny: Campaign, text: str) -> None:
    path = tiny.workspace.quarantine / "hosts" / "n1.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    code, _, err = run("status", folder(tiny))
    assert code == 2
    assert "move it away" in err


@pytest.mark.parametrize("verb", ["validate", "plan", "launch"])
def test_a_limit_longer_than_a_block_is_refused_alike(
    run: Runner, tiny: Campaign, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setattr("campaign.sites.fitness.known_partitions", lambda site: None)
    site = tiny.file.parent / "hawk.toml"
    site.write_text(
        '[site]\nname = "hawk"\nscheduler = "slurm"\n'
        '[pools.cpu]\nwalltime = "00:10:00"\nworkers_per_node = 2\nnodes_per_block = 2\n'
    )
    asked = ("--site", str(site), "--set", "dynamics.checkpoint_every_s=481")
    code, _, err = run(verb, folder(tiny), *asked)
    assert code == 2
    assert "dynamics.checkpoint_every_s" in err
    assert "a block of pool cpu gives a task 480 s" in err
    assert not (tiny.workspace.root / "driver.json").exists()


def test_another_site_has_other_hosts(tiny: Campaign) -> None:
    leave_out(tiny.workspace, LeftOut("n2", "hawk", "", 1e9))
    assert [entry.host for entry in hosts_left_out(tiny.workspace, "hawk")] == ["n2"]
    assert hosts_left_out(tiny.workspace, "dove") == []


def test_why_tells_the_cause_of_each_loss_and_the_end_of_the_block_s_log(
    run: Runner, tiny: Campaign
) -> None:
    part = planned(tiny, "pretrain")
    log = tiny.workspace.logs / "block.stderr"
    log.write_text(
        "noise\n" * 40 + "slurmstepd: error: *** JOB 8 ON n2 CANCELLED DUE TO PREEMPTION\n"
    )
    lost: dict[str, Any] = {
        "job": "8",
        "host": "n2",
        "message": "ManagerLost: gone",
        "with_block": True,
    }
    with Ledger(tiny.workspace.ledger) as ledger:
        ledger.write("launched")
        ledger.write("block_submitted", job="8", pool="cpu", nodes=1, walltime_s=60.0, log=str(log))
        ledger.write("submitted", **result(part, ""))
        ledger.write("result", **result(part, "lost", **{**lost, "with_block": False}))
        ledger.write("submitted", **result(part, ""))
        ledger.write("result", **result(part, "lost", **lost))
        ledger.write(  # what the scheduler says comes after the loss itself
            "block_ended", job="8", pool="cpu", state="preempted", reason="", nodes=1,
            elapsed_s=5.0, node_hours=0.0,
        )  # fmt: skip
    code, out, _ = run("why", folder(tiny), "pretrain", "--json")
    assert code == 0
    found = json.loads(out)
    killed, preempted = found["attempts"]
    assert "killed by a signal" in killed["cause"]
    assert "preempted" in preempted["cause"]
    assert (preempted["host"], preempted["job"]) == ("n2", "8")
    assert found["block_log"][0] == f"({log})"
    assert found["block_log"][-1].endswith("DUE TO PREEMPTION")
    assert len(found["block_log"]) == 21
    out = run("why", folder(tiny), "pretrain")[1]
    assert "lost, on n2, job 8: ManagerLost: gone\n    why: its block was preempted" in out
    assert "last lines of its block's log:" in out

    keep(
        tiny.workspace,
        Quarantined(
            part.stage, part.fingerprint, part.label, "lost", "its worker was lost on 3 hosts",
            "", "n2", 0.0,
        ),
    )  # fmt: skip
    advice = json.loads(run("why", folder(tiny), "pretrain", "--json")[1])["advice"]
    assert "a partition or qos that is not preempted" in advice
    assert "campaign retry FOLDER 'pre-training'" in advice
