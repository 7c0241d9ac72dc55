"""What a worker runs for dynamics: blocks of replicas of one model at one temperature."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from apps.contract import Request, Result
from apps.dynamics.criteria_registry import find_criterion
from apps.dynamics.hill_columns import hill_columns, hills_record
from apps.dynamics.metadynamics_settings import check_variables
from apps.dynamics.run_columns import last_frame_columns, saved_columns, velocity_columns
from apps.dynamics.settings import DynamicsSettings
from apps.dynamics.sources import Forces, ForcesOf, forces_of_method, forces_of_model
from apps.dynamics.systems import System, reactive_system, system_of
from apps.dynamics.watching import (
    contact_limits,
    reference_bond_lengths,
    watched_of,
    with_plausible_energies,
)
from data_store.errors import InputError
from data_store.molecules import Molecule
from data_store.parts import Part, write_part
from data_store.runs import OUTCOMES, Outcome, Run, runs_to_columns
from data_store.streams import stream_seed
from data_store.structure_parts import read_structures

if TYPE_CHECKING:
    from apps.dynamics.criteria import Watched

__all__ = [
    "contact_limits",
    "control",
    "reference_bond_lengths",
    "simulate",
    "simulate_together",
]

_NOT_OF_A_BLOCK = {"temperatures_K", "replicas", "checkpoint_every_s"}
"""Settings that say nothing of one block: of its siblings, or of resources."""


def simulate(request: dict[str, Any]) -> dict[str, Any]:
    """Run one block: key ``arm``, ``labels``, ``seed``, ``temperature_K``, ``block``.

    Writes a part with runs, saved positions, and the last frames before each failure. Starts,
    velocities and noise depend on the temperature and the block alone, so that the replicas of all
    arms are paired. Starts in a periodic box are simulated in it, as molecules of the kinds that
    were prepared; positions are not wrapped, and the part says what the box is.

    Raises
    ------
    InputError
        If there are fewer starts than replicas, or they are not of one system
        (`apps.dynamics.systems`).
    LostError
        If there is not the memory for the forces of one replica.
    """
    (result,) = simulate_together([request])
    return result


def simulate_together(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Run several blocks of one model at one temperature in one batch; as `simulate` each."""
    reqs = [Request.from_json(request) for request in requests]
    return [result.to_json() for result in _simulated(reqs, forces_of_model)]


def control(request: dict[str, Any]) -> dict[str, Any]:
    """Run one block by the reference method of the settings: key ``temperature_K``, ``block``.

    Writes a part like `simulate` does. Geometries to which the method has no answer fail as
    ``not_finite`` and are counted.

    Raises
    ------
    InputError
        If there are fewer starts than replicas, or the method's package is not installed.
    """
    (result,) = _simulated([Request.from_json(request)], forces_of_method)
    return result.to_json()


def _simulated(reqs: list[Request], forces_of: ForcesOf) -> list[Result]:
    """Results of blocks that differ in their place and number of replicas alone."""
    parts = [req.finished_part() for req in reqs]
    open_reqs = [req for req, part in zip(reqs, parts, strict=True) if part is None]
    made = iter(_made(open_reqs, forces_of)) if open_reqs else iter(())
    return [Result.done(part, _failures(part)) if part else next(made) for part in parts]


def _made(reqs: list[Request], forces_of: ForcesOf) -> list[Result]:
    import torch

    from apps.dynamics.ensemble import simulate_blocks

    torch.set_num_threads(reqs[0].threads)
    forces, members = _members(reqs, forces_of)
    began, before = time.perf_counter(), [m.state.replica_steps for m in members]
    every_s = members[0].block.settings.checkpoint_every_s
    finished = simulate_blocks(members, every_s, lambda: any(r.out_of_time() for r in reqs))
    elapsed = max(time.perf_counter() - began, 1e-9)
    shared = {**forces.counts(), **({"together": float(len(reqs))} if len(reqs) > 1 else {})}
    results = []
    for req, member, first, whole in zip(reqs, members, before, finished, strict=True):
        rate = (member.state.replica_steps - first) / elapsed
        counts = {**shared, "replica_steps_per_s": rate}
        if not whole:
            results.append(Result("continue", counts=counts))
            continue
        part = _write(req, member.block, member.state, forces.recorded)
        results.append(Result.done(part, {**_failures(part), **counts}, forces.message))
    return results


def _members(reqs: list[Request], forces_of: ForcesOf) -> tuple[Forces, list[Any]]:
    """Where forces come from, and the blocks, each at its start or its checkpoint."""
    import torch

    from apps.dynamics.checkpoint import load_state, save_state
    from apps.dynamics.engine import start_block
    from apps.dynamics.ensemble import Member

    settings, system = _settings(reqs[0]), _system(reqs[0])
    starts = [torch.from_numpy(_starts(req)) for req in reqs]
    steps = settings.steps_of(settings.length_ps * 1000.0)
    forces = forces_of(reqs[0], system, torch.cat(starts), steps)
    (labels,), (split,) = reqs[0].input_parts("labels"), reqs[0].input_parts("split")
    labelled, temperature_K = read_structures(labels), float(reqs[0].key["temperature_K"])
    training = labelled.take(split.read("train", ""))
    watched, unlabelled = watched_of(system, training, settings, temperature_K, forces.device)
    watched = with_plausible_energies(watched, system.numbers, labelled, settings)
    forces.recorded.update(_box_record(system, unlabelled))
    members = []
    for req, own in zip(reqs, starts, strict=True):
        block, folder = _block(req, watched, forces), req.work_dir
        state = load_state(folder, block.device) or start_block(block, own)
        members.append(Member(block, state, partial(save_state, folder)))
    return forces, members


def _settings(req: Request) -> DynamicsSettings:
    return DynamicsSettings.model_validate(req.settings["dynamics"])


def _system(req: Request) -> System:
    prepared, (starts,) = req.input_parts("molecule"), req.input_parts("starts")
    molecules = [Molecule.from_json(part.metadata["molecule"]) for part in prepared]
    if _settings(req).reactive:
        return reactive_system(molecules, read_structures(starts))
    return system_of(molecules, read_structures(starts))


def _box_record(system: System, unlabelled: int) -> dict[str, Any]:
    """What the part says of a periodic box; nothing where there is none."""
    if system.cell is None:
        return {}
    return {
        "numbers": system.numbers.tolist(),
        "cell": system.cell.tolist(),
        "pbc": [True, True, True],
        "bonds_of_no_label": unlabelled,
    }


def _block(req: Request, watched: Watched, forces: Forces) -> Any:
    """What is simulated."""
    from apps.dynamics.engine import Block

    settings, temperature = _settings(req), float(req.key["temperature_K"])
    check_variables(settings.metadynamics, len(watched.numbers))
    return Block(
        force_function=forces.function,
        watched=watched,
        settings=settings,
        temperature_K=temperature,
        seed=stream_seed(req.seed, "dynamics", repr(temperature), req.key["block"]),
        replicas=int(req.settings["replicas_in_block"]),
        device=forces.device,
        begin_segment=forces.begin_segment,
    )


def _starts(req: Request) -> NDArray[np.float64]:
    (part,) = req.input_parts("starts")
    structures, count = read_structures(part), int(req.settings["replicas_in_block"])
    first = int(req.key["block"]) * _settings(req).block_replicas
    if first + count > len(structures):
        raise InputError(
            f"replicas {first} to {first + count} need as many starts, and there are "
            f"{len(structures)}",
            "lower dynamics.replicas",
        )
    return structures.slice(first, first + count).dense_positions().astype(np.float64)


def _write(req: Request, block: Any, state: Any, recorded: dict[str, Any]) -> Part:
    columns, coded = runs_to_columns(_runs(req, block, state))
    columns |= saved_columns(block, state) | last_frame_columns(state)
    columns |= velocity_columns(block, state)
    settings = block.settings.model_dump(mode="json", exclude=_NOT_OF_A_BLOCK)
    metadata = {**req.key, **coded, "criteria": settings["criteria"], "dynamics": settings}
    metadata |= recorded
    if block.bias is not None:
        columns |= hill_columns(block.bias, state.hills, block.settings.timestep_fs)
        metadata |= {"hills": hills_record(block.bias, state.hills)}
    return write_part(Path(req.parts_root), req.stage, req.fingerprint, columns, metadata)


def _runs(req: Request, block: Any, state: Any) -> list[Run]:
    settings: DynamicsSettings = block.settings
    first = int(req.key["block"]) * settings.block_replicas
    failures = {failure.replica: failure for failure in state.failures}
    runs = []
    for replica in range(block.replicas):
        number, failure = first + replica, failures.get(replica)
        if failure is None:
            runs.append(Run(number, number, "survived", settings.length_ps))
            continue
        time_ps = failure.step * settings.timestep_fs * 1e-3
        cause = settings.criteria[failure.cause]
        outcome: Outcome = "censored" if find_criterion(cause).censors else "failed"
        runs.append(Run(number, number, outcome, time_ps, cause, failure.atoms, failure.value))
    return runs


def _failures(part: Part) -> dict[str, float]:
    times, outcomes = part.read("run_time", "ps"), part.read("run_outcome", "")
    found = {
        "replicas": float(len(times)),
        "failures": float((outcomes == OUTCOMES.index("failed")).sum()),
        "exposure_ps": float(times.sum()),
    }
    hills: Any = part.metadata.get("hills")
    if censored := int((outcomes == OUTCOMES.index("censored")).sum()):
        found["censored"] = float(censored)
    return found | ({"hills_left_out": float(hills["left_out"])} if hills else {})
