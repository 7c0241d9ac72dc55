"""Looking after a campaign by hand: quarantine, retry, why, status, damaged data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from campaign.campaign import Campaign
from campaign.freezing import freeze
from campaign.ledger import Ledger, read_ledger
from campaign.plan.items import PlannedPart
from campaign.quarantine import Cause, Quarantined, keep
from campaign.report.collect import collect
from data_store.columns import Column
from data_store.errors import InputError
from data_store.molecules import Molecule
from data_store.parts import Part, part_path, write_part
from data_store.runs import Run, runs_to_columns
from data_store.structure_parts import structures_to_columns
from data_store.structures import Structures
from tests.e2e.tiny import TINY

Runner = Any


@pytest.fixture
def tiny(tmp_path: Path) -> Campaign:
    """A campaign that was launched once and has made nothing."""
    (tmp_path / "campaign.toml").write_text(TINY)
    campaign = Campaign.read(tmp_path)
    campaign.workspace.prepare()
    freeze(campaign.workspace, campaign.spec)
    return campaign


def planned(campaign: Campaign, stage: str) -> PlannedPart:
    return campaign.plan().of(stage)[0]


def make(campaign: Campaign, part: PlannedPart) -> Part:
    """Put something in the place of a part."""
    column = Column(np.random.default_rng(0).normal(size=(100, 3)), "Å")
    return write_part(
        campaign.workspace.parts, part.stage, part.fingerprint, {"positions": column},
        {"count": 100}, files={"model.bin": b"weights"},
    )  # fmt: skip


def quarantine(campaign: Campaign, part: PlannedPart, cause: Cause) -> Quarantined:
    task = f"{part.stage}-{part.fingerprint[:16]}"
    log = campaign.workspace.task_logs / f"{task}.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text("Traceback (most recent call last):\n" + "deep\n" * 50 + "KeyError: [bold]\n")
    entry = Quarantined(
        part.stage, part.fingerprint, part.label, cause, "KeyError: [bold]\nmore", task, "node7",
        1e9, str(log.relative_to(campaign.workspace.root)),
    )  # fmt: skip
    keep(campaign.workspace, entry)
    return entry


def folder(campaign: Campaign) -> str:
    return str(campaign.file.parent)


def files(campaign: Campaign) -> list[str]:
    root = campaign.workspace.quarantine
    return sorted(str(path.relative_to(root)) for path in root.rglob("*.json"))


def test_retry_lifts_what_is_named_and_deletes_nothing(run: Runner, tiny: Campaign) -> None:
    method = quarantine(tiny, planned(tiny, "pretrain"), "method")
    lost = quarantine(tiny, planned(tiny, "split"), "lost")
    software = quarantine(tiny, planned(tiny, "prepare"), "software")
    code, out, _ = run("retry", folder(tiny), "pre-training", "--json")
    assert code == 0
    assert [entry["label"] for entry in json.loads(out)["lifted"]] == [method.label]
    code, out, _ = run("retry", folder(tiny), "--cause", "lost")
    assert code == 0
    assert f"lifted: {lost.label}" in out
    assert "fresh tries" in out
    assert run("retry", folder(tiny), software.fingerprint[:4])[0] == 0
    assert files(tiny) == sorted(f"lifted/{e.file_name}" for e in (method, lost, software))
    rows = [row["label"] for row in read_ledger(tiny.workspace.ledger) if row["event"] == "lifted"]
    assert rows == [method.label, lost.label, software.label]
    keep(tiny.workspace, method)
    assert run("retry", folder(tiny))[0] == 0
    assert len(files(tiny)) == 4, "what was lifted before is still there"
    code, out, _ = run("retry", folder(tiny))
    assert (code, out) == (0, "nothing is in quarantine\n")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("simulate",), "'simulate' fits nothing in quarantine\n  in quarantine:\n  - pre-"),
        (("pre-training", "--cause", "lost"), "fits nothing in quarantine by cause lost"),
        (("pre-training", "nonsense"), "'nonsense' fits nothing"),
        (("--cause", "bad luck"), "valid: lost, method, software"),
    ],
)
def test_retry_refuses_what_fits_nothing(
    run: Runner, tiny: Campaign, arguments: tuple[str, ...], expected: str
) -> None:
    quarantine(tiny, planned(tiny, "pretrain"), "method")
    code, _, err = run("retry", folder(tiny), *arguments)
    assert code == 2
    assert expected in err
    assert len(files(tiny)) == 1, "nothing was lifted, the part that fits neither"


def test_retry_refuses_while_a_driver_is_at_work(run: Runner, tiny: Campaign) -> None:
    quarantine(tiny, planned(tiny, "pretrain"), "method")
    code = (
        "import sys; from pathlib import Path; from campaign.workspace import Workspace\n"
        "with Workspace(Path(sys.argv[1])).locked():\n    print('held', flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(tiny.workspace.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as driver:
        assert driver.stdout is not None
        driver.stdout.readline()
        refused, _, err = run("retry", folder(tiny))
        driver.communicate(b"\n")
    assert refused == 2
    assert "another driver is at work" in err
    assert run("retry", folder(tiny))[0] == 0


def test_a_quarantine_file_that_no_launch_wrote_is_refused(run: Runner, tiny: Campaign) -> None:
    entry = quarantine(tiny, planned(tiny, "pretrain"), "method")
    path = tiny.workspace.quarantine / entry.file_name
    good = path.read_text()
    strange = [good.replace('"method"', '"fate"'), good.replace('"node7"', "7"), good[:-1]]
    for text in ("{", "[]", '{"stage": 3}', good.replace(entry.fingerprint, "ab"), *strange):
        path.write_text(text)
        code, _, err = run("status", folder(tiny))
        assert code == 2
        assert "move it away" in err


def test_status_shows_what_is_in_quarantine(run: Runner, tiny: Campaign) -> None:
    assert "quarantine" not in run("status", folder(tiny))[1]
    entry = quarantine(tiny, planned(tiny, "pretrain"), "method")
    keep(tiny.workspace, Quarantined("label", "f" * 64, "gone", "lost", "", "", "", 0.0))
    code, out, _ = run("status", folder(tiny))
    assert code == 0
    assert "pre-training (pretrain, method): KeyError: [bold]" in out, "no markup is read into it"
    assert "left out: 1 in quarantine" in out
    assert "campaign retry" in out
    found = json.loads(run("status", folder(tiny), "--json")[1])
    assert [e["fingerprint"] for e in found["quarantined"]] == [entry.fingerprint]
    assert {s["stage"]: s["failed"] for s in found["stages"] if s["failed"]} == {"pretrain": 1}


def test_the_report_notes_what_is_in_quarantine(tiny: Campaign) -> None:
    molecule = Molecule(
        "water", (8, 1, 1), ((0, 1), (0, 2)), (1, 1), (0, 0, 0), 1,
        np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]),
    )  # fmt: skip
    prepared = {"molecule": molecule.to_json(), "teacher": "mmff94", "teacher_reason": "asked for"}
    columns, metadata = runs_to_columns([Run(0, 0, "survived", 0.5)])
    columns |= {
        "saved_replica": Column(np.array([0])),
        "saved_time": Column(np.array([0.1]), "ps"),
        "saved_positions": Column(molecule.reference_positions[None], "Å"),
    }
    frames = np.repeat(molecule.reference_positions[None], 4, axis=0)
    labels = Structures.from_dense(
        molecule.numbers, frames, energies=np.zeros(4), forces=np.zeros((4, 3, 3))
    )
    rows = {name: Column(np.array([i])) for i, name in enumerate(("train", "validation", "test"))}
    merged: dict[str, Any] = {"left_out": []}

    def made(stage: str, cols: dict[str, Column], meta: dict[str, Any]) -> None:
        part = planned(tiny, stage)
        write_part(tiny.workspace.parts, stage, part.fingerprint, cols, meta)

    made("prepare", {}, prepared)
    made("simulate", columns, metadata)
    with pytest.raises(InputError, match=r"no part of stage split.*\n.*campaign launch"):
        collect(tiny.plan(), tiny.workspace)
    made("split", rows, {})
    made("label", structures_to_columns(labels) | {"candidate": Column(np.arange(4))}, merged)
    quarantine(tiny, planned(tiny, "pretrain"), "method")
    with Ledger(tiny.workspace.ledger) as ledger:
        ledger.write("host_left_out", host="n2", site="hawk", message="3 different tasks")
    notes = collect(tiny.plan(), tiny.workspace).notes
    assert "host n2 of site hawk ate tasks: 3 different tasks" in notes
    assert "in quarantine: pre-training (pretrain, method): KeyError: [bold]" in notes


@pytest.mark.parametrize(
    ("quorum", "code"),
    [("0.7", 0), ("0.8", 1), ("{ simulate = 0.7 }", 0), ("{ simulate = 0.8 }", 1),
     ("{ label = 0.1 }", 1)],
)  # fmt: skip
def test_a_stage_passes_on_its_quorum_and_a_launch_says_what_it_leaves_out(
    run: Runner, tiny: Campaign, monkeypatch: pytest.MonkeyPatch, quorum: str, code: int
) -> None:
    """Three of four parts of `simulate` are there; the fourth is in quarantine."""
    monkeypatch.setattr(
        "campaign.launching.preflight_meanwhile", lambda spec: nullcontext(lambda: None)
    )
    monkeypatch.setattr("campaign.report.collect.collect", lambda plan, workspace: None)
    monkeypatch.setattr(
        "campaign.report.write.write_report",
        lambda workspace, found: {"results": [], "comparisons": []},
    )
    left_out = tiny.plan().of("simulate")[-1]
    for part in tiny.plan().parts:
        if part != left_out:
            make(tiny, part)
    entry = quarantine(tiny, left_out, "lost")
    ended, out, err = run("launch", folder(tiny), "--set", f"campaign.quorum={quorum}", "--json")
    assert ended == code
    assert [found["label"] for found in json.loads(out)["quarantined"]] == [entry.label]
    for text in (f"quarantined: {entry.label} (simulate, lost)", "1 in quarantine; `campaign why"):
        assert text in err
    assert "campaign retry" in err


@pytest.mark.parametrize(
    ("quorum", "expected"),
    [
        ("{ simulat = 0.8 }", "unknown stage 'simulat'; valid: acquire, candidates, committee"),
        ("{ simulate = 1.2 }", "a share above 0 and up to 1"),
        ('"most"', "a share above 0 and up to 1"),
        ("true", "a share above 0 and up to 1"),
        ("0", "a share above 0 and up to 1"),
    ],
)
def test_a_quorum_that_is_none_is_refused_once(
    run: Runner, tiny: Campaign, quorum: str, expected: str
) -> None:
    code, _, err = run("validate", folder(tiny), "--set", f"campaign.quorum={quorum}")
    assert code == 2
    assert "1 problem\n" in err
    assert expected in err


def explained(run: Runner, campaign: Campaign, item: str) -> dict[str, Any]:
    code, out, err = run("why", folder(campaign), item, "--json")
    assert code == 0, err
    return dict(json.loads(out))


def test_why_tells_every_state(run: Runner, tiny: Campaign) -> None:
    assert explained(run, tiny, "prepare")["state"] == "ready"
    waiting = explained(run, tiny, "candidates")
    assert waiting["state"] == "waiting"
    assert waiting["details"] == ["waits for molecule tiny (prepare)"]
    made = make(tiny, planned(tiny, "prepare"))
    done = explained(run, tiny, "molecule tiny")
    assert done["state"] == "done"
    assert os.uname().nodename in done["details"][1]
    assert done["details"][0] == f"in {made.path}"
    task = f"candidates-{planned(tiny, 'candidates').fingerprint[:16]}"
    mark = tiny.workspace.running / f"{task}.json"
    mark.write_text(json.dumps({"pid": os.getpid(), "host": "node9", "started_unix": 1e9}))
    running = explained(run, tiny, "candidates")
    assert running["state"] == "running"
    assert f"process {os.getpid()} on node9" in running["details"][0]
    label = planned(tiny, "label")
    assert "0 of its 12 items are made" in explained(run, tiny, label.fingerprint[:6])["details"]
    quarantine(tiny, label, "lost")
    assert explained(run, tiny, "label")["state"] == "quarantined"
    tuned = explained(run, tiny, "scratch, 8 labels, seed 0")
    assert tuned["stage"] == "finetune", "the label itself, not the longer ones"
    assert tuned["state"] == "blocked"
    assert tuned["details"] == ["needs 12 labels, which is in quarantine"]
    assert "12 labels" in tuned["advice"]


def test_why_tells_the_history_and_the_end_of_the_traceback(run: Runner, tiny: Campaign) -> None:
    part = planned(tiny, "pretrain")
    quarantine(tiny, part, "software")
    named = {"task": f"pretrain-{part.fingerprint[:16]}", "fingerprint": part.fingerprint}
    used = {"wall_s": 3.25, "peak_rss_MB": 411.0, "host": "node7"}
    with Ledger(tiny.workspace.ledger) as ledger:
        ledger.write("launched")
        ledger.write("submitted", **named)
        ledger.write("launched")
        ledger.write("submitted", **named)
        ledger.write("result", **named, outcome="lost", host="node8", message="Worker lost")
        ledger.write("submitted", **named)
        ledger.write("result", **named, outcome="failed_software", message="x", resources=used)
    with tiny.workspace.ledger.open("a") as ledger_file:
        ledger_file.write('{"torn')
    found = explained(run, tiny, "pretrain")
    assert [a["outcome"] for a in found["attempts"]] == ["no answer", "lost", "failed_software"]
    assert found["attempts"][2]["peak_rss_MB"] == 411.0
    assert found["traceback"][-1] == "KeyError: [bold]"
    assert len(found["traceback"]) == 20
    out = run("why", folder(tiny), "pretrain")[1]
    for text in (
        "pre-training  (pretrain, fingerprint ", "state: quarantined",
        "by cause software, on node7",
        "lost, on node8: Worker lost", "failed_software, on node7, 3.2 s, 411 MB at most: x",
        "KeyError: [bold]", "what to do: read the traceback",
        "campaign retry FOLDER 'pre-training'",
    ):  # fmt: skip
        assert text in out


def test_why_shows_the_traceback_of_the_last_failure_whatever_the_clock_said(
    run: Runner, tiny: Campaign
) -> None:
    part = planned(tiny, "label")
    tiny.workspace.task_logs.mkdir(parents=True)
    with Ledger(tiny.workspace.ledger) as ledger:
        for block, when in (("000000", 2e9), ("000001", 1e9)):  # the clock was set back between
            named = {"task": f"label-{part.fingerprint[:16]}-{block}"}
            ledger.write("submitted", **named, fingerprint=part.fingerprint)
            ledger.write("result", **named, fingerprint=part.fingerprint, outcome="failed_software")
            log = tiny.workspace.task_logs / f"{named['task']}.log"
            log.write_text(f"Error: {block}\n")
            os.utime(log, (when, when))
    assert explained(run, tiny, "label")["traceback"] == ["Error: 000001"]


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("simulate", "'simulate' fits 4 items:\n  - pretrained, 8 labels, seed 0, 500 K, block 0"),
        ("pre-trainign", "did you mean 'pre-training'"),
        ("", "give a label"),
        ("0", "4 or more digits"),
    ],
)
def test_why_refuses_what_names_no_item_or_several(
    run: Runner, tiny: Campaign, item: str, expected: str
) -> None:
    code, _, err = run("why", folder(tiny), item)
    assert code == 2
    assert expected in err


def flip_one_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_verify_names_the_damaged_file(run: Runner, tiny: Campaign) -> None:
    for stage in ("prepare", "candidates"):
        make(tiny, planned(tiny, stage))
    code, out, _ = run("data", "verify", folder(tiny))
    assert code == 0
    assert "2 parts verified, 0 damaged" in out
    part = planned(tiny, "candidates")
    path = part_path(tiny.workspace.parts, part.stage, part.fingerprint)
    flip_one_byte(path / "data.zarr" / "positions" / "c.0.0")
    code, out, _ = run("data", "verify", folder(tiny), "--json")
    assert code == 1
    found = json.loads(out)
    assert (found["verified"], len(found["damaged"])) == (2, 1)
    assert found["damaged"][0]["path"] == str(path)
    assert found["damaged"][0]["problems"] == [
        "data.zarr/positions/c.0.0: content differs from its hash"
    ]
    code, out, _ = run("data", "verify", folder(tiny))
    assert code == 1
    assert "damaged: thermal candidates (candidates) in" in out
    assert run("data", "verify", folder(tiny), "--stage", "prepare")[0] == 0
    code, _, err = run("data", "verify", folder(tiny), "--stage", "candidate")
    assert code == 2
    assert "did you mean 'candidates'" in err


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda p: (p / "model.bin").write_bytes(b"weight"), "model.bin: 6 bytes, expected 7"),
        (lambda p: (p / "model.bin").rename(p / "x"), "model.bin: missing"),
        (lambda p: (p / "manifest.json").write_text(""), "is unreadable"),
        (lambda p: (p / "manifest.json").rename(p / "x"), "has no manifest"),
        (
            lambda p: (p / "manifest.json").write_text(
                (p / "manifest.json").read_text().replace('"schema": 1', '"schema": 7')
            ),
            "has schema 7",
        ),
    ],
    ids=["truncated", "missing", "empty manifest", "no manifest", "newer"],
)
def test_launch_refuses_a_damaged_part(
    run: Runner, tiny: Campaign, damage: Any, expected: str
) -> None:
    part = make(tiny, planned(tiny, "prepare"))
    damage(part.path)
    code, _, err = run("launch", folder(tiny))
    assert code == 2
    assert expected in err
    assert "campaign data verify" in err
    assert "made anew" in err
    assert part.path.exists(), "nothing is deleted"
    code, out, _ = run("data", "verify", folder(tiny))
    assert code == 1
    assert expected in out
    assert not any(row["event"] == "submitted" for row in read_ledger(tiny.workspace.ledger))


@pytest.mark.parametrize("verb", [("retry",), ("why",), ("data", "verify")])
def test_nothing_to_look_after_without_a_launch(
    run: Runner, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    (tmp_path / "campaign.toml").write_text(TINY)
    item = ("prepare",) if verb == ("why",) else ()
    code, _, err = run(*verb, str(tmp_path), *item, "--json")
    assert json.loads(err)["exit_code"] == code == 2
    assert "no campaign was launched" in err
