"""Liquids and mixtures: what a file may say, identities of their molecules, chunks of their own."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps.contract import Request
from apps.sampling.settings import MoleculeSettings, SamplingSettings
from apps.sampling.task import boxes, prepare, sample, sample_pairs
from campaign.freezing import freeze, thaw
from campaign.plan.build import Plan, build_plan
from campaign.plan.items import PlannedPart
from campaign.plan.system import chunks_by_molecule, in_words, molecule_id
from campaign.preflight import preflight
from campaign.spec.model import CampaignSpec, parse_spec
from campaign.workspace import Workspace
from data_store.errors import InputError
from data_store.parts import Part, open_part
from data_store.structure_parts import read_structures
from tests.e2e.tiny import TINY

WATER = {"name": "water", "smiles": "O", "count": 8}
METHANOL = {"name": "methanol", "smiles": "CO", "count": 4, "share": 2.0}
RADICAL = {"smiles": "O[O]", "count": 2, "force_field": "morse"}


def spec(*species: dict[str, Any], folder: Path = Path(), **system: Any) -> CampaignSpec:
    tables = tomllib.loads(TINY)
    tables["system"] = {"kind": "mixture", "species": list(species), **system}
    tables["sampling"] |= {"structures": 256, "chunk_structures": 32}
    return parse_spec(tables, "test", folder)


def plan(*species: dict[str, Any], **system: Any) -> Plan:
    return build_plan(spec(*species, **system))


def prints(parts: list[PlannedPart]) -> set[str]:
    return {part.fingerprint for part in parts}


@pytest.mark.parametrize(
    ("system", "message"),
    [
        ({"kind": "mixture"}, "needs species"),
        ({"kind": "mixture", "species": [WATER], "smiles": "O"}, "stand in species"),
        ({"kind": "mixture", "species": [{"count": 3}]}, "either smiles or xyz or mol"),
        ({"kind": "mixture", "species": [{**WATER, "xyz": "w.xyz"}]}, "either smiles or xyz"),
        ({"kind": "mixture", "species": [WATER, METHANOL, WATER]}, "there twice"),
        ({"kind": "mixture", "species": [{**WATER, "count": 0}]}, "greater than or equal to 1"),
        ({"kind": "mixture", "species": [{**WATER, "cuont": 1}]}, "did you mean 'count'"),
        ({"kind": "mixture", "species": [{"mol": "gone.sdf"}]}, r"species\.0\.mol.*no such file"),
        ({"kind": "liquid", "smiles": "O", "box_A": 9.0, "density_g_per_cm3": 1.0}, "one of the"),
        ({"kind": "liquid", "smiles": "O", "box_A": -9.0}, "greater than 0"),
        ({"kind": "liquid", "species": [WATER]}, 'belongs to kind = "mixture"'),
        ({"smiles": "O", "species": [WATER]}, 'belongs to kind = "mixture"'),
        ({"smiles": "O", "count": 3}, 'belong to a "liquid"'),
        ({"smiles": "O", "box_A": 9.0}, 'belong to a "liquid"'),
        ({"smiles": "O", "mol": "w.sdf"}, "one of the three"),
        ({"kind": "liquit", "smiles": "O"}, "'molecule', 'liquid' or 'mixture'"),
    ],
)
def test_what_does_not_fit_is_refused(system: dict[str, Any], message: str) -> None:
    tables = tomllib.loads(TINY) | {"system": system}
    with pytest.raises(InputError, match=message):
        parse_spec(tables, "test", Path("/nowhere"))


def test_a_liquid_is_a_mixture_of_one() -> None:
    liquid = MoleculeSettings(kind="liquid", smiles="O", count=64, density_g_per_cm3=1.0)
    (one,) = liquid.molecules()
    assert (one.smiles, one.count) == ("O", 64)
    (alone,) = MoleculeSettings(smiles="O").molecules()
    assert (alone.smiles, alone.count) == ("O", 1)


def test_its_molecules_are_those_of_campaigns_of_their_own() -> None:
    """Made once, whatever for: a molecule with its teacher is one part."""
    tables = tomllib.loads(TINY) | {"system": {"smiles": "CO"}}
    alone = build_plan(parse_spec(tables, "test", Path()))
    together = plan(WATER, METHANOL)
    assert alone.the("prepare").fingerprint in prints(together.of("prepare"))
    assert len(together.of("prepare")) == 2
    own = plan({**METHANOL, "force_field": "uff"}, WATER)
    assert alone.the("prepare").fingerprint not in prints(own.of("prepare"))


def test_a_molecule_more_leaves_the_others_parts() -> None:
    fewer, more = plan(WATER, RADICAL), plan(RADICAL, METHANOL, WATER)
    assert prints(fewer.of("prepare")) < prints(more.of("prepare"))
    of_fewer, of_more = (
        {p.fingerprint for p in found.of("sample") if p.key["chunk"] == 0}
        for found in (fewer, more)
    )
    assert of_fewer < of_more
    assert prints(fewer.of("pretrain")).isdisjoint(prints(more.of("pretrain")))


def test_another_teacher_for_the_rest_leaves_what_has_its_own() -> None:
    own = {**METHANOL, "force_field": "mmff94"}
    found = spec(own, WATER)
    before = build_plan(found)
    sampling = found.sampling.model_copy(update={"force_field": "uff"})
    after = build_plan(found.model_copy(update={"sampling": sampling}))
    kept = prints(before.of("sample")) & prints(after.of("sample"))
    assert len(kept) == len(before.of("sample", molecule=molecule_id(found.system.species[0])))
    assert kept < prints(before.of("sample"))


def test_names_and_counts_change_no_structures() -> None:
    before = plan(WATER, METHANOL, density_g_per_cm3=0.8)
    after = plan({**WATER, "name": "wasser", "count": 9}, METHANOL, density_g_per_cm3=0.8)
    for stage in ("prepare", "sample", "pretrain"):
        assert prints(before.of(stage)) == prints(after.of(stage))
    assert prints(before.of("starts")).isdisjoint(prints(after.of("starts")))


@pytest.mark.parametrize(
    ("shares", "chunks"),
    [((1.0, 2.0, 1.0), [2, 4, 2]), ((1.0, 1.0, 1.0), [3, 3, 3]), ((0.1, 0.1, 0.2), [2, 2, 4])],
)
def test_structures_are_dealt_by_shares(shares: tuple[float, ...], chunks: list[int]) -> None:
    species = [
        {**one, "share": share}
        for one, share in zip((WATER, METHANOL, RADICAL), shares, strict=True)
    ]
    found = spec(*species)
    assert chunks_by_molecule(found.system, found.sampling) == chunks
    per_molecule = [
        sum(part.key["molecule"] == molecule_id(one) for part in build_plan(found).of("sample"))
        for one in found.system.molecules()
    ]
    assert per_molecule == chunks
    assert f"{32 * chunks[1]} of CO" in in_words(found.system, found.sampling)


def test_whole_structures_are_whole_chunks() -> None:
    """A share of 0.1 + 0.2 is no chunk more."""
    for count in (10_000, 40_000):
        system = MoleculeSettings(smiles="O")
        sampling = SamplingSettings(structures=count, chunk_structures=1_000)
        assert chunks_by_molecule(system, sampling) == [count // 1_000]


def test_less_than_a_chunk_for_a_molecule_is_refused() -> None:
    with pytest.raises(InputError, match=r"for each molecule \(the smallest share is 2\)"):
        spec(WATER, {**METHANOL, "share": 99.0})


def test_it_ends_with_pretraining_and_boxes() -> None:
    stages = [part.stage for part in plan(WATER, METHANOL, density_g_per_cm3=0.8).parts]
    assert sorted(set(stages)) == ["prepare", "pretrain", "sample", "starts"]
    assert "starts" not in {part.stage for part in plan(WATER, METHANOL).parts}


def test_frozen_it_is_the_same(tmp_path: Path) -> None:
    found = spec(WATER, METHANOL, RADICAL, box_A=[12.0, 13.0, 14.0])
    workspace = Workspace(tmp_path)
    workspace.prepare()
    freeze(workspace, found)
    assert thaw(workspace) == found


def made(part: PlannedPart, folder: Path, inputs: dict[str, list[str]], work: Any) -> Part:
    request = Request(
        parts_root=str(folder / "parts"), work_root=str(folder / "work"), stage=part.stage,
        fingerprint=part.fingerprint, settings=part.settings, seed=part.seed, key=part.key,
        inputs=inputs, files={role: str(path) for role, path in part.files.items()},
    )  # fmt: skip
    return open_part(Path(work(request.to_json())["path"]))


def test_each_molecule_has_a_teacher_and_a_stream_of_its_own(tmp_path: Path) -> None:
    found = plan(WATER, {**WATER, "force_field": "mmff94", "multiplicity": 1}, RADICAL)
    parts = [made(part, tmp_path, {}, prepare) for part in found.of("prepare")]
    assert [part.metadata["teacher"] for part in parts] == ["q-spc-fw", "mmff94", "morse"]
    chunks = [
        made(
            next(p for p in found.of("sample") if p.inputs["molecule"] == (planned.fingerprint,)),
            tmp_path, {"molecule": [str(part.path)]}, sample,
        )
        for planned, part in zip(found.of("prepare"), parts, strict=True)
    ]  # fmt: skip
    structures = [read_structures(chunk) for chunk in chunks]
    assert [len(one) for one in structures] == [32, 32, 32]
    parents = [set(one.parents.tolist()) for one in structures]
    assert len(set.union(*parents)) == sum(len(one) for one in parents)
    assert all(parent > 0 for one in parents for parent in one)
    noise = [one.tiers == 2 for one in structures[:2]]
    first, second = (
        one.dense_positions()[rows] for one, rows in zip(structures, noise, strict=False)
    )
    steps = [np.diff(x, axis=1).ravel() for x in (first[:5], second[:5])]
    assert abs(np.corrcoef(*steps)[0, 1]) < 0.999, "another teacher, but the same random numbers"


def with_pairs(*species: dict[str, Any]) -> Plan:
    found = spec(*species)
    tables = found.model_dump(mode="json", exclude_none=True)
    tables["sampling"]["tiers"]["pair"]["weight"] = 1.0
    return build_plan(parse_spec(tables, "test", Path()))


def unlike(which: Plan) -> list[PlannedPart]:
    return [part for part in which.of("sample") if "molecules" in part.key]


def test_unlike_pairs_are_made_where_the_tier_has_a_weight() -> None:
    assert unlike(plan(WATER, METHANOL, RADICAL)) == []
    found = with_pairs(WATER, METHANOL, RADICAL)
    # Half of 256 structures are pairs; shares ¼, ½, ¼: 32, 16 and 32 of them, in chunks of 32.
    assert len(unlike(found)) == 3
    assert {tuple(part.key["molecules"]) for part in unlike(found)} == {
        (one, other)
        for one in map(molecule_id, found.spec.system.species)
        for other in map(molecule_id, found.spec.system.species)
        if one < other
    }
    assert "32 of " in in_words(found.spec.system, found.spec.sampling)
    assert " with " in in_words(found.spec.system, found.spec.sampling)
    (pretraining,) = found.of("pretrain")
    assert set(pretraining.inputs["teacher"]) == prints(found.of("sample"))


def test_unlike_pairs_do_not_know_the_order_of_species() -> None:
    first, second = (
        prints([part for part in unlike(found) if part.key["chunk"] == 0])
        for found in (with_pairs(WATER, METHANOL), with_pairs(METHANOL, RADICAL, WATER))
    )
    assert len(first) == 1
    assert first < second


def test_unlike_pairs_have_both_teachers(tmp_path: Path) -> None:
    found = with_pairs(WATER, RADICAL)
    parts = {
        planned.fingerprint: made(planned, tmp_path, {}, prepare) for planned in found.of("prepare")
    }
    planned = unlike(found)[0]
    inputs = {"molecule": [str(parts[which].path) for which in planned.inputs["molecule"]]}
    part = made(planned, tmp_path, inputs, sample_pairs)
    assert part.metadata["interaction"] == "gfnff"
    structures = read_structures(part)
    assert len(structures) == 32
    assert set(structures.atom_counts.tolist()) == {6}
    assert set(structures.multiplicities.tolist()) == {2}
    assert structures.parents.min() > 2**41
    assert made(planned, tmp_path / "again", inputs, sample_pairs).digest == part.digest


def test_species_of_morse_share_the_zero_of_free_atoms(tmp_path: Path) -> None:
    atom = {"smiles": "[H]", "force_field": "morse"}
    found = plan(RADICAL, atom, {**WATER, "force_field": "morse"}, METHANOL)
    parts = [made(part, tmp_path, {}, prepare) for part in found.of("prepare")]
    lowest = []
    for planned, part in zip(found.of("prepare"), parts, strict=True):
        chunk = next(
            p for p in found.of("sample") if p.inputs["molecule"] == (planned.fingerprint,)
        )
        structures = read_structures(made(chunk, tmp_path, {"molecule": [str(part.path)]}, sample))
        lowest.append(float(structures.labelled_energies().min()))
    radical, hydrogen, water, methanol = lowest
    assert -7.56 < radical < -7.3
    assert hydrogen == 0.0
    assert -10.06 < water < -9.8
    assert 0.0 < methanol < 0.5, "MMFF94 knows no atoms"


def test_boxes_are_starts_of_that_many_replicas(tmp_path: Path) -> None:
    found = plan(WATER, RADICAL, density_g_per_cm3=0.6)
    parts = [made(part, tmp_path, {}, prepare) for part in found.of("prepare")]
    planned = found.the("starts")
    part = made(planned, tmp_path, {"molecule": [str(p.path) for p in parts]}, boxes)
    structures = read_structures(part)
    assert len(structures) == found.spec.dynamics.replicas
    assert structures.pbc.all()
    assert set(structures.atom_counts.tolist()) == {8 * 3 + 2 * 3}
    assert set(structures.multiplicities.tolist()) == {3}, "two doublets side by side"
    x = structures.dense_positions()
    assert np.abs(x[0] - x[1]).max() > 1.0
    assert part.metadata["species"] == [
        {"formula": "H2O", "count": 8},
        {"formula": "HO2", "count": 2},
    ]
    again = made(planned, tmp_path / "again", {"molecule": [str(p.path) for p in parts]}, boxes)
    assert again.digest == part.digest


@pytest.mark.parametrize(
    ("species", "system", "message"),
    [
        ([{"smiles": "C(("}], {}, "cannot read this"),
        ([{**WATER, "force_field": "spc"}], {}, "unknown force field 'spc'"),
        ([{**METHANOL, "force_field": "q-spc-fw"}], {}, "q-SPC/Fw cannot type CH4O"),
        ([WATER], {"density_g_per_cm3": 4.0}, "too close|too small"),
        ([{**WATER, "count": 1}], {"box_A": 3.0}, "too small for H2O"),
    ],
)
def test_what_cannot_be_made_is_said_before_it_is_tried(
    species: list[dict[str, Any]], system: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        preflight(spec(*species, **system))
