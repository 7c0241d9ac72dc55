"""The ablations of the exam do what they say: a teacher of some tiers, scrambled, on a prior."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from apps.contract import Request, Result
from apps.potential.weights import load_potential
from apps.sampling.chunk import make_chunk
from apps.sampling.mmff94 import MMFF94
from apps.sampling.molecule import molecule_from_smiles
from apps.sampling.settings import SamplingSettings
from apps.training.distributed import World
from apps.training.finetuning import run_finetuning
from apps.training.labelled_set import LabelledSet
from apps.training.pretraining import run_pretraining
from apps.training.scramble import scrambled
from apps.training.settings import PretrainingSettings
from data_store.columns import Column
from data_store.errors import InputError
from data_store.fingerprints import fingerprint
from data_store.parts import Part, open_part, write_part
from data_store.streams import stream
from data_store.structure_parts import structures_to_columns
from data_store.structures import TIERS, Structures, concatenate
from tests.laws.training_toys import NUMBERS, toy_structures

ALONE = World(0, 1, torch.device("cpu"))
TIERS_OF_THE_TEACHER = ("langevin", "noise", "scan", "clash")
SUBSETS = [chosen for count in range(1, 5) for chosen in combinations(TIERS_OF_THE_TEACHER, count)]


def only(tiers: tuple[str, ...], structures: int = 41) -> SamplingSettings:
    """Settings in which the other tiers have no weight."""
    quick = {"temperatures_K": [300], "equilibration_fs": 5.0, "stride_fs": 2.0}
    weights: dict[str, dict[str, Any]] = {
        tier: {"weight": 0.3 * (tier in tiers)} for tier in TIERS_OF_THE_TEACHER
    }
    weights["langevin"] |= quick
    return SamplingSettings.model_validate({"chunk_structures": structures, "tiers": weights})


@pytest.fixture(scope="module")
def methanol() -> MMFF94:
    return MMFF94(molecule_from_smiles("CO", name="methanol"))


@pytest.mark.parametrize("tiers", SUBSETS, ids="+".join)
def test_a_tier_without_weight_is_not_made(methanol: MMFF94, tiers: tuple[str, ...]) -> None:
    made = make_chunk(methanol, only(tiers), 0, 0)
    assert len(made.structures) == 41
    assert {TIERS[code] for code in made.structures.tiers} == set(tiers)
    assert {name for name, count in made.tiers.items() if count} == set(tiers)
    assert sum(made.tiers.values()) == 41
    counts = [count for count in made.tiers.values() if count]
    assert max(counts) - min(counts) <= 1


def test_only_tiers_that_a_molecule_cannot_have_are_refused() -> None:
    nitrogen = MMFF94(molecule_from_smiles("N#N", name="nitrogen"))
    with pytest.raises(InputError, match=r"can have none of the tiers that have a weight: clash"):
        make_chunk(nitrogen, only(("clash",)), 0, 0)


def mixed_set() -> LabelledSet:
    """Thirty waters, ten in another order of atoms, and one of another molecule."""
    waters = toy_structures(40)
    order = np.array([1, 0, 2])
    x, f = waters.dense_positions()[30:], waters.labelled_forces().reshape(40, 3, 3)[30:]
    turned = Structures.from_dense(
        NUMBERS[order], x[:, order], energies=waters.labelled_energies()[30:], forces=f[:, order]
    )
    other = Structures.from_dense(
        np.array([1, 1]), np.array([[[0.0, 0, 0], [0.7, 0, 0]]]), energies=[-31.0],
        forces=[[[1.0, 0, 0], [-1.0, 0, 0]]],
    )  # fmt: skip
    return LabelledSet.of(concatenate([waters.slice(0, 30), turned, other]), ALONE.device)


def test_scrambling_moves_labels_among_structures_of_the_same_atoms() -> None:
    before = mixed_set()
    after, alone = scrambled(before, 7)
    assert alone == 1
    assert torch.equal(after.positions, before.positions)
    assert torch.equal(after.numbers, before.numbers)
    donors = [int(torch.nonzero(before.energies == energy)) for energy in after.energies]
    assert sorted(donors) == list(range(41)), "each label is given once: marginals stay"
    assert torch.equal(after.forces, before.forces[donors]), "forces go with their energy"
    assert torch.equal(before.numbers[donors], before.numbers)
    assert [row for row, donor in enumerate(donors) if row == donor] == [40]
    again, _ = scrambled(before, 7)
    other, _ = scrambled(before, 8)
    assert torch.equal(again.energies, after.energies)
    assert not torch.equal(other.energies, after.energies)


POTENTIAL = {"cutoff_A": 4.0}
PRETRAINING = {
    "steps": 60, "batch_size": 10, "held_out": 40, "warmup_steps": 10, "ema_decay": 0.9,
    "learning_rate": 5e-3, "validate_every": 60,
}  # fmt: skip
FINETUNING = {"steps": 2, "batch_size": 8, "learning_rates": [1e-5], "warmup_steps": 0}


def part_of(root: Path, stage: str, structures: Structures) -> Part:
    return write_part(root, stage, stage[0] * 64, structures_to_columns(structures), {})


def pretrained(
    root: Path,
    structures: Structures,
    key: dict[str, Any] | None = None,
    *,
    prior: str = "none",
    steps: int = 60,
    **changes: Any,
) -> tuple[Result, Part]:
    teacher = part_of(root, "sample", structures)
    name = fingerprint([prior, steps, key, changes])
    req = Request(
        str(root), str(root / "work"), "pretrain", name,
        {"potential": {**POTENTIAL, "prior": prior},
         "pretraining": {**PRETRAINING, "steps": steps, **changes}},
        5, key or {}, {"teacher": [str(teacher.path)]},
    )  # fmt: skip
    result = run_pretraining(req, ALONE, lambda: False)
    assert result is not None
    assert result.path is not None
    return result, open_part(Path(result.path))


def test_a_scrambled_teacher_teaches_nothing(tmp_path: Path) -> None:
    structures = toy_structures(400)
    plain, honest = pretrained(tmp_path, structures)
    result, control = pretrained(tmp_path, structures, scramble_labels=True)
    assert control.metadata["scrambled"]["labels"] == 360
    assert control.metadata["scrambled"]["own_labels"] == 0
    assert result.counts["scrambled_labels"] == 360.0
    nothing = control.metadata["scrambled"]["held_out_force_mean_abs_eV_per_A"]
    assert control.metadata["held_out"]["force_mae_eV_per_A"] > 0.9 * nothing
    assert honest.metadata["held_out"]["force_mae_eV_per_A"] < 0.3 * nothing, "the twin learns"
    assert "scrambled" not in honest.metadata
    assert "scrambled_labels" not in plain.counts
    assert control.metadata["refit"]["scale_after"] == pytest.approx(
        honest.metadata["refit"]["scale_after"], rel=1e-5
    ), "marginals stay"


def test_there_must_be_labels_to_scramble(tmp_path: Path) -> None:
    kinds = [np.array([8] + [1] * hydrogens) for hydrogens in (1, 2, 3, 4)]
    apart = [
        Structures.from_dense(
            numbers, 1.1 * stream(0, "x", len(numbers)).normal(size=(1, len(numbers), 3)),
            energies=[0.0], forces=np.zeros((1, len(numbers), 3)),
        )
        for numbers in kinds
    ]  # fmt: skip
    with pytest.raises(InputError, match="no labels to scramble"):
        pretrained(tmp_path, concatenate(apart), held_out=1, scramble_labels=True)


def test_seeds_of_pretraining_see_the_same_structures(tmp_path: Path) -> None:
    structures = toy_structures(60)
    parts = [
        pretrained(tmp_path, structures, key, steps=3, held_out=20)[1]
        for key in ({}, {"seed": 0}, {"seed": 1})
    ]
    models = [part.file("model.safetensors").read_bytes() for part in parts]
    assert models[0] == models[1], "number 0 is what there was before there were others"
    assert models[0] != models[2]
    scales = {part.metadata["refit"]["scale_after"] for part in parts}
    assert len(scales) == 1, "force rms of the same training structures"


def ordinary(count: int, seed: int = 0, times: float = 1.0) -> Structures:
    """Structures beyond the reach of the prior; energies and forces `times` those of the toy."""
    found = toy_structures(2 * count, seed)
    x = found.dense_positions()
    near = np.linalg.norm(x[:, 1:] - x[:, :1], axis=-1).min(1) < 0.8
    rows = np.flatnonzero(~near)[:count]
    assert len(rows) == count
    forces = found.labelled_forces().reshape(x.shape)
    return Structures.from_dense(
        NUMBERS, x[rows], energies=times * found.labelled_energies()[rows],
        forces=times * forces[rows],
    )  # fmt: skip


def finetuned(root: Path, checkpoint: Part | None, *, keep_scale: bool, prior: str) -> Part:
    labels = part_of(root, "label", ordinary(40, seed=2))
    rows = {"train": range(20), "validation": range(20, 30), "test": range(30, 40)}
    split = write_part(
        root, "split", "2" * 64, {n: Column(np.array(r, np.int64)) for n, r in rows.items()}, {}
    )
    inputs = {"labels": [str(labels.path)], "split": [str(split.path)]}
    inputs |= {"checkpoint": [str(checkpoint.path)]} if checkpoint else {}
    name = f"{int(keep_scale)}{int(checkpoint is None)}".ljust(64, "0")
    req = Request(
        str(root), str(root / "work"), "finetune", name,
        {"potential": {**POTENTIAL, "prior": prior},
         "finetuning": {**FINETUNING, "keep_scale": keep_scale}, "pretraining_steps": 0},
        5, {"arm": "pretrained" if checkpoint else "scratch", "labels": 30, "seed": 0}, inputs,
    )  # fmt: skip
    result = run_finetuning(req, ALONE, lambda: False)
    assert result.path is not None
    return open_part(Path(result.path))


def test_the_scale_is_kept_or_refitted(tmp_path: Path) -> None:
    """The teacher's forces are half of the labels': refitting finds that, keeping does not."""
    _, teacher = pretrained(tmp_path, ordinary(200, times=0.5), prior="zbl")
    kept, fitted = (
        finetuned(tmp_path, teacher, keep_scale=keep, prior="zbl").metadata["refit"]
        for keep in (True, False)
    )
    learned = teacher.metadata["refit"]["scale_after"]
    assert kept["scale_before"] == kept["scale_after"] == fitted["scale_before"] == learned
    assert fitted["scale_after"] == pytest.approx(2.0 * learned, rel=0.1)


@pytest.mark.parametrize("keep_scale", [True, False])
def test_a_fresh_network_has_no_scale_to_keep(tmp_path: Path, keep_scale: bool) -> None:
    part = finetuned(tmp_path, None, keep_scale=keep_scale, prior="none")
    labels = LabelledSet.of(ordinary(40, seed=2), ALONE.device).forces[:20]
    rms = float(labels.square().mean().sqrt())
    assert part.metadata["refit"]["scale_before"] == 1.0
    assert part.metadata["refit"]["scale_after"] == pytest.approx(rms, rel=1e-6)


def test_all_arms_stand_on_the_prior(tmp_path: Path) -> None:
    _, teacher = pretrained(tmp_path, toy_structures(60), prior="zbl", steps=2, held_out=20)
    for checkpoint in (teacher, None):
        part = finetuned(tmp_path, checkpoint, keep_scale=False, prior="zbl")
        assert load_potential(part.file("model.safetensors")).prior == "zbl"


def test_defaults_are_no_ablation() -> None:
    settings = PretrainingSettings()
    assert (settings.scramble_labels, settings.seeds) == (False, (0,))
