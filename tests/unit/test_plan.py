"""Identity is science: what changes the numbers changes fingerprints, what does not leaves them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from apps.sampling.settings import MoleculeSettings
from apps.selection.registry import STRATEGIES
from campaign.plan.build import Plan, build_plan
from campaign.plan.stages import STAGES as STAGES_BY_NAME
from campaign.plan.system import is_water
from campaign.spec.model import parse_spec
from campaign.templates import templates
from data_store.errors import InputError
from tests.e2e.tiny import TINY


def plan(**changes: Any) -> Plan:
    tables = tomllib.loads(TINY)
    for key, value in changes.items():
        table, name = key.split("__")
        tables.setdefault(table, {})[name] = value
    return build_plan(parse_spec(tables, "test", Path()))


METADYNAMICS: dict[str, Any] = {
    "height_eV": 0.01,
    "pace_fs": 50.0,
    "bias_factor": 10.0,
    "variables": [
        {
            "width": 0.1, "grid_lower": 0.5, "grid_upper": 5.5, "grid_bins": 100,
            "terms": [{"kind": "distance", "atoms": [0, 1]}],
        }
    ],
}  # fmt: skip
METHANOL = "6\n\n" + "\n".join(
    ("C 0.664 0.000 -0.020", "O -0.749 0.000 0.122", "H 1.029 -0.897 0.479", "H 1.029 0.897 0.479",
     "H 0.952 0.000 -1.070", "H -1.131 0.000 -0.754", "")
)  # fmt: skip
WATER = "3\n\nO 0 0 0\nH 0.76 0.59 0\nH -0.76 0.59 0\n"


@pytest.mark.parametrize(
    ("system", "force_field", "molecule", "chunk"),
    [
        ({"smiles": "CO", "multiplicity": 1}, "auto", "71204892f3f2160a", "8880d92d04e9c485"),
        ({"xyz": "methanol.xyz", "charge": 0}, "auto", "ff58ef5ab19912f9", "b468db79b0b3c3b8"),
        ({"smiles": "[H][H]"}, "gfnff", "dae54989041fa34c", "31a041d0829f06e2"),
        ({"smiles": "O"}, "mmff94", "d5bb380aa532d06f", "fda80f8abbfb53b7"),
    ],
)
def test_identities_of_2026_stay(
    system: dict[str, Any],
    force_field: str,
    molecule: str,
    chunk: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stored parts are found by these; raising the version of a stage alone may change them."""
    for stage in ("prepare", "sample"):
        monkeypatch.setitem(STAGES_BY_NAME, stage, replace(STAGES_BY_NAME[stage], version=1))
    (tmp_path / "methanol.xyz").write_text(METHANOL)
    tables = tomllib.loads(TINY) | {"system": system}
    tables["sampling"]["force_field"] = force_field
    found = build_plan(parse_spec(tables, "test", tmp_path))
    assert found.the("prepare").fingerprint.startswith(molecule)
    assert found.of("sample")[0].fingerprint.startswith(chunk)


@pytest.mark.parametrize(
    ("system", "before"),
    [({"smiles": "O"}, "29b924c46a71ab54"), ({"xyz": "water.xyz"}, "dce41bd83a419c71")],
)
def test_water_of_another_automatic_teacher_is_another_part(
    system: dict[str, Any], before: str, tmp_path: Path
) -> None:
    (tmp_path / "water.xyz").write_text(WATER)
    tables = tomllib.loads(TINY) | {"system": system}
    found = build_plan(parse_spec(tables, "test", tmp_path)).the("prepare")
    assert not found.fingerprint.startswith(before)
    assert found.settings["force_field"] == "auto"


SIMULATIONS_OF_2026 = "fdc16d97e2324b25"


def test_dynamics_without_a_bias_keeps_the_identity_it_had_before_there_were_biases(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for stage in ("sample", "candidates", "probe_structures"):  # whose versions were 1 then
        monkeypatch.setitem(STAGES_BY_NAME, stage, replace(STAGES_BY_NAME[stage], version=1))
    plain, told = plan(), plan(dynamics__metadynamics=METADYNAMICS)
    for stage in ("simulate", "control"):
        assert all("metadynamics" not in part.settings["dynamics"] for part in plain.of(stage))
    assert plain.of("simulate")[0].fingerprint.startswith(SIMULATIONS_OF_2026)
    changed = {p.stage for p, q in zip(plain.parts, told.parts, strict=True)
               if p.fingerprint != q.fingerprint}  # fmt: skip
    assert changed == {"simulate"}
    higher = plan(dynamics__metadynamics={**METADYNAMICS, "height_eV": 0.02})
    assert higher.of("simulate")[0].fingerprint != told.of("simulate")[0].fingerprint


WATERS = (
    "O [OH2] [H]O[H] O([H])[H] [H][OH] [H]O [H][O][H] [O]([H])[H] [OH][H] O[H] [2H]O[2H]"
)  # fmt: skip
NO_WATERS = "OO CO [OH] [OH-] [OH3+] [H][H] O=O [H][OH][H] [O] [O][H] S [OH2+]"


@pytest.mark.parametrize(
    ("smiles", "water"),
    [(smiles, True) for smiles in WATERS.split()]
    + [(smiles, False) for smiles in NO_WATERS.split()],
)
def test_water_is_known_by_how_it_is_written(smiles: str, water: bool) -> None:
    assert is_water(MoleculeSettings(smiles=smiles)) == water
    assert not is_water(MoleculeSettings(smiles=smiles, charge=1))
    assert not is_water(MoleculeSettings(smiles=smiles, multiplicity=3))


def prints(which: Plan, stage: str) -> set[str]:
    return {part.fingerprint for part in which.of(stage)}


STAGES = ("prepare", "sample", "candidates", "select", "pretrain", "label", "split", "starts",
          "finetune", "simulate", "probe_structures", "probe")  # fmt: skip
FROM_LABELS = ("label", "split", "starts", "finetune", "simulate", "probe_structures", "probe")
FROM_SELECTION = ("select", *FROM_LABELS)


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ({"campaign__name": "other"}, ()),
        ({"campaign__quorum": 0.5}, ()),
        ({"system__name": "wasser"}, ()),
        ({"pretraining__ranks": 1}, ()),
        ({"pretraining__checkpoint_every_s": 9.0}, ()),
        ({"pretraining__data_memory_MB": 9.0}, ()),
        ({"dynamics__checkpoint_every_s": 9.0}, ()),
        ({"campaign__seed": 6}, STAGES),
        ({"system__smiles": "OO"}, STAGES),
        ({"sampling__max_energy_eV_per_atom": 2.0}, STAGES[1:]),
        ({"pretraining__steps": 251}, ("pretrain", "finetune", "simulate", "probe")),
        (
            {"pretraining__held_out": 17},
            ("pretrain", "finetune", "simulate", "probe_structures", "probe"),
        ),
        ({"pretraining__scramble_labels": True}, ("pretrain", "finetune", "simulate", "probe")),
        ({"pretraining__seeds": [1]}, ("pretrain", "finetune", "simulate", "probe")),
        ({"potential__prior": "zbl"}, ("pretrain", "finetune", "simulate", "probe")),
        ({"finetuning__keep_scale": True}, ("finetune", "simulate", "probe")),
        # Said aloud, a default is what it was in silence; what is not made changes nothing.
        ({"potential__prior": "none", "pretraining__scramble_labels": False}, ()),
        ({"pretraining__seeds": [0, 1], "finetuning__scratch_long_pools": [8]}, ()),
        ({"finetuning__steps": 101}, ("finetune", "simulate", "probe")),
        ({"dynamics__length_ps": 1.0}, ("simulate",)),
        ({"labels__basis": "def2-SVP"}, ("label", "split", "finetune", "simulate", "probe")),
        ({"labels__select": "energy_stratified"}, FROM_SELECTION),
        ({"labels__select": "farthest_point"}, FROM_SELECTION),
        ({"labels__count": 13}, FROM_LABELS),
        ({"dynamics__replicas": 7}, ("starts", "simulate", "probe_structures", "probe")),
    ],
)
def test_a_change_recomputes_what_depends_on_it(
    change: dict[str, Any], stages: tuple[str, ...]
) -> None:
    before, after = plan(), plan(**change)
    changed = {stage for stage in STAGES if prints(before, stage) != prints(after, stage)}
    assert changed == set(stages)


def test_growing_keeps_what_is_there() -> None:
    small = plan()
    for change, stage in (
        ({"sampling__structures": 192}, "sample"),
        ({"finetuning__seeds": [0, 1]}, "finetune"),
        ({"dynamics__temperatures_K": [500, 2000, 700]}, "simulate"),
    ):
        assert prints(small, stage) < prints(plan(**change), stage)


def test_more_labels_keep_their_items() -> None:
    (before,), (after,) = (
        plan().of("label"),
        plan(labels__count=20, labels__candidates=40).of("label"),
    )
    assert before.items is not None
    assert after.items is not None
    # Another number of candidates is another order; the same one is the same items.
    assert before.items.fingerprint != after.items.fingerprint
    (more,) = plan(labels__count=13).of("label")
    assert more.items is not None
    assert more.items.fingerprint == before.items.fingerprint
    assert more.fingerprint != before.fingerprint


def test_another_selection_is_another_series_of_labels() -> None:
    found = [plan(labels__select=name).the("label").items for name in STRATEGIES]
    assert len({items.fingerprint for items in found if items}) == len(STRATEGIES)


def test_a_strategy_that_asks_models_waits_for_the_pre_trainings_that_are_started_from() -> None:
    two = {"pretraining__seeds": [0, 1], "finetuning__seeds": [0, 1]}
    found = plan(labels__select="committee", **two)
    models = tuple(part.fingerprint for part in found.of("pretrain"))
    assert found.the("select").inputs["models"] == models
    assert len(models) == 2
    assert "models" not in plan(**two).the("select").inputs


@pytest.mark.parametrize(
    ("settings", "models"),
    [
        ({"labels__select": "committee"}, 1),
        ({"labels__select": "committee", "pretraining__seeds": [0, 1]}, 1),
        ({"labels__select": "d_optimal", "finetuning__arms": ["scratch"]}, 0),
    ],
)
def test_a_strategy_that_asks_more_models_than_there_are_is_refused(
    settings: dict[str, Any], models: int
) -> None:
    with pytest.raises(InputError, match=f"the campaign starts from {models}"):
        plan(**settings)


def test_unknown_strategies_list_the_valid() -> None:
    with pytest.raises(InputError, match=r"labels\.select = 'farthest'.*energy_stratified.*mean"):
        plan(labels__select="farthest")


def test_imported_labels_are_not_selected(tmp_path: Path) -> None:
    tables = tomllib.loads(templates()["aspirin"])
    for key in ("file", "test_file"):
        (tmp_path / tables["labels"][key]).touch()
    assert not build_plan(parse_spec(tables, "test", tmp_path)).of("select")
    tables["labels"]["select"] = "farthest_point"
    with pytest.raises(InputError, match='belongs to source = "pyscf"'):
        parse_spec(tables, "test", tmp_path)


def test_the_control_is_matched() -> None:
    found = plan()
    one, other = (found.the("finetune", arm=arm) for arm in ("pretrained", "scratch"))
    assert one.settings == other.settings
    assert {k: v for k, v in one.inputs.items() if k != "checkpoint"} == other.inputs
    runs = [found.the("simulate", arm=arm, temperature_K=500) for arm in ("pretrained", "scratch")]
    assert runs[0].settings == runs[1].settings
    for role in ("starts", "split", "labels", "molecule"):
        assert runs[0].inputs[role] == runs[1].inputs[role]


def test_the_physical_control_is_asked_for_and_changes_nothing_else() -> None:
    without, control = plan(), plan(control__method="gfn2-xtb", control__replicas=6)
    assert without.of("control") == []
    there = [part for part in control.parts if part not in control.of("control")]
    probes = [part for part in there if "method" in part.key]
    assert [part for part in there if part not in probes] == list(without.parts)
    assert [part.key for part in probes] == [{"method": "gfn2-xtb"}]
    sizes = [part.settings["replicas_in_block"] for part in control.of("control")]
    assert sizes == [4, 2] * len(control.spec.dynamics.temperatures_K)
    longer = plan(control__method="gfn2-xtb", control__replicas=6, control__length_ps=0.5)
    assert prints(longer, "control").isdisjoint(prints(control, "control"))
    with pytest.raises(InputError, match=r"control\.replicas"):
        plan(control__method="gfn2-xtb", control__replicas=100)
    with pytest.raises(InputError, match=r"control\.length_ps.*whole number"):
        plan(control__method="gfn2-xtb", control__replicas=2, control__length_ps=0.0003)


def test_scratch_long_gets_the_steps_of_pretraining() -> None:
    found = plan(finetuning__arms=["pretrained", "scratch", "scratch_long"])
    assert found.the("finetune", arm="scratch_long").settings["pretraining_steps"] == 250
    assert found.the("finetune", arm="scratch").settings["pretraining_steps"] == 0


def test_scratch_long_can_be_kept_to_some_pools() -> None:
    arms = ["pretrained", "scratch", "scratch_long"]
    found = plan(
        finetuning__arms=arms, finetuning__pools=[6, 8], finetuning__scratch_long_pools=[6]
    )
    models = {(part.key["arm"], part.key["labels"]) for part in found.of("finetune")}
    assert models == {(arm, pool) for arm in arms for pool in (6, 8)} - {("scratch_long", 8)}
    everywhere = plan(finetuning__arms=arms, finetuning__pools=[6, 8])
    assert prints(found, "finetune") < prints(everywhere, "finetune")
    with pytest.raises(InputError, match=r"scratch_long_pools holds \[7\], pools only \[6, 8\]"):
        plan(finetuning__pools=[6, 8], finetuning__scratch_long_pools=[7])


def test_models_are_dealt_over_seeds_of_pretraining() -> None:
    found = plan(pretraining__seeds=[0, 4, 2], finetuning__seeds=[0, 1, 3, 4])
    teachers = found.of("pretrain")
    assert [part.key for part in teachers] == [{}, {"seed": 4}], "number 2 is never started from"
    starts = {
        part.key["seed"]: part.inputs["checkpoint"]
        for part in found.of("finetune", arm="pretrained")
    }
    first, second = ((part.fingerprint,) for part in teachers)
    assert starts == {0: first, 1: second, 3: first, 4: second}
    assert prints(plan(), "pretrain") == {teachers[0].fingerprint}
    assert prints(plan(), "finetune") < prints(found, "finetune")


TOO_FEW = {"sampling__structures": 1000, "pretraining__held_out": 640}


@pytest.mark.parametrize(
    ("chunk", "messages"),
    [
        (250, ["held_out = 640: at most half of the teacher's 1000 structures, 500"]),
        (2048, ["structures = 1000: less than one chunk", "held_out = 640: at most half"]),
    ],
)
def test_too_few_teacher_structures_are_refused(chunk: int, messages: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        plan(**TOO_FEW, sampling__chunk_structures=chunk)
    assert [m in str(caught.value) for m in messages] == [True] * len(messages)
    assert f"{len(messages)} problem" in str(caught.value)
    scratch = plan(**TOO_FEW, sampling__chunk_structures=chunk, finetuning__arms=["scratch"])
    assert not scratch.of("sample"), "without a teacher their number is nobody's business"


@pytest.mark.parametrize("structures", [1_000, 10_000, 100_000])
def test_the_number_of_teacher_structures_is_a_setting(structures: int) -> None:
    found = plan(
        sampling__structures=structures, sampling__chunk_structures=1_000, pretraining__held_out=100
    )
    assert len(found.of("sample")) * 1_000 == structures
    assert found.the("pretrain").settings["pretraining"]["steps"] == 250


def test_without_the_teacher_nothing_is_sampled() -> None:
    found = plan(finetuning__arms=["scratch"])
    assert not found.of("sample")
    assert not found.of("pretrain")
    assert not found.of("probe")
    assert not found.of("probe_structures")


def test_dependence_has_no_cycle_and_nothing_lacks() -> None:
    seen: set[str] = set()
    for part in plan().parts:
        assert part.needs <= seen
        seen.add(part.fingerprint)


def test_templates_are_valid_and_say_what_the_design_says(tmp_path: Path) -> None:
    for name, text in templates().items():
        tables = tomllib.loads(text)
        if name.startswith("aspirin"):
            tables["labels"] = {"source": "pyscf", "count": 1100, "candidates": 2000}
        if name in {"water", "combustion"}:
            file = tmp_path / "labels.extxyz"
            file.touch()
            tables["labels"]["file"] = str(file)
        parse_spec(tables, name, Path())


NUMBERS_OF_THE_EXAM = {
    "campaign.name",
    "sampling.structures",
    "pretraining.steps",
    "pretraining.batch_size",
    "pretraining.seeds",
    "pretraining.ranks",
    "finetuning.pools",
    "finetuning.scratch_long_pools",
    "finetuning.steps",
    "dynamics.temperatures_K",
    "dynamics.replicas",
    "dynamics.block_replicas",
    "dynamics.length_ps",
    "control.replicas",
    "control.length_ps",
}


def _flat(tables: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        inner = _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else None
        flat |= {f"{prefix}{key}": value} if inner is None else inner
    return flat


def test_the_exam_is_one_exam_in_two_sizes() -> None:
    full, small = (_flat(tomllib.loads(templates()[f"aspirin-exam{s}"])) for s in ("", "-small"))
    assert list(full) == list(small), "the same keys in the same order"
    assert {key for key in full if full[key] != small[key]} == NUMBERS_OF_THE_EXAM
    numbers = NUMBERS_OF_THE_EXAM - {"campaign.name"}
    assert all(isinstance(full[key], int | float | list) for key in numbers)


def test_the_full_exam_says_what_the_protocol_says() -> None:
    full = tomllib.loads(templates()["aspirin-exam"])
    assert full["finetuning"]["arms"] == ["pretrained", "scratch", "scratch_long"]
    assert full["finetuning"]["pools"] == [25, 50, 100, 300, 1000]
    assert full["finetuning"]["seeds"] == [0, 1, 2, 3, 4]
    assert full["pretraining"]["seeds"] == [0, 1, 2]
    assert full["dynamics"]["temperatures_K"] == [300, 500, 1000, 1500]
    assert (full["dynamics"]["replicas"], full["dynamics"]["length_ps"]) == (256, 100.0)


@pytest.mark.parametrize("module", ["campaign", "campaign.campaign", "campaign.cli.main"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    heavy = ["torch", "parsl", "openmm", "rdkit", "pyscf", "matplotlib", "ase"]
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
