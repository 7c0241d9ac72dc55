"""What a worker runs for dynamics: blocks of replicas of one model at one temperature."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.contract import Request, Result
from apps.dynamics.criteria_registry import find_criterion
from apps.dynamics.energy_bounds import plausible_energies
from apps.dynamics.hill_columns import hill_columns, hills_record
from apps.dynamics.metadynamics_settings import check_variables
from apps.dynamics.settings import DynamicsSettings
from apps.dynamics.sources import Forces, ForcesOf, forces_of_method, forces_of_model
from data_store.columns import Column
from data_store.errors import InputError
from data_store.molecules import Molecule
from data_store.parts import Part, write_part
from data_store.runs import OUTCOMES, Outcome, Run, runs_to_columns
from data_store.streams import stream_seed
from data_store.structure_parts import read_structures
from data_store.structures import Structures
from data_store.units import COVALENT_RADII_A, ATOMIC_MASSES_amu, BOLTZMANN_eV_PER_K

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
    arms are paired.

    Raises
    ------
    InputError
        If there are fewer starts than replicas.
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

    forces = _forces(reqs, forces_of)
    members = []
    for req in reqs:
        block, folder = _block(req, forces), req.work_dir
        starts = torch.from_numpy(_starts(req, block.settings, block.replicas))
        state = load_state(folder, block.device) or start_block(block, starts)
        members.append(Member(block, state, partial(save_state, folder)))
    return forces, members


def _forces(reqs: list[Request], forces_of: ForcesOf) -> Forces:
    first, settings = reqs[0], _settings(reqs[0])
    replicas = sum(int(req.settings["replicas_in_block"]) for req in reqs)
    steps = settings.steps_of(settings.length_ps * 1000.0)
    return forces_of(first, _molecule(first), replicas, steps)


def _settings(req: Request) -> DynamicsSettings:
    return DynamicsSettings.model_validate(req.settings["dynamics"])


def _molecule(req: Request) -> Molecule:
    (prepared,) = req.input_parts("molecule")
    return Molecule.from_json(prepared.metadata["molecule"])


def _block(req: Request, forces: Forces) -> Any:
    """What is simulated."""
    from apps.dynamics.engine import Block

    settings, temperature = _settings(req), float(req.key["temperature_K"])
    check_variables(settings.metadynamics, len(_molecule(req).numbers))
    return Block(
        force_function=forces.function,
        watched=_watched(req, _molecule(req), settings, temperature, forces.device),
        settings=settings,
        temperature_K=temperature,
        seed=stream_seed(req.seed, "dynamics", repr(temperature), req.key["block"]),
        replicas=int(req.settings["replicas_in_block"]),
        device=forces.device,
    )


def _watched(
    req: Request, molecule: Molecule, settings: DynamicsSettings, temperature_K: float, device: Any
) -> Any:
    import torch

    from apps.dynamics.criteria import Watched

    (labels,), (split,) = req.input_parts("labels"), req.input_parts("split")
    labelled = read_structures(labels)
    training = labelled.take(split.read("train", "")).dense_positions()
    bonds = np.array(molecule.bonds, dtype=np.int64).reshape(-1, 2)
    others, least = contact_limits(molecule, settings)
    masses = ATOMIC_MASSES_amu[list(molecule.numbers)]
    return Watched(
        numbers=torch.tensor(molecule.numbers, device=device),
        masses_amu=torch.from_numpy(np.array(masses)).to(device),
        bonds=torch.from_numpy(bonds).to(device),
        bond_lengths_A=torch.from_numpy(reference_bond_lengths(training, bonds)).to(device),
        others=torch.from_numpy(others).to(device),
        least_distances_A=torch.from_numpy(least).to(device),
        hot_eV=_hot_energy(settings, len(masses), temperature_K),
        temperature_K=temperature_K,
        **_energies(labelled, molecule, settings),
    )


def _energies(labelled: Structures, molecule: Molecule, settings: DynamicsSettings) -> Any:
    """Plausible energies, by all labels, where a criterion asks for them."""
    if "energy_runaway" not in settings.criteria:
        return {}
    line, bounds = plausible_energies(
        labelled, np.array(molecule.numbers), settings.energy_below_eV_per_atom,
        settings.energy_above_eV_per_atom,
    )  # fmt: skip
    return {"energy_line_eV": line, "energy_bounds_eV": bounds}


def reference_bond_lengths(
    positions: NDArray[Any], bonds: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean length of each bond over structures (S, N, 3), in Å."""
    vectors = positions[:, bonds[:, 1]] - positions[:, bonds[:, 0]]
    return np.asarray(np.linalg.norm(vectors, axis=-1).mean(axis=0), dtype=np.float64)


def contact_limits(
    molecule: Molecule, settings: DynamicsSettings
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pairs that are not bonded, and how close they may come, in Å."""
    numbers, bonded = np.array(molecule.numbers), set(molecule.bonds)
    i, j = np.triu_indices(len(numbers), k=1)
    free = np.array([(int(a), int(b)) not in bonded for a, b in zip(i, j, strict=True)], dtype=bool)
    i, j = i[free], j[free]
    least = settings.contact_fraction * (
        COVALENT_RADII_A[numbers[i]] + COVALENT_RADII_A[numbers[j]]
    )
    hydrogens = (numbers[i] == 1) & (numbers[j] == 1)
    least = np.where(hydrogens, settings.contact_HH_A, least)
    return np.stack([i, j], axis=1).astype(np.int64), np.asarray(least, dtype=np.float64)


def _hot_energy(settings: DynamicsSettings, atoms: int, temperature_K: float) -> float:
    r"""Kinetic energy at the quantile 1 − tail of :math:`\chi^2_f \cdot k_B T / 2`, in eV."""
    from scipy.stats import chi2

    freedom = 3 * atoms - (3 if settings.ensemble == "nve" else 0)
    return 0.5 * BOLTZMANN_eV_PER_K * temperature_K * float(chi2.isf(settings.hot_tail, freedom))


def _starts(req: Request, settings: DynamicsSettings, count: int) -> NDArray[np.float64]:
    (part,) = req.input_parts("starts")
    structures = read_structures(part)
    first = int(req.key["block"]) * settings.block_replicas
    if first + count > len(structures):
        raise InputError(
            f"replicas {first} to {first + count} need as many starts, and there are "
            f"{len(structures)}",
            "lower dynamics.replicas",
        )
    return structures.slice(first, first + count).dense_positions().astype(np.float64)


def _write(req: Request, block: Any, state: Any, recorded: dict[str, Any]) -> Part:
    columns, coded = runs_to_columns(_runs(req, block, state))
    columns |= _saved_columns(block, state) | _last_frame_columns(state, block.settings)
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
        time_ps, cause = (
            failure.step * settings.timestep_fs * 1e-3,
            settings.criteria[failure.cause],
        )
        outcome: Outcome = "censored" if find_criterion(cause).censors else "failed"
        runs.append(Run(number, number, outcome, time_ps, cause, failure.atoms, failure.value))
    return runs


def _saved_columns(block: Any, state: Any) -> dict[str, Column]:
    """Saved frames of all replicas, end to end; ``saved_replica`` is the row among the runs."""
    step_ps, rows = block.settings.timestep_fs * 1e-3, state.saved
    shape = (0, len(block.watched.masses_amu), 3)
    positions = np.stack([row[2] for row in rows]) if rows else np.zeros(shape, np.float32)
    return {
        "saved_replica": Column(np.array([row[0] for row in rows], dtype=np.int32)),
        "saved_time": Column(np.array([row[1] * step_ps for row in rows], dtype=np.float64), "ps"),
        "saved_positions": Column(positions, "Å"),
        "saved_potential_energy": Column(np.array([r[3] for r in rows], dtype=np.float64), "eV"),
        "saved_kinetic_energy": Column(np.array([r[4] for r in rows], dtype=np.float64), "eV"),
    }


def _last_frame_columns(state: Any, settings: DynamicsSettings) -> dict[str, Column]:
    """Last frames of all failed replicas, end to end, with the row of their run."""
    kept = sorted(state.last_frames.items())
    if not kept:
        return {}
    replicas = np.concatenate([np.full(len(frames), replica) for replica, frames in kept])
    return {
        "last_frames_replica": Column(replicas.astype(np.int32)),
        "last_frames_positions": Column(np.concatenate([frames for _, frames in kept]), "Å"),
    }


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
