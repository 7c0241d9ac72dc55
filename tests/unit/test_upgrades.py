"""What older versions wrote still opens, verifies and reads; what cannot be read is refused."""

from __future__ import annotations

import dataclasses
import gzip
import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from apps.potential.weights import SCHEMA as WEIGHTS_SCHEMA
from apps.potential.weights import load_potential, read_header
from campaign.plan.build import Plan, build_plan
from campaign.plan.stages import STAGES
from campaign.spec.model import parse_spec
from data_store import manifests
from data_store.errors import StoreError
from data_store.manifests import SCHEMA
from data_store.parts import glance_at_part, open_part, verify_part
from data_store.structure_parts import read_structures
from tests.e2e.tiny import TINY
from tests.samples import make_samples

PART_SCHEMAS = range(1, SCHEMA + 1)
WEIGHTS_SCHEMAS = range(1, WEIGHTS_SCHEMA + 1)


@pytest.mark.parametrize("schema", PART_SCHEMAS)
def test_a_stored_part_opens_verifies_and_reads_equal_values(schema: int) -> None:
    folder = make_samples.part_folder(schema)
    assert glance_at_part(folder) == []
    part = open_part(folder)
    assert verify_part(part) == []
    read, expected = read_structures(part), make_samples.structures()
    for name in ("numbers", "positions", "forces", "energies", "offsets", "cells", "pbc"):
        np.testing.assert_array_equal(getattr(read, name), getattr(expected, name), err_msg=name)
    assert part.metadata == make_samples.METADATA
    assert part.file("model.bin").read_bytes() == make_samples.MODEL


@pytest.mark.parametrize("schema", WEIGHTS_SCHEMAS)
def test_stored_weights_open_and_hold_equal_values(schema: int) -> None:
    data = gzip.decompress(make_samples.weights_file(schema).read_bytes())
    assert read_header(data)["extra"] == {"note": "not a result"}
    potential = load_potential(data)
    assert (potential.species, potential.cutoff_A) == ((1, 8), 4.0)
    stored = potential.state_dict()
    for name, expected in make_samples.patterned(make_samples.fresh_potential()):
        assert torch.equal(stored[name], expected), name


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A copy of the stored part that a test may change."""
    folder = make_samples.part_folder(1)
    target = tmp_path / folder.parent.name / folder.name
    shutil.copytree(folder, target)
    return target


def rewrite(folder: Path, **changes: Any) -> dict[str, Any]:
    path = folder / "manifest.json"
    changed = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in changed.items() if v is not None}))
    return changed


def test_an_older_part_is_upgraded_in_memory_alone(
    sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Schemas -1 and 0 never were: the one said "labels" for metadata, the other "about"."""
    metadata = rewrite(sample)["metadata"]
    rewrite(sample, schema=-1, metadata=None, labels=metadata)
    before = (sample / "manifest.json").read_bytes()
    steps: list[int] = []

    def to_0(manifest: dict[str, Any]) -> dict[str, Any]:
        steps.append(0)
        return {**manifest, "about": manifest["labels"]}

    def to_1(manifest: dict[str, Any]) -> dict[str, Any]:
        steps.append(1)
        return {**manifest, "metadata": manifest["about"]}

    with pytest.raises(StoreError, match="has no upgrade from -1"):
        open_part(sample)
    monkeypatch.setattr(manifests, "_UPGRADES", {-1: to_0, 0: to_1})
    part = open_part(sample)
    assert steps == [0, 1], "one step after the other"
    assert part.metadata == metadata
    assert part.manifest["schema"] == SCHEMA
    np.testing.assert_array_equal(
        read_structures(part).positions, make_samples.structures().positions
    )
    assert verify_part(part) == []
    assert (sample / "manifest.json").read_bytes() == before, "nothing on disk is changed"
    (sample / "model.bin").write_bytes(make_samples.MODEL.upper())
    assert verify_part(part) == ["model.bin: content differs from its hash"]
    monkeypatch.setattr(manifests, "_UPGRADES", {-1: to_0})
    with pytest.raises(StoreError, match="has no upgrade from 0"):
        open_part(sample)


def test_a_newer_part_is_refused_with_what_to_do(sample: Path) -> None:
    written = {"packages": {"mlip-campaign": "9.8.7"}}
    rewrite(sample, schema=SCHEMA + 1, provenance=written)
    with pytest.raises(StoreError, match=f"has schema {SCHEMA + 1}") as refused:
        open_part(sample)
    assert "install mlip-campaign 9.8.7" in refused.value.hint
    assert "move its folder away" in refused.value.hint
    assert "9.8.7" in glance_at_part(sample)[0]


@pytest.mark.parametrize("schema", [None, "1", 1.0, True, [1]])
def test_a_schema_that_is_no_number_is_refused(sample: Path, schema: object) -> None:
    rewrite(sample, schema=schema)
    with pytest.raises(StoreError, match="says no schema"):
        open_part(sample)


def test_a_part_in_another_place_is_not_verified(sample: Path) -> None:
    moved = sample.with_name("ab" * 32)
    sample.rename(moved)
    (problem,) = verify_part(open_part(moved))
    assert "fingerprint" in problem


@given(st.data())
def test_any_byte_of_a_stored_part_may_flip(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A flipped byte is found in every file; in the manifest it never ends in a traceback."""
    original = make_samples.part_folder(1)
    names = [p.relative_to(original) for p in sorted(original.rglob("*")) if p.is_file()]
    name = data.draw(st.sampled_from([*names, *[Path("manifest.json")] * len(names)]))
    content = bytearray((original / name).read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    folder = tmp_path_factory.mktemp("flipped") / original.parent.name / original.name
    shutil.copytree(original, folder)
    (folder / name).write_bytes(content)
    glance_at_part(folder)
    try:
        problems = verify_part(open_part(folder))
    except StoreError:
        assert name.name == "manifest.json"
        return
    if name.name != "manifest.json":
        assert problems == [f"{name.as_posix()}: content differs from its hash"]
    elif not problems:
        part, whole = open_part(folder), open_part(original)
        assert part.metadata == whole.metadata
        assert part.manifest["columns"] == whole.manifest["columns"]


def tiny_plan() -> Plan:
    tables = tomllib.loads(TINY)
    tables["control"] = {"method": "gfn2-xtb", "replicas": 2}
    tables["active_learning"] = {"label_budget": 9, "replicas": 4}
    return build_plan(parse_spec(tables, "test", Path()))


@pytest.mark.parametrize("raised", [name for name in STAGES if name != "test"])
def test_a_raised_version_is_another_identity_for_that_stage_and_its_dependants(
    raised: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tiny_plan()
    touched: set[str] = set()
    for part in before.parts:
        if part.stage == raised or part.needs & touched:
            touched.add(part.fingerprint)
    stage = STAGES[raised]
    monkeypatch.setitem(STAGES, raised, dataclasses.replace(stage, version=stage.version + 1))
    kept = {part.fingerprint for part in tiny_plan().parts}
    assert touched
    assert {part.fingerprint for part in before.parts} - kept == touched
