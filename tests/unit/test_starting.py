"""A weights file that all arms start from: what it decides, and what is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from apps.contract import Request
from apps.potential.protocol import Potential
from apps.potential.registry import make_potential
from apps.potential.settings import PotentialSettings
from apps.potential.starting import starting_potential
from apps.potential.weights import load_potential, save_bytes
from apps.training.settings import FinetuningSettings, PretrainingSettings
from apps.training.task import finetune, pretrain
from campaign.plan.build import Plan, build_plan
from campaign.preflight import preflight
from campaign.spec.model import parse_spec
from data_store.columns import Column
from data_store.errors import InputError
from data_store.parts import open_part, write_part
from data_store.structure_parts import structures_to_columns
from tests.e2e.tiny import TINY
from tests.laws.training_toys import toy_structures


def start_file(folder: Path, seed: int = 0, **changes: Any) -> Path:
    made = make_potential("painn", "small", [1, 6, 8], 5.0, seed, **changes)
    path = folder / f"start-{seed}.safetensors"
    path.write_bytes(save_bytes(made))
    return path


def plan_of(start: Path | None) -> Plan:
    tables = tomllib.loads(TINY)
    if start is not None:
        tables["potential"] = {"start_from": str(start)}
    return build_plan(parse_spec(tables, "test", Path()))


def identities(plan: Plan, stage: str) -> set[str]:
    return {part.fingerprint for part in plan.of(stage)}


def test_its_content_is_identity_and_its_path_is_not(tmp_path: Path) -> None:
    one, other = start_file(tmp_path, 1), start_file(tmp_path, 2)
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(one.read_bytes())
    fresh, started = plan_of(None), plan_of(one)
    for stage in ("pretrain", "finetune"):
        assert not identities(fresh, stage) & identities(started, stage)
        assert identities(plan_of(moved), stage) == identities(started, stage)
        assert not identities(plan_of(other), stage) & identities(started, stage)
    for stage in ("sample", "label", "starts"):
        assert identities(fresh, stage) == identities(started, stage)
    assert started.the("finetune", arm="scratch").files == {"start": one}
    assert started.the("finetune", arm="pretrained").files == {}, "by way of its pre-training"


def test_what_contradicts_the_file_is_refused_before_anything_runs(tmp_path: Path) -> None:
    tables = tomllib.loads(TINY)
    tables["potential"] = {"start_from": str(start_file(tmp_path)), "cutoff_A": 4.0}
    with pytest.raises(InputError, match=r"write what the file holds: cutoff_A = 5\.0"):
        preflight(parse_spec(tables, "test", Path()))
    tables["potential"] = {"start_from": str(tmp_path / "nothing")}
    with pytest.raises(InputError, match=r"potential\.start_from"):
        parse_spec(tables, "test", Path())
    tables["potential"] = {"size": "file"}
    with pytest.raises(InputError, match="name it by start_from"):
        parse_spec(tables, "test", Path())
    with pytest.raises(InputError, match=r"not \[7\]"):
        starting_potential(PotentialSettings(), [1, 7], 0, start_file(tmp_path))


def request(
    folder: Path, start: Path, stage: str, chosen: PotentialSettings, **settings: Any
) -> Request:
    """One step so small that the weights stay what they were."""
    columns = structures_to_columns(toy_structures(24))
    split = {
        name: Column(np.array(rows, dtype=np.int64))
        for name, rows in (("train", range(12)), ("validation", range(12, 18)), ("test", [20]))
    }
    inputs = {
        "teacher": write_part(folder, "sample", "t", columns, {}),
        "labels": write_part(folder, "label", "l", columns, {}),
        "split": write_part(folder, "split", "s", split, {}),
    }
    return Request(
        str(folder), str(folder / "work"), stage, "f" * 64,
        {"potential": chosen.model_dump(mode="json"), **settings}, 0,
        key={"arm": "scratch", "labels": 18, "seed": 0}, files={"start": str(start)},
        inputs={role: [str(part.path)] for role, part in inputs.items()},
    )  # fmt: skip


def trained(answer: dict[str, Any]) -> Potential:
    assert answer["outcome"] == "done", answer
    return load_potential(open_part(Path(answer["path"])).file("model.safetensors"))


def one_step(
    stage: str, folder: Path, start: Path, chosen: PotentialSettings | None = None
) -> Potential:
    """What the task makes of a weights file, with next to no training."""
    chosen = chosen or PotentialSettings()
    common = {"steps": 1, "batch_size": 4, "warmup_steps": 0}
    if stage == "pretrain":
        settings = PretrainingSettings(learning_rate=1e-9, ranks=1, held_out=4, **common)
        taught = settings.model_dump(mode="json")
        asked = request(folder, start, stage, chosen, pretraining=taught)
        return trained(pretrain(asked.to_json()))
    tuning = FinetuningSettings(learning_rates=(1e-9,), **common).model_dump(mode="json")
    asked = request(folder, start, stage, chosen, finetuning=tuning, pretraining_steps=0)
    return trained(finetune(asked.to_json()))


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_training_starts_from_it(stage: str, tmp_path: Path) -> None:
    start = start_file(tmp_path, 3)
    given, found = load_potential(start), one_step(stage, tmp_path, start)
    assert found.species == given.species, "elements that the labels lack are kept"
    for (name, ours), theirs in zip(
        found.named_parameters(), given.parameters(), strict=True
    ):  # fmt: skip
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6, msg=name)
    fresh = make_potential("painn", "small", [1, 6, 8], 5.0, 4)
    different = [
        not torch.allclose(a, b, atol=1e-6)
        for a, b in zip(found.parameters(), fresh.parameters(), strict=True)
    ]
    assert any(different), "another start would have been told"
    assert float(found.scale) != pytest.approx(float(given.scale)), "refitted to the labels"
