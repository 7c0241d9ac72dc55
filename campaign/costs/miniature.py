"""A campaign in miniature, run to see what its work takes: ``python -m campaign.costs.miniature``.

The tasks are the campaign's own, on its own molecule, potential, batches and blocks; what is small
is how often: a few structures, optimiser steps and steps of dynamics. Its labels are invented, so
that no expert is called; of the expert single labels are tried, in a process of their own: of
water, which says something where the molecule's takes too long, then of the molecule. Each trial is
told at once, a line of JSON, since the process is ended when its time is up.

A process of its own, so that `campaign` loads no heavy library and torch counts the threads of a
worker. It makes nothing that a campaign uses.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from apps.labeling.settings import MethodSettings
from apps.runner import run_requests
from apps.training.parent import die_with_parent
from campaign.costs.effort import effort_of
from campaign.execution.tasks import tasks_of
from campaign.plan.build import Plan, build_plan
from campaign.plan.items import PlannedPart
from campaign.spec.model import CampaignSpec
from campaign.workspace import Workspace
from data_store.errors import CampaignError
from data_store.extxyz import write_extxyz
from data_store.molecules import Molecule
from data_store.parts import find_part, is_made
from data_store.structures import Structures

__all__ = ["LABEL", "main", "small"]

LABEL = "apps.labeling.task:label"

_STRUCTURES, _HELD_OUT = 48, 8
_FEW_STEPS, _MANY_STEPS = 3, 300
_ENOUGH_S = 1.0
"""What the longer of two trials should take."""

_NOISE_A, _FORCE_eV_PER_A = 0.02, 1.0
"""Of the invented labels."""

_BY_STEPS = ("pretrain", "finetune", "simulate", "control")


def main(order_file: str) -> None:
    """Run the trials that a file orders: of which campaign, where, what, with how many threads."""
    die_with_parent()
    order = json.loads(Path(order_file).read_text(encoding="utf-8"))
    spec = CampaignSpec.model_validate(order["spec"])
    place = _Place(Path(order["folder"]), order["threads"])
    labels = order["kind"] == "labels"
    try:
        if labels:
            _try_labels(spec, order["threads"])
        else:
            _try_models(spec, place, set(order["stages"]))
    except CampaignError as error:
        _tell(function=LABEL if labels else "", failed=error.message)


def small(
    spec: CampaignSpec,
    labels: Path | None = None,
    steps: int = 1,
    candidates: int = 1,
    sampling: tuple[int, int] = (_STRUCTURES, 20),
) -> CampaignSpec:
    """The campaign in miniature: every step as it is, and few of them.

    Parameters
    ----------
    spec : CampaignSpec
    labels : Path or None
        File of invented labels; None before there is one.
    steps : int
        Of training, and of dynamics.
    candidates : int
        Thermal candidates at each temperature.
    sampling : tuple of int
        Structures of a chunk, and steps of dynamics before its first frame.
    """
    tuning, dynamics = spec.finetuning, spec.dynamics
    length = {"length_ps": steps * dynamics.timestep_fs * 1e-3}
    few: dict[str, dict[str, Any]] = {
        "sampling": _small_sampling(spec, *sampling),
        "labels": {"candidates": candidates * len(spec.labels.temperatures_K)},
        "pretraining": {
            "steps": steps, "ranks": 1, "held_out": _HELD_OUT, "seeds": (0,),
            "batch_size": -(-spec.pretraining.batch_size // spec.pretraining.ranks),
        },
        "finetuning": {
            "steps": steps, "pools": (_pool(spec),), "seeds": (0,), "scratch_long_pools": None,
            "arms": [a for a in ("pretrained", "scratch") if a in (*tuning.arms, "scratch")],
            "learning_rates": tuning.learning_rates[:1],
        },
        # Untrained models fail at once, and what has failed costs nothing.
        "dynamics": {
            "temperatures_K": dynamics.temperatures_K[:1], "replicas": _replicas(spec), **length,
            "stretch_A": 1e9, "contact_fraction": 1e-9, "contact_HH_A": 1e-9, "hot_tail": 1e-300,
            "max_force_eV_per_A": 1e30,
        },
        "control": {"replicas": 1, "block_replicas": 1, **length},
    }  # fmt: skip
    if labels is not None:
        few["labels"] = {
            "source": "file", "file": str(labels), "test_file": None, "test_count": 2,
            "select": "random",
        }  # fmt: skip
    tables = spec.model_dump(mode="json", exclude={"active_learning"})  # of other stages' work
    return CampaignSpec.model_validate(
        {name: {**table, **few.get(name, {})} for name, table in tables.items()}
    )


def _small_sampling(spec: CampaignSpec, structures: int, steps: int) -> dict[str, Any]:
    """One chunk, its dynamics short and at one temperature: they are most of a chunk's time."""
    tiers = spec.sampling.tiers
    short = {
        "temperatures_K": tiers.langevin.temperatures_K[:1],
        "equilibration_fs": steps * tiers.langevin.timestep_fs,
        "stride_fs": tiers.langevin.timestep_fs,
    }
    cut = tiers.model_copy(update={"langevin": tiers.langevin.model_copy(update=short)})
    return {"structures": structures, "chunk_structures": structures, "tiers": cut.model_dump()}


def _pool(spec: CampaignSpec) -> int:
    """Labels that fill a batch of fine-tuning, as far as the campaign's pools do."""
    return max(10, min(max(spec.finetuning.pools), 2 * spec.finetuning.batch_size))


def _replicas(spec: CampaignSpec) -> int:
    return min(spec.dynamics.replicas, spec.dynamics.block_replicas)


def _tell(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class _Place:
    """A workspace of trials.

    Parameters
    ----------
    folder : Path
    threads : int
    """

    def __init__(self, folder: Path, threads: int) -> None:
        self.folder, self._threads = folder, threads
        self._workspace = Workspace(folder / "workspace")
        self._workspace.prepare()
        self._known: dict[str, PlannedPart] = {}

    def plan(self, spec: CampaignSpec) -> Plan:
        """Plan whose parts can be made here."""
        plan = build_plan(spec)
        self._known |= {part.fingerprint: part for part in plan.parts}
        return plan

    def made(self, part: PlannedPart) -> dict[str, Any]:
        """What the metadata of a part say that was made here."""
        found = find_part(self._workspace.parts, part.stage, part.fingerprint)
        return {} if found is None else found.metadata

    def make(self, part: PlannedPart) -> float | None:
        """Make a part and what it needs; seconds that it took itself, None where it failed."""
        for needed in (self._known[fingerprint] for fingerprint in part.needs):
            if not is_made(self._workspace.parts, needed.stage, needed.fingerprint):
                self.make(needed)
        (task,) = tasks_of(part, self._workspace, self._threads)
        mark = self._workspace.running / "trial.json"
        (answer,) = run_requests(task.function, list(task.requests), [str(mark)])
        if answer["outcome"] != "done":
            _tell(function=part.function, failed=answer["message"])
            return None
        return float(answer["resources"]["wall_s"])

    def tell(self, part: PlannedPart) -> float | None:
        """Make a part and tell what it took."""
        seconds = self.make(part)
        if seconds is not None:
            _tell(function=part.function, amount=effort_of(part).amount, seconds=seconds)
        return seconds


def _try_models(spec: CampaignSpec, place: _Place, wanted: set[str]) -> None:
    """All but labels: of each stage a short trial first, since time may be up before the longer.

    Stages that are not wanted are made where others need them.
    """
    prepared = place.plan(small(spec)).the("prepare")
    if place.make(prepared) is None:
        return
    molecule = Molecule.from_json(place.made(prepared)["molecule"])
    began = time.perf_counter()
    _tell(**_evaluation(spec, molecule))
    _tell(imports_s=time.perf_counter() - began)
    labels = place.folder / "labels.extxyz"
    _invent_labels(labels, molecule, _pool(spec) + _replicas(spec) + 60)
    first = place.plan(small(spec, labels))
    took = {
        stage: _try_few_steps(spec, labels, stage, place)
        for stage in _BY_STEPS
        if stage in wanted and first.of(stage)
    }
    if "candidates" in wanted:
        place.tell(place.plan(small(spec)).the("candidates"))
    if "probe" in wanted and first.of("probe"):
        place.tell(first.of("probe")[0])
    if "sample" in wanted and first.of("sample"):
        _try_sampling(spec, labels, place)
    for stage, seconds in took.items():
        if seconds is not None and seconds < 2.0 * _ENOUGH_S:
            _try_more_steps(spec, labels, stage, seconds, place)
    if "candidates" in wanted:
        place.tell(place.plan(small(spec, candidates=3)).the("candidates"))


def _try_few_steps(spec: CampaignSpec, labels: Path, stage: str, place: _Place) -> float | None:
    """What few steps take, once what is slow the first time is over."""
    place.make(place.plan(small(spec, labels)).of(stage)[-1])
    return place.tell(place.plan(small(spec, labels, _FEW_STEPS)).of(stage)[-1])


def _try_more_steps(
    spec: CampaignSpec, labels: Path, stage: str, seconds: float, place: _Place
) -> None:
    """What more steps take, given what few did: the fixed cost of a task is in both."""
    many = min(int(_FEW_STEPS * _ENOUGH_S / max(seconds, 1e-3)), _MANY_STEPS)
    longer = small(spec, labels, max(4 * _FEW_STEPS, many))
    place.tell(place.plan(longer).of(stage)[-1])


def _try_sampling(spec: CampaignSpec, labels: Path, place: _Place) -> None:
    """Chunks of few and of all structures, from ones with little dynamics and the price of more."""
    from apps.sampling.frames import steps_of_round

    def chunk(structures: int, steps: int) -> tuple[CampaignSpec, PlannedPart]:
        one = small(spec, labels, sampling=(structures, steps))
        return one, place.plan(one).of("sample")[0]

    def steps_of(one: CampaignSpec) -> int:
        tiers = one.sampling.tiers
        weights = [getattr(tiers, name).weight for name in type(tiers).model_fields]
        thermal = one.sampling.chunk_structures * tiers.langevin.weight / sum(weights)
        return steps_of_round(round(thermal), tiers.langevin)

    whole = spec.sampling.chunk_structures
    cases = [chunk(_STRUCTURES, 40), chunk(_STRUCTURES, 400), chunk(whole, 40)]
    short, long, every = (place.make(part) for _, part in cases)
    if short is None or long is None or every is None:
        return
    steps = [steps_of(one) for one, _ in cases]
    step_s = max(long - short, 0.0) / (steps[1] - steps[0])
    begin_s = max(short - step_s * steps[0], 0.0)  # of the dynamics at one temperature
    temperatures = len(spec.sampling.tiers.langevin.temperatures_K)
    for structures, seconds, made in ((_STRUCTURES, short, steps[0]), (whole, every, steps[2])):
        one = spec.sampling.model_copy(update={"chunk_structures": structures})
        more = steps_of(spec.model_copy(update={"sampling": one})) - made
        told = seconds + step_s * more + begin_s * (temperatures - 1)
        _tell(function=cases[0][1].function, amount=float(structures), seconds=told)


def _evaluation(spec: CampaignSpec, molecule: Molecule) -> dict[str, Any]:
    """Atoms and parameters; whether work is done on a GPU, or is long enough to be compiled."""
    import torch

    import apps.dynamics.engine  # noqa: F401
    from apps.potential.compiled import repays
    from apps.potential.starting import starting_potential
    from apps.training.gradient import repays_training

    chosen, pretraining, tuning = spec.potential, spec.pretraining, spec.finetuning
    potential = starting_potential(chosen, sorted(set(molecule.numbers)), 0, chosen.start_from)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    atoms, dynamics = len(molecule.numbers), spec.dynamics
    share = -(-pretraining.batch_size // pretraining.ranks)
    steps = dynamics.steps_of(dynamics.length_ps * 1000.0)
    work = float(_replicas(spec) * steps * atoms)
    compiled = {
        "pretrain": repays_training(potential, device, share, pretraining.steps, atoms).compiled,
        "finetune": repays_training(
            potential, device, min(tuning.batch_size, max(tuning.pools)), tuning.steps, atoms
        ).compiled,
        "simulate": repays(potential, device, work).compiled,
    }
    return {
        "atoms": atoms,
        "parameters": sum(p.numel() for p in potential.parameters()),
        "gpu": device.type != "cpu",
        "compiled": [stage for stage, found in compiled.items() if found],
    }


def _invent_labels(path: Path, molecule: Molecule, count: int) -> None:
    """Write labels that mean nothing, of the molecule near its geometry at rest."""
    rng = np.random.default_rng(0)
    shape = (count, len(molecule.numbers), 3)
    structures = Structures.from_dense(
        np.array(molecule.numbers),
        molecule.reference_positions + _NOISE_A * rng.normal(size=shape),
        energies=rng.normal(size=count),
        forces=_FORCE_eV_PER_A * rng.normal(size=shape),
        charge=molecule.charge,
        multiplicity=molecule.multiplicity,
    )
    write_extxyz(path, structures)


def _try_labels(spec: CampaignSpec, threads: int) -> None:
    """Labels of water and of the molecule: how long each takes, and how large both are."""
    from pyscf import lib

    from apps.labeling.labeler import make_labeler
    from apps.sampling.settings import MoleculeSettings
    from apps.sampling.task import make_molecule

    lib.num_threads(threads)
    method = {name: getattr(spec.labels, name) for name in MethodSettings.model_fields}
    labeler = make_labeler(MethodSettings(**method))
    xyz = Path(spec.system.xyz) if spec.system.xyz else None
    own = make_molecule(spec.system, spec.campaign.seed, xyz, None)
    water = make_molecule(MoleculeSettings(smiles="O"), 0, None, None)
    rng = np.random.default_rng(0)
    for molecule, warm in ((water, False), (water, True), (water, True), (own, True), (own, True)):
        noise = _NOISE_A * rng.normal(size=molecule.reference_positions.shape)
        began = time.perf_counter()
        labeler.label(
            np.array(molecule.numbers), molecule.reference_positions + noise, molecule.charge,
            molecule.multiplicity,
        )  # fmt: skip
        if warm:
            _tell(
                function=LABEL, seconds=time.perf_counter() - began, own=molecule is own,
                electrons=_electrons(water), molecule_electrons=_electrons(own),
            )  # fmt: skip


def _electrons(molecule: Molecule) -> int:
    return sum(molecule.numbers) - molecule.charge


if __name__ == "__main__":
    main(sys.argv[1])
