"""Liquids and mixtures with labels: their plan, what a file must be, splits and starts."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps.contract import Request
from apps.labeling.likeness import groups_of_alike
from apps.labeling.published import check_labels_of
from apps.labeling.task import import_labels_of_several
from apps.potential.weights import load_potential
from apps.sampling.task import make_molecule, prepare
from apps.selection.task import label_groups, most_alike, split, starts_alike
from apps.training.task import finetune
from campaign.costs.prediction import foresee
from campaign.plan.build import Plan, build_plan
from campaign.plan.items import PlannedPart
from campaign.preflight import preflight
from campaign.spec.model import CampaignSpec, parse_spec
from campaign.workspace import Workspace
from data_store.errors import InputError
from data_store.extxyz import read_extxyz, write_extxyz
from data_store.parts import Part, open_part
from data_store.splits import nested_split, validation_boxes
from data_store.structure_parts import read_structures
from data_store.structures import Structures, concatenate
from tests.e2e.tiny import TINY
from tests.laws.box_toys import toy_boxes, unwrapped
from tests.laws.training_toys import toy_structures
from tests.unit.test_costs import machine

LIQUID = {"kind": "liquid", "smiles": "O", "count": 8}
SPECIES = ("[H][H]", "O=O", "O", "[OH]", "O[O]", "OO")
GASES = {"kind": "mixture", "species": [{"smiles": s, "force_field": "morse"} for s in SPECIES]}


def of_hydrogen(atoms: int, count: int, seed: int = 0) -> Structures:
    """Chains of hydrogen with labels that mean nothing."""
    draw = np.random.default_rng(seed)
    x = 0.9 * np.arange(atoms)[None, :, None] * [1.0, 0.0, 0.0]
    x = x + 0.05 * draw.normal(size=(count, atoms, 3))
    energies, forces = draw.normal(size=count), draw.normal(size=x.shape)
    return Structures.from_dense(np.ones(atoms), x, energies=energies, forces=forces)


def unrelated(*batches: Structures) -> Structures:
    """All of them, each of a trajectory of its own."""
    joined = concatenate(batches)
    return replace(joined, parents=np.arange(len(joined)))


def spec(
    brought: Structures, folder: Path, system: dict[str, Any], /, **tables: Any
) -> CampaignSpec:
    write_extxyz(folder / "labels.extxyz", brought)
    found = tomllib.loads(TINY) | {"system": system}
    found["sampling"] |= {"structures": 6 * 64}
    found["labels"] = {"source": "file", "file": "labels.extxyz", "test_count": 3}
    found["finetuning"] |= {"arms": ["pretrained", "scratch", "scratch_long"], "steps": 3}
    found["dynamics"] |= {"replicas": 2, "block_replicas": 2}
    for name, table in tables.items():
        found[name] = found.get(name, {}) | table
    return parse_spec(found, "test", folder)


def made(part: PlannedPart, folder: Path, there: dict[str, Part], work: Callable[..., Any]) -> Part:
    inputs = {r: [str(there[f].path) for f in prints] for r, prints in part.inputs.items()}
    request = Request(
        parts_root=str(folder / "parts"), work_root=str(folder / "work"), stage=part.stage,
        fingerprint=part.fingerprint, settings=part.settings, seed=part.seed, key=part.key,
        inputs=inputs, files={role: str(path) for role, path in part.files.items()},
    )  # fmt: skip
    there[part.fingerprint] = open_part(Path(work(request.to_json())["path"]))
    return there[part.fingerprint]


def imported(plan: Plan, folder: Path) -> dict[str, Part]:
    there: dict[str, Part] = {}
    for molecule in plan.of("prepare"):
        made(molecule, folder, there, prepare)
    made(plan.the("label"), folder, there, import_labels_of_several)
    for planned in plan.of("split"):
        made(planned, folder, there, split)
    return there


def test_a_liquid_with_labels_is_a_whole_campaign(tmp_path: Path) -> None:
    plan = build_plan(spec(toy_boxes(16), tmp_path, LIQUID))
    stages = {part.stage for part in plan.parts}
    assert stages == {
        "prepare", "sample", "pretrain", "label", "split", "starts", "finetune", "simulate",
    }  # fmt: skip
    assert {part.key["arm"] for part in plan.of("finetune")} == {
        "pretrained", "scratch", "scratch_long",
    }  # fmt: skip
    (molecule,) = plan.of("prepare")
    for part in plan.of("simulate"):
        assert set(part.inputs) == {"molecule", "starts", "model", "labels", "split"}
        assert part.inputs["molecule"] == (molecule.fingerprint,)
        assert set(part.key) == {"arm", "labels", "seed", "temperature_K", "block"}
    known: set[str] = set()
    for part in plan.parts:
        assert part.needs <= known, "parts are in order of dependence"
        known.add(part.fingerprint)


def test_a_mixture_brings_all_its_molecules_to_dynamics(tmp_path: Path) -> None:
    labels = unrelated(of_hydrogen(2, 12), of_hydrogen(3, 20))
    plan = build_plan(spec(labels, tmp_path, GASES))
    assert len(plan.of("prepare")) == len(SPECIES)
    molecules = tuple(part.fingerprint for part in plan.of("prepare"))
    assert all(part.inputs["molecule"] == molecules for part in plan.of("simulate"))
    assert all(part.inputs["molecule"] == molecules for part in plan.of("finetune"))


def test_what_they_mean_is_told_apart(tmp_path: Path) -> None:
    """Blocks of time and kinds are in the identities of labels; paths and counts are not."""

    def labels_of(system: dict[str, Any], folder: str, **labels: Any) -> str:
        (tmp_path / folder).mkdir(exist_ok=True)
        plan = build_plan(spec(toy_boxes(16), tmp_path / folder, system, labels=labels))
        return plan.the("label").fingerprint

    plain = labels_of(LIQUID, "a")
    assert labels_of({**LIQUID, "count": 9}, "b") == plain
    assert labels_of(LIQUID, "c", in_time_order=True) != plain
    mixture = {"kind": "mixture", "species": [{"smiles": "O", "count": 8}]}
    assert labels_of(mixture, "d") != plain


def test_boxes_of_a_stated_size_are_built_to_start_from(tmp_path: Path) -> None:
    plan = build_plan(spec(toy_boxes(16), tmp_path, {**LIQUID, "density_g_per_cm3": 0.8}))
    assert plan.the("starts").function == "apps.sampling.task:boxes"
    plan = build_plan(spec(toy_boxes(16), tmp_path, LIQUID))
    assert plan.the("starts").function == "apps.selection.task:starts_alike"


@pytest.mark.parametrize(
    ("labels", "system", "message"),
    [
        (of_hydrogen(2, 3), LIQUID, "frame 0, of 2 atoms, is no whole number of H2O"),
        (
            replace(toy_boxes(1), numbers=np.full(24, 7, dtype=np.uint8)), LIQUID,
            "frame 0 holds N; the campaign's molecules are made of H, O",
        ),
    ],
)  # fmt: skip
def test_labels_of_something_else_are_refused(
    tmp_path: Path, labels: Structures, system: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        preflight(spec(labels, tmp_path, system, pretraining={"ranks": 1}))


def test_one_composition_has_one_spin(tmp_path: Path) -> None:
    system = spec(of_hydrogen(2, 9), tmp_path, GASES).system
    molecules = [make_molecule(one, 0, None, None) for one in system.molecules()]
    doublets = replace(of_hydrogen(3, 2), multiplicities=np.full(2, 2, dtype=np.int16))
    triplet = replace(of_hydrogen(2, 1), multiplicities=np.full(1, 3, dtype=np.int16))
    file = tmp_path / "some.extxyz"
    write_extxyz(file, concatenate([of_hydrogen(2, 2), doublets]))
    assert len(check_labels_of("mixture", file, molecules)) == 4
    write_extxyz(file, concatenate([of_hydrogen(2, 2), doublets, triplet]))
    with pytest.raises(InputError, match=r"frame 4 has charge 0 and multiplicity 3, frame 0, of"):
        check_labels_of("mixture", file, molecules)


def test_frames_in_time_order_are_split_by_blocks(tmp_path: Path) -> None:
    file = tmp_path / "plain.extxyz"
    write_extxyz(tmp_path / "told.extxyz", toy_boxes(60))
    text = (tmp_path / "told.extxyz").read_text()
    bare = text.splitlines()
    file.write_text("\n".join(_untold(line) for line in bare) + "\n")
    (water,) = spec(toy_boxes(9), tmp_path, LIQUID).system.molecules()
    molecules = [make_molecule(water, 0, None, None)]
    apart = check_labels_of("liquid", file, molecules)
    assert len(np.unique(label_groups(apart))) == 60
    ordered = check_labels_of("liquid", file, molecules, in_time_order=True)
    groups = label_groups(ordered)
    assert np.bincount(groups).tolist() == [20, 20, 20]
    np.testing.assert_array_equal(groups, np.sort(groups))
    write_extxyz(file, toy_boxes(60).take(np.arange(60)[::-1]))
    assert len(read_extxyz(file)) == 60
    with pytest.raises(InputError, match="frames say which trajectory"):
        check_labels_of("liquid", file, molecules, in_time_order=True)


def _untold(line: str) -> str:
    return " ".join(w for w in line.split() if not w.startswith(("parent=", "frame=", "tier=")))


def shuffled(boxes: int, frames: int, step_A: float) -> tuple[Structures, np.ndarray]:
    """Frames around some boxes, atoms in any image, in a random order; and whose they are."""
    draw = np.random.default_rng(0)
    each = np.repeat(np.arange(boxes), frames)
    some = toy_boxes(boxes).take(each)
    moved = some.positions + step_A * draw.normal(size=some.positions.shape)
    order = draw.permutation(len(each))
    return unwrapped(replace(some, positions=moved).take(order)), each[order]


def test_frames_that_are_alike_stay_together() -> None:
    structures, whose = shuffled(6, 5, 0.05)
    found = groups_of_alike(structures, 0.3)
    assert len(np.unique(found)) == 6
    for group in range(6):
        assert len(np.unique(whose[found == group])) == 1
    first = [int(np.flatnonzero(found == group)[0]) for group in range(6)]
    assert first == sorted(first)


def test_a_random_split_would_share_what_is_alike() -> None:
    structures, whose = shuffled(6, 5, 0.05)
    for groups, leaks in ((groups_of_alike(structures, 0.3), False), (np.arange(30), True)):
        found = nested_split(groups, 20, 10, 0)
        assert bool(set(whose[found.train]) & set(whose[found.test])) is leaks


def test_other_atoms_and_boxes_are_never_alike() -> None:
    one = toy_boxes(1)
    wider = replace(one, cells=1.01 * one.cells)
    other = replace(one, numbers=one.numbers[::-1].copy())
    assert groups_of_alike(concatenate([one, wider, other, one]), 5.0).tolist() == [0, 1, 2, 0]


def test_both_ways_of_telling_are_one_too_many(tmp_path: Path) -> None:
    both = {"in_time_order": True, "alike_within_A": 0.4}
    with pytest.raises(InputError, match="both say what belongs together"):
        spec(toy_boxes(16), tmp_path, LIQUID, labels=both)
    found = spec(toy_boxes(16), tmp_path, LIQUID, labels={"alike_within_A": 0.4})
    assert build_plan(found).the("label").settings == {"alike_within_A": 0.4, "kind": "liquid"}


@pytest.mark.parametrize(("pool", "aside"), [(2, 1), (5, 1), (10, 2), (300, 60)])
def test_a_fifth_of_a_pool_of_boxes_validates(pool: int, aside: int) -> None:
    assert validation_boxes(pool) == aside
    found = nested_split(np.arange(400), pool, 20, 0, validation_boxes(pool))
    assert (len(found.train), len(found.validation)) == (pool - aside, aside)


def test_pools_of_few_boxes_are_for_liquids_alone(tmp_path: Path) -> None:
    found = spec(toy_boxes(16), tmp_path, LIQUID, finetuning={"pools": [5]})
    assert build_plan(found).the("split").settings["validation"] == 1
    with pytest.raises(InputError, match="of 5 labels 5 validate"):
        spec(of_hydrogen(2, 20), tmp_path, GASES, finetuning={"pools": [5]})


def test_the_most_frequent_kind_is_started_from(tmp_path: Path) -> None:
    labels = unrelated(of_hydrogen(2, 10), of_hydrogen(3, 30), toy_structures(10))
    assert most_alike(labels).tolist() == list(range(10, 40))
    larger = replace(toy_boxes(5, seed=3), cells=1.1 * toy_boxes(5).cells)
    assert most_alike(concatenate([toy_boxes(4), larger])).tolist() == [4, 5, 6, 7, 8]
    plan = build_plan(spec(labels, tmp_path, GASES))
    there = imported(plan, tmp_path)
    part = made(plan.the("starts"), tmp_path, there, starts_alike)
    structures = read_structures(part)
    assert structures.atom_counts.tolist() == [3, 3]
    assert (structures.numbers == 1).all()
    assert part.metadata["held_out"] + part.metadata["of_other_kinds"] == 50 - 8
    used = there[plan.the("split").fingerprint]
    for name in ("train", "validation"):
        assert not set(part.read("chosen", "").tolist()) & set(used.read(name, "").tolist())


def test_starts_are_of_other_trajectories_than_pools(tmp_path: Path) -> None:
    """Also of one that the largest pool cuts in two."""
    labels = replace(toy_boxes(30), parents=np.repeat(np.arange(6), 5))
    plan = build_plan(spec(labels, tmp_path, LIQUID, labels={"test_count": 5}))
    there = imported(plan, tmp_path)
    part = made(plan.the("starts"), tmp_path, there, starts_alike)
    used = there[plan.the("split").fingerprint]
    seen = np.concatenate([used.read(name, "") for name in ("train", "validation")])
    assert len(seen) == 8
    assert part.metadata["beside_seen"] == 2
    assert not set(part.read("chosen", "") // 5) & set(seen // 5)


def test_more_replicas_than_starts_of_one_kind_are_refused(tmp_path: Path) -> None:
    narrower = replace(toy_boxes(8), cells=0.99 * toy_boxes(8).cells)
    labels = unrelated(toy_boxes(8), narrower)
    found = spec(labels, tmp_path, LIQUID, dynamics={"replicas": 6, "block_replicas": 6})
    with pytest.raises(InputError, match="of one kind"):
        preflight(found)


def test_dynamics_is_of_boxes(tmp_path: Path) -> None:
    """Labels in none are trained on; what starts is built then."""
    labels = unrelated(of_hydrogen(2, 12), of_hydrogen(3, 20))
    with pytest.raises(InputError, match="is in none"):
        preflight(spec(labels, tmp_path, GASES))
    preflight(spec(labels, tmp_path, {**GASES, "box_A": 12.0}))


def test_a_model_knows_all_elements_of_a_mixture(tmp_path: Path) -> None:
    """Though its pool holds hydrogen alone."""
    plan = build_plan(spec(of_hydrogen(2, 20), tmp_path, GASES))
    there = imported(plan, tmp_path)
    part = made(plan.the("finetune", arm="scratch"), tmp_path, there, finetune)
    assert load_potential(part.file("model.safetensors")).species == (1, 8)


@pytest.mark.parametrize("arm", ["scratch", "scratch_long"])
def test_boxes_are_fine_tuned_on(tmp_path: Path, arm: str) -> None:
    found = spec(toy_boxes(16), tmp_path, LIQUID, pretraining={"steps": 2, "ranks": 1})
    plan = build_plan(found)
    preflight(found)
    there = imported(plan, tmp_path)
    part = made(plan.the("finetune", arm=arm), tmp_path, there, finetune)
    assert part.metadata["train_structures"] == 7
    assert part.metadata["validation_structures"] == 1
    assert part.metadata["test"]["structures"] >= 3
    assert len(part.read("test_force_label", "eV/Å")) == 3 * 24 * part.metadata["test"][
        "structures"
    ]  # fmt: skip
    again = made(plan.the("finetune", arm=arm), tmp_path / "again", dict(there), finetune)
    assert again.digest == part.digest


def test_costs_of_a_liquid_are_foreseen(tmp_path: Path) -> None:
    found = spec(toy_boxes(16), tmp_path, LIQUID)
    workspace = Workspace(tmp_path / "workspace")
    workspace.prepare()
    plan = build_plan(found)
    storage = {s.stage: s for s in foresee(plan, workspace, machine()).storage.stages}
    assert set(storage) == {part.stage for part in plan.parts}
    frame = 2 * 24 * 3 * 8
    assert 2 * frame < storage["starts"].bytes < 2 * frame + 20_000


def test_the_reference_method_is_for_molecules(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reference method is for single molecules"):
        spec(toy_boxes(16), tmp_path, LIQUID, control={"method": "gfn2-xtb"})
