"""The task of dynamics through real parts: model, starts, labels in; runs and frames out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from apps.contract import Request
from apps.dynamics.settings import DynamicsSettings
from apps.dynamics.task import control, reference_bond_lengths, simulate, simulate_together
from apps.potential.registry import make_potential
from apps.potential.weights import save_bytes
from data_store.columns import Column
from data_store.errors import InputError
from data_store.molecules import Molecule
from data_store.parts import open_part, verify_part, write_part
from data_store.runs import Run, runs_from_part
from data_store.structure_parts import structures_to_columns
from data_store.structures import Structures
from data_store.units import AMU_A2_PER_FS2_eV, ATOMIC_MASSES_amu
from data_store.work import item_keys

WATER = Molecule(
    name="water",
    numbers=(8, 1, 1),
    bonds=((0, 1), (0, 2)),
    bond_orders=(1, 1),
    formal_charges=(0, 0, 0),
    multiplicity=1,
    reference_positions=np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]),
)
NUMBERS = np.array(WATER.numbers, dtype=np.uint8)
REPLICAS, BROKEN = 6, 4


def frames(count: int, seed: int) -> Structures:
    rng = np.random.default_rng(seed)
    noise = rng.normal(0.0, 0.02, (count, 3, 3))
    return Structures.from_dense(NUMBERS, WATER.reference_positions + noise)


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, str]:
    """Inputs of the task by role. The fifth start is a torn molecule."""
    root = tmp_path / "parts"
    starts = frames(REPLICAS, 0).dense_positions().astype(np.float64)
    starts[BROKEN, 2] *= 3.0
    columns = structures_to_columns(Structures.from_dense(NUMBERS, starts))
    split = {
        name: Column(np.array(rows, dtype=np.int64))
        for name, rows in (("train", [0, 2, 5]), ("validation", [1]), ("test", [3]))
    }
    model = save_bytes(make_potential("painn", "small", [1, 8], 4.0, 0))
    made = {
        "model": write_part(root, "finetune", "m", {}, {}, files={"model.safetensors": model}),
        "starts": write_part(root, "starts", "s", columns, {}),
        "split": write_part(root, "split", "p", split, {}),
        "labels": write_part(root, "label", "l", structures_to_columns(frames(8, 1)), {}),
        "molecule": write_part(root, "prepare", "w", {}, {"molecule": WATER.to_json()}),
    }
    return {role: str(part.path) for role, part in made.items()}


def request(
    tmp_path: Path, parts: dict[str, str], fingerprint: str = "f" * 64, **changes: Any
) -> Request:
    """Request as the planner makes it; `changes` go to the dynamics settings or the request."""
    settings = DynamicsSettings(
        **{
            "length_ps": 0.1,
            "check_stride_fs": 2.5,
            "save_stride_ps": 0.025,
            "compact_every_steps": 20,
            "block_replicas": REPLICAS,
            "stretch_A": 0.25,
            **{k: v for k, v in changes.items() if k in DynamicsSettings.model_fields},
        }
    )
    fields = {
        "key": {"arm": "scratch", "labels": 25, "seed": 0, "temperature_K": 500.0, "block": 0},
        **{k: v for k, v in changes.items() if k not in DynamicsSettings.model_fields},
    }
    return Request(
        parts_root=str(tmp_path / "parts"),
        work_root=str(tmp_path / "work"),
        stage="simulate",
        fingerprint=fingerprint,
        settings={
            "dynamics": settings.model_dump(mode="json", exclude={"temperatures_K", "replicas"}),
            "replicas_in_block": REPLICAS,
        },
        seed=7,
        inputs={role: [path] for role, path in parts.items()},
        **fields,
    )


def finished(what: Request, limit: int = 1000) -> dict[str, Any]:
    """Result after as many sittings as it takes."""
    for _ in range(limit):
        result = simulate(what.to_json())
        if result["outcome"] == "done":
            return result
        assert result["outcome"] == "continue"
    raise AssertionError("never done")


def runs_of(result: dict[str, Any]) -> list[Run]:
    return runs_from_part(open_part(Path(result["path"])))


def test_a_block_becomes_a_part_of_runs_and_frames(tmp_path: Path, parts: dict[str, str]) -> None:
    result = finished(request(tmp_path, parts))
    part = open_part(Path(result["path"]))
    runs = runs_from_part(part)
    assert verify_part(part) == []
    assert [run.replica for run in runs] == [run.start for run in runs] == list(range(REPLICAS))
    broken = runs[BROKEN]
    assert (broken.outcome, broken.time_ps, broken.cause) == ("failed", 0.0, "bond_stretch")
    assert broken.atoms == (0, 2)
    assert all(run.time_ps == 0.1 for run in runs if run.outcome == "survived")
    assert result["counts"]["replicas"] == REPLICAS
    assert result["counts"]["failures"] == sum(run.failed for run in runs)
    assert result["counts"]["exposure_ps"] == pytest.approx(sum(run.time_ps for run in runs))
    owners, times = part.read("saved_replica", ""), part.read("saved_time", "ps")
    for run in runs:
        expected = [t for t in (0, 0.025, 0.05, 0.075, 0.1) if t < run.time_ps or not run.failed]
        np.testing.assert_allclose(times[owners == run.replica], expected)
    assert part.shape("saved_positions") == (len(owners), 3, 3)
    assert set(part.read("last_frames_replica", "")) == {r.replica for r in runs if r.failed}


@pytest.mark.parametrize(
    ("declared", "cause"),
    [(("stable", "mdsim", "not_finite"), "mdsim"), (("not_finite", "stable"), "stable"),
     (("mlipaudit", "not_finite"), "mlipaudit"), (("not_finite", "large_force"), None)],
)  # fmt: skip
def test_causes_are_names_of_the_declared_criteria(
    tmp_path: Path, parts: dict[str, str], declared: tuple[str, ...], cause: str | None
) -> None:
    """The torn start has a hydrogen at three times its bond length, 2.9 Å from the oxygen."""
    what = request(tmp_path, parts, criteria=declared, max_force_eV_per_A=1e9)
    part = open_part(Path(finished(what)["path"]))
    broken = runs_from_part(part)[BROKEN]
    assert broken.cause == (cause or "")
    assert set(part.metadata["criteria"]) == set(declared)
    assert part.metadata["criteria"][0] == "not_finite"
    assert {run.cause for run in runs_from_part(part)} <= {*declared, ""}


def test_saved_frames_begin_at_the_starts(tmp_path: Path, parts: dict[str, str]) -> None:
    part = open_part(Path(finished(request(tmp_path, parts))["path"]))
    first = part.read("saved_time", "ps") == 0.0
    owners = part.read("saved_replica", "")[first]
    starts = open_part(Path(parts["starts"])).read("positions", "Å").reshape(REPLICAS, 3, 3)
    np.testing.assert_allclose(part.read("saved_positions", "Å")[first], starts[owners], atol=1e-6)


def test_deadlines_leave_no_trace(tmp_path: Path, parts: dict[str, str]) -> None:
    """A deadline that has always passed: one segment a sitting."""
    whole = finished(request(tmp_path, parts, "a" * 64))
    hurried = request(tmp_path, parts, "b" * 64, deadline_unix=time.time() - 1.0)
    assert simulate(hurried.to_json())["outcome"] == "continue"
    assert item_keys(hurried.work_dir), "what was done waits in a file"
    pieces = finished(hurried)
    assert pieces["digest"] == whole["digest"]
    assert pieces["path"] != whole["path"]


def test_resources_are_not_in_the_digest(tmp_path: Path, parts: dict[str, str]) -> None:
    one = finished(request(tmp_path, parts, "a" * 64, checkpoint_every_s=1e-3))
    other = finished(request(tmp_path, parts, "b" * 64))
    assert one["digest"] == other["digest"]


def killed_in_mid_flight(victim: Request) -> None:
    """SIGKILL once there is a checkpoint."""
    code = (
        "import json, sys; from apps.dynamics.task import simulate; simulate(json.load(sys.stdin))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(victim.to_json()).encode())
    process.stdin.close()
    deadline = time.monotonic() + 60
    while not item_keys(victim.work_dir) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -9, "killed before its end"
    assert item_keys(victim.work_dir)
    assert victim.finished_part() is None


def test_a_kill_leaves_no_trace(tmp_path: Path, parts: dict[str, str]) -> None:
    """SIGKILL in mid-flight, as a lost node gives; the next attempt ends with equal content."""
    whole = finished(request(tmp_path, parts, "a" * 64, length_ps=2.0, compact_every_steps=10))
    victim = request(
        tmp_path, parts, "b" * 64, length_ps=2.0, compact_every_steps=10, checkpoint_every_s=1e-3
    )
    killed_in_mid_flight(victim)
    assert finished(victim)["digest"] == whole["digest"]


def test_a_finished_part_is_returned_at_once(tmp_path: Path, parts: dict[str, str]) -> None:
    what = request(tmp_path, parts)
    first = finished(what)
    Path(parts["model"], "model.safetensors").unlink()
    again = simulate(what.to_json())
    assert (again["digest"], again["outcome"]) == (first["digest"], "done")


def test_arms_are_paired_and_temperatures_are_not(tmp_path: Path, parts: dict[str, str]) -> None:
    """One model under the names of two arms moves alike; at another temperature it does not."""

    def trajectory(fingerprint: str, **key: Any) -> np.ndarray:
        settings = {"arm": "scratch", "labels": 25, "seed": 0, "temperature_K": 500.0, "block": 0}
        what = request(tmp_path, parts, fingerprint, key={**settings, **key}, stretch_A=50.0)
        part = open_part(Path(finished(what)["path"]))
        return part.read("saved_positions", "Å")

    one = trajectory("a" * 64)
    np.testing.assert_array_equal(one, trajectory("b" * 64, arm="pretrained", labels=100, seed=3))
    assert not np.array_equal(one, trajectory("c" * 64, temperature_K=1000.0))


def test_replicas_of_a_block_take_their_own_starts(tmp_path: Path, parts: dict[str, str]) -> None:
    key = {"arm": "scratch", "labels": 25, "seed": 0, "temperature_K": 500.0, "block": 2}
    what = request(tmp_path, parts, key=key, block_replicas=2)
    short = Request(**{**vars(what), "settings": {**what.settings, "replicas_in_block": 2}})
    runs = runs_of(finished(short))
    assert [run.start for run in runs] == [run.replica for run in runs] == [4, 5]
    assert runs[0].failed, "the fifth start is the torn one"
    part = open_part(Path(finished(short)["path"]))
    assert set(part.read("saved_replica", "")) == {1}, "frames name rows of this part's runs"


def control_request(tmp_path: Path, parts: dict[str, str], fingerprint: str) -> Request:
    key = {"temperature_K": 500.0, "block": 0}
    what = request(tmp_path, parts, fingerprint, key=key, length_ps=0.05, stretch_A=0.5)
    inputs = {role: paths for role, paths in what.inputs.items() if role != "model"}
    settings = {**what.settings, "method": "gfn2-xtb"}
    return Request(**{**vars(what), "stage": "control", "settings": settings, "inputs": inputs})


def test_the_control_is_the_same_dynamics_by_another_method(
    tmp_path: Path, parts: dict[str, str]
) -> None:
    """All sound starts survive, the torn one does not, and deadlines leave no trace."""
    whole = control(control_request(tmp_path, parts, "a" * 64).to_json())
    runs = runs_of(whole)
    assert [run.replica for run in runs if run.failed] == [BROKEN]
    assert whole["counts"]["unsolved"] == 0.0
    part = open_part(Path(whole["path"]))
    assert part.metadata["method"] == "gfn2-xtb"
    starts = open_part(Path(parts["starts"])).read("positions", "Å").reshape(REPLICAS, 3, 3)
    first = part.read("saved_time", "ps") == 0.0
    owners = part.read("saved_replica", "")[first]
    np.testing.assert_allclose(part.read("saved_positions", "Å")[first], starts[owners], atol=1e-6)

    hurried = control_request(tmp_path, parts, "b" * 64)
    hurried = Request(**{**vars(hurried), "deadline_unix": time.time() - 1.0})
    for _ in range(100):
        pieces = control(hurried.to_json())
        if pieces["outcome"] == "done":
            break
    assert pieces["digest"] == whole["digest"]


def test_too_few_starts_are_refused(tmp_path: Path, parts: dict[str, str]) -> None:
    key = {"arm": "scratch", "labels": 25, "seed": 0, "temperature_K": 500.0, "block": 1}
    with pytest.raises(InputError, match="starts"):
        simulate(request(tmp_path, parts, key=key).to_json())


def test_reference_bonds_are_means_over_the_training_labels() -> None:
    bonds = np.array(WATER.bonds, dtype=np.int64)
    positions = np.stack([WATER.reference_positions, 1.2 * WATER.reference_positions])
    lengths = np.linalg.norm(WATER.reference_positions[1:], axis=-1)
    np.testing.assert_allclose(reference_bond_lengths(positions, bonds), 1.1 * lengths)


def test_blocks_in_one_batch_are_as_blocks_alone(tmp_path: Path, parts: dict[str, str]) -> None:
    """Two blocks of three, one of them a sitting behind; rounding may know who else was there."""
    half = REPLICAS // 2
    asked = []
    for block, fingerprint in enumerate(("c" * 64, "d" * 64)):
        what = request(tmp_path, parts, fingerprint, block_replicas=half, stretch_A=1.0)
        settings = {**what.settings, "replicas_in_block": half}
        asked.append(replace(what, settings=settings, key={**what.key, "block": block}))
    alone = [finished(replace(what, fingerprint=f"{n}" * 64)) for n, what in enumerate(asked)]
    hurried = replace(asked[1], deadline_unix=time.time() - 1.0)
    assert simulate(hurried.to_json())["outcome"] == "continue"
    together = simulate_together([what.to_json() for what in asked])
    for one, other in zip(together, alone, strict=True):
        assert one["outcome"] == "done"
        assert one["counts"]["together"] == 2
        assert one["counts"]["failures"] == other["counts"]["failures"]
        found, expected = (open_part(Path(result["path"])) for result in (one, other))
        np.testing.assert_array_equal(
            found.read("saved_replica", ""), expected.read("saved_replica", "")
        )
        np.testing.assert_allclose(
            found.read("saved_positions", "Å"), expected.read("saved_positions", "Å"), atol=1e-4
        )
    again = simulate_together([what.to_json() for what in asked])
    assert [r["digest"] for r in again] == [r["digest"] for r in together], "made once"


METADYNAMICS: dict[str, Any] = {
    "height_eV": 0.01,
    "pace_fs": 5.0,
    "bias_factor": 8.0,
    "variables": [
        {
            "width": 0.05, "grid_lower": 0.6, "grid_upper": 1.6, "grid_bins": 60,
            "terms": [{"kind": "distance", "atoms": [0, 1]}],
        },
        {
            "width": 0.05, "grid_lower": 0.0, "grid_upper": 2.2, "grid_bins": 90,
            "terms": [{"kind": "coordination", "group_a": [0], "group_b": [1, 2], "r0_A": 1.4}],
        },
    ],
}  # fmt: skip


def test_hills_are_in_the_part_and_deadlines_and_kills_leave_no_trace_in_them(
    tmp_path: Path, parts: dict[str, str]
) -> None:
    biased = {"metadynamics": METADYNAMICS, "length_ps": 1.0, "stretch_A": 0.5}
    result = finished(request(tmp_path, parts, "a" * 64, **biased))
    whole = open_part(Path(result["path"]))
    record: Any = whole.metadata["hills"]
    assert (record["schema"], record["units"]) == (1, ["Å", ""])
    assert result["counts"]["hills_left_out"] == record["left_out"]
    assert whole.shape("bias") == (61, 91)
    times, walkers = whole.read("hill_time", "ps"), whole.read("hill_walker", "")
    assert whole.shape("hill_centre_0") == whole.shape("hill_centre_1") == times.shape
    assert whole.read("hill_centre_0", "Å").min() >= 0.6
    assert 0.0 < whole.read("hill_height", "eV").max() <= 0.01
    for run in runs_from_part(whole):
        own = times[walkers == run.replica]
        assert not len(own) or own.max() < run.time_ps + 1e-9
        assert run.replica != BROKEN or not len(own)
    hurried = request(tmp_path, parts, "b" * 64, deadline_unix=time.time() - 1.0, **biased)
    assert simulate(hurried.to_json())["outcome"] == "continue"
    assert finished(hurried)["digest"] == result["digest"]
    victim = request(tmp_path, parts, "c" * 64, checkpoint_every_s=1e-3, **biased)
    killed_in_mid_flight(victim)
    assert finished(victim)["digest"] == result["digest"]


def test_a_variable_of_an_atom_that_is_not_there_is_refused(
    tmp_path: Path, parts: dict[str, str]
) -> None:
    terms = [{"kind": "distance", "atoms": [0, 3]}]
    table = {**METADYNAMICS, "variables": [{**METADYNAMICS["variables"][0], "terms": terms}]}
    with pytest.raises(InputError, match=r"variables\[0\] names atom 3, and there are 3 atoms"):
        simulate(request(tmp_path, parts, metadynamics=table).to_json())


def test_velocities_are_saved_at_their_stride_and_interruptions_leave_no_trace(
    tmp_path: Path, parts: dict[str, str]
) -> None:
    """Their kinetic energy is that of the saved frames; they are of the first replicas alone."""
    fine: dict[str, Any] = {"velocity_stride_fs": 2.5, "velocity_replicas": 2}
    fine |= {"criteria": ("not_finite",)}
    result = finished(request(tmp_path, parts, "a" * 64, **fine))
    part = open_part(Path(result["path"]))
    owners, times = part.read("velocity_replica", ""), part.read("velocity_time", "ps")
    velocities = part.read("velocities", "Å/fs")
    assert velocities.dtype == np.float32
    assert velocities.shape == (2 * 41, 3, 3)
    for replica in (0, 1):
        np.testing.assert_allclose(times[owners == replica], 0.0025 * np.arange(41), atol=1e-12)
    kinetic = (
        0.5
        * AMU_A2_PER_FS2_eV
        * np.einsum(
            "i,nik->n", ATOMIC_MASSES_amu[list(WATER.numbers)], velocities.astype(float) ** 2
        )
    )
    saved = zip(
        part.read("saved_replica", ""),
        part.read("saved_time", "ps"),
        part.read("saved_kinetic_energy", "eV"),
        strict=True,
    )
    compared = 0
    for replica, time_ps, energy in saved:
        (row,) = np.nonzero((owners == replica) & (np.abs(times - time_ps) < 1e-9))
        assert len(row) == (replica < 2)
        compared += len(row)
        np.testing.assert_allclose(kinetic[row], energy, rtol=1e-5)
    assert compared == 2 * 5
    hurried = request(tmp_path, parts, "b" * 64, deadline_unix=time.time() - 1.0, **fine)
    assert finished(hurried)["digest"] == result["digest"]


def test_velocities_of_blocks_in_company_are_of_their_own_first_replicas(
    tmp_path: Path, parts: dict[str, str]
) -> None:
    half = REPLICAS // 2
    asked = []
    for block in (0, 1):
        key = {"arm": "s", "labels": 25, "seed": 0, "temperature_K": 500.0, "block": block}
        what = request(
            tmp_path, parts, "ab"[block] * 64, key=key, block_replicas=half, stretch_A=5.0,
            velocity_stride_fs=5.0, velocity_replicas=1, criteria=("not_finite",),
        )  # fmt: skip
        asked.append(replace(what, settings={**what.settings, "replicas_in_block": half}))
    for result in simulate_together([what.to_json() for what in asked]):
        part = open_part(Path(result["path"]))
        assert part.read("velocity_replica", "").tolist() == [0] * 21


def test_without_a_stride_no_velocities_are_in_the_part(
    tmp_path: Path, parts: dict[str, str]
) -> None:
    part = open_part(Path(finished(request(tmp_path, parts))["path"]))
    assert not {"velocities", "velocity_time", "velocity_replica"} & part.units.keys()
    assert not [key for key in part.metadata["dynamics"] if key.startswith("velocity")]
    with pytest.raises(ValidationError, match="wants a velocity_stride_fs"):
        DynamicsSettings(velocity_replicas=2)
    with pytest.raises(ValidationError, match="velocity_stride_fs must be a whole number"):
        DynamicsSettings(velocity_stride_fs=0.7)
