"""Campaigns of labels that name their channels: what is refused, planned, trained and tested."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from apps.labeling.channel_task import import_channels
from apps.sampling.task import prepare
from apps.selection.task import split, starts_alike
from apps.training.task import finetune
from campaign.cli.main import app
from campaign.plan.build import build_plan
from campaign.plan.channels import channels_in_words
from campaign.preflight import preflight
from campaign.report.channel_set import ChannelSet
from campaign.report.channels import channel_results
from campaign.report.inputs import Model
from campaign.spec.model import CampaignSpec, parse_spec
from data_store.errors import InputError
from data_store.parts import Part
from data_store.structure_parts import read_structures
from tests.e2e.tiny import TINY
from tests.laws.channel_toys import SPECIES, write_channels
from tests.unit.test_liquids import made

GASES: dict[str, Any] = {
    "kind": "mixture",
    "species": [{"smiles": s, "force_field": "morse"} for s in SPECIES],
}
CHANNELS: dict[str, Any] = {
    "channels": "hydrogen-combustion", "surfaces": {"H2O": 3}, "held_out_channels": ["r03"],
}  # fmt: skip


def tables(labels: dict[str, Any]) -> dict[str, Any]:
    found = tomllib.loads(TINY) | {"system": GASES}
    found["sampling"] |= {"structures": 3 * 64}
    found["labels"] = {"source": "file", "file": "labels.extxyz", **labels}
    found["finetuning"] |= {"arms": ["pretrained", "scratch"], "pools": [12, 20], "steps": 3}
    criteria = ["not_finite", "close_contact", "valence", "dissociated"]
    found["dynamics"] |= {"replicas": 2, "block_replicas": 2, "criteria": criteria}
    return found


def spec(folder: Path, **labels: Any) -> CampaignSpec:
    write_channels(folder / "labels.extxyz")
    return parse_spec(tables(CHANNELS | labels), "test", folder)


def test_one_file_is_split_by_what_its_channels_are_for(tmp_path: Path) -> None:
    plan = build_plan(spec(tmp_path))
    there: dict[str, Part] = {}
    for molecule in plan.of("prepare"):
        made(molecule, tmp_path, there, prepare)
    labels = made(plan.the("label"), tmp_path, there, import_channels)
    test = made(plan.the("test"), tmp_path, there, import_channels)
    assert set(read_structures(labels).multiplicities.tolist()) == {3}
    assert labels.metadata["left_out"] == [
        {"reason": "r08: H2O of multiplicity 1, not 3", "count": 32}
    ]
    names = [test.metadata["channels"]["names"][code] for code in test.read("channel", "")]
    assert {n: names.count(n) for n in set(names)} == {"r02": 8, "r03": 32}
    pools = [made(p, tmp_path, there, split) for p in plan.of("split")]
    assert [len(p.read("train", "")) + len(p.read("validation", "")) for p in pools] == [12, 20]
    (planned,) = plan.of("starts")
    started = read_structures(made(planned, tmp_path, there, starts_alike))
    assert len(started) == 2
    model = made(plan.of("finetune", arm="scratch")[0], tmp_path, there, finetune)
    channels = ChannelSet.of(
        read_structures(test), names, test.read("on_path", ""), "hydrogen-combustion", ["r03"]
    )
    parity = {
        f"energy_{kind}": model.read(f"test_energy_{kind}", "eV") for kind in ("label", "predicted")
    }
    found = channel_results(channels, {Model("scratch", 12, 0): parity})
    assert found is not None
    assert {row["held_out"] for row in found["curve"]} == {False, True}
    rows = {row["channel"]: row for row in found["rows"]}
    assert rows["r02"]["ends"] == ["H2 + O", "H + OH"]
    assert all(np.isfinite(row["barriers_eV"]).all() for row in rows.values())


def test_the_whole_campaign_is_tried_out_before_it_starts(tmp_path: Path) -> None:
    preflight(spec(tmp_path))
    with pytest.raises(InputError, match=r"H2O: 1 \(r08\), 3 \(r02\)"):
        preflight(spec(tmp_path, surfaces={}))
    with pytest.raises(InputError, match="names r04, and no frame"):
        preflight(spec(tmp_path, held_out_channels=["r04"]))
    of_bonds = tables(CHANNELS)
    of_bonds["dynamics"]["criteria"] = ["not_finite", "bond_stretch"]
    with pytest.raises(InputError, match="is of periodic boxes"):
        preflight(parse_spec(of_bonds, "test", tmp_path))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"channels": None, "held_out_channels": []}, "surfaces and held_out_channels want"),
        ({"channels": "methane"}, "unknown table of channels 'methane'"),
        ({"test_file": "labels.extxyz"}, "leave out test_file"),
        ({"in_time_order": True}, "leave out test_file, in_time_order"),
        ({"source": "pyscf", "file": None}, 'channels belong to source = "file"'),
    ],
)
def test_contradictions_in_the_table_are_refused(
    tmp_path: Path, labels: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        spec(tmp_path, **labels)


def test_channels_are_for_mixtures(tmp_path: Path) -> None:
    write_channels(tmp_path / "labels.extxyz")
    found = tables(CHANNELS) | {"system": {"smiles": "O"}}
    with pytest.raises(InputError, match=r'system\.kind = "mixture"'):
        parse_spec(found, "test", tmp_path)


def test_criteria_that_cannot_judge_reactions_are_refused(tmp_path: Path) -> None:
    write_channels(tmp_path / "labels.extxyz")
    found = tables(CHANNELS)
    found["dynamics"]["criteria"] = ["not_finite", "valence", "bond_stretch"]
    with pytest.raises(InputError, match="bond_stretch would find none"):
        parse_spec(found, "test", tmp_path)
    counted = [{**species, "count": 2} for species in GASES["species"]]
    found["system"] = {**GASES, "species": counted, "box_A": 12.0}
    found["dynamics"]["criteria"] = ["not_finite", "dissociated"]
    with pytest.raises(InputError, match="leave out dissociated"):
        parse_spec(found, "test", tmp_path)


def test_choices_are_part_of_the_identity_and_their_order_is_not(tmp_path: Path) -> None:
    def prints(**labels: Any) -> list[str]:
        plan = build_plan(spec(tmp_path, **labels))
        return [plan.the("label").fingerprint, plan.the("test").fingerprint]

    both = ["r03", "r02"]
    assert prints(held_out_channels=both) == prints(held_out_channels=both[::-1])
    assert prints() != prints(held_out_channels=[])
    assert prints() != prints(surfaces={"H2O": 1})


def test_validate_and_plan_say_what_is_left_out(tmp_path: Path) -> None:
    found = spec(tmp_path)
    said = channels_in_words(found)
    assert said is not None
    assert "24 frames to train on, 40 along paths or of channels held out, 32 left out" in said
    (tmp_path / "campaign.toml").write_text(TINY.split("[system]")[0] + _toml(), encoding="utf-8")
    shown = CliRunner().invoke(app, ["validate", str(tmp_path)])
    assert shown.exit_code == 0, shown.output
    assert "32 of r08: H2O of multiplicity 1, not 3" in shown.output


def _toml() -> str:
    species = ", ".join(f'{{ smiles = "{s}", force_field = "morse" }}' for s in SPECIES)
    return f"""
[system]
kind = "mixture"
species = [{species}]
[sampling]
structures = 192
chunk_structures = 64
[labels]
source = "file"
file = "labels.extxyz"
channels = "hydrogen-combustion"
surfaces = {{ H2O = 3 }}
held_out_channels = ["r03"]
[potential]
size = "small"
[pretraining]
steps = 4
held_out = 32
[finetuning]
pools = [12]
seeds = [0]
steps = 3
[dynamics]
replicas = 2
block_replicas = 2
criteria = ["not_finite", "valence", "dissociated"]
"""
