"""The task of dynamics on periodic boxes: as for single molecules, and the box leaves its marks."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from apps.contract import Request
from apps.dynamics.settings import DynamicsSettings
from apps.dynamics.task import control, simulate, simulate_together
from apps.potential.registry import make_potential
from apps.potential.weights import save_bytes
from data_store.columns import Column
from data_store.errors import InputError
from data_store.parts import Part, open_part, verify_part, write_part
from data_store.runs import runs_from_part
from data_store.structure_parts import structures_to_columns
from data_store.structures import Structures
from tests.integration.test_simulate import WATER, finished, killed_in_mid_flight
from tests.laws.test_boxes import CELL, NUMBERS, water

REPLICAS = 4
EDGES = CELL.numpy()
Array = NDArray[Any]


def boxes(count: int, seed: int, placed: Callable[[Array], Array] = lambda x: x) -> Structures:
    x = placed(water(count, seed).numpy())
    return Structures.from_dense(NUMBERS.numpy(), x, cell=EDGES)


def inputs(root: Path, starts: Structures, name: str = "s") -> dict[str, str]:
    """Inputs of the task by role; labels are boxes too."""
    split = {
        role: Column(np.array(rows, dtype=np.int64))
        for role, rows in (("train", [0, 2]), ("validation", [1]), ("test", [3]))
    }
    model = save_bytes(make_potential("painn", "small", [1, 8], 4.0, 0))
    labels = structures_to_columns(boxes(4, 5))
    made = {
        "model": write_part(root, "finetune", "m", {}, {}, files={"model.safetensors": model}),
        "starts": write_part(root, "starts", name, structures_to_columns(starts), {}),
        "split": write_part(root, "split", "p", split, {}),
        "labels": write_part(root, "label", "l", labels, {}),
        "molecule": write_part(root, "prepare", "w", {}, {"molecule": WATER.to_json()}),
    }
    return {role: str(part.path) for role, part in made.items()}


def request(
    tmp_path: Path, fingerprint: str = "f" * 64, starts: Structures | None = None,
    block: int = 0, replicas: int = REPLICAS, **changes: Any,
) -> Request:  # fmt: skip
    top = {k: changes.pop(k) for k in ("deadline_unix",) if k in changes}
    settings = DynamicsSettings(
        **{"length_ps": 0.02, "check_stride_fs": 2.5, "save_stride_ps": 0.01, "stretch_A": 0.4,
           "compact_every_steps": 10, "block_replicas": replicas, "keep_stride_fs": 1.0, **changes}
    )  # fmt: skip
    given = boxes(REPLICAS, 0) if starts is None else starts
    roles = inputs(tmp_path / "parts", given, "s" if starts is None else fingerprint[:8])
    return Request(
        parts_root=str(tmp_path / "parts"),
        work_root=str(tmp_path / "work"),
        stage="simulate",
        fingerprint=fingerprint,
        settings={
            "dynamics": settings.model_dump(mode="json", exclude={"temperatures_K", "replicas"}),
            "replicas_in_block": replicas,
        },
        seed=7,
        key={"arm": "s", "labels": 25, "seed": 0, "temperature_K": 300.0, "block": block},
        inputs={role: [path] for role, path in roles.items()},
        **top,
    )


def part_of(result: dict[str, Any]) -> Part:
    return open_part(Path(result["path"]))


def test_a_box_becomes_a_part_that_says_what_the_box_was(tmp_path: Path) -> None:
    part = part_of(
        finished(request(tmp_path, criteria=("not_finite", "bond_stretch"), stretch_A=3.0))
    )
    assert verify_part(part) == []
    assert part.metadata["numbers"] == NUMBERS.tolist()
    np.testing.assert_array_equal(part.metadata["cell"], EDGES)
    assert part.metadata["pbc"] == [True, True, True]
    assert part.metadata["bonds_of_no_label"] == 0
    runs = runs_from_part(part)
    assert [run.replica for run in runs] == list(range(REPLICAS))
    assert sum(run.outcome == "survived" for run in runs) > 0
    first = part.read("saved_time", "ps") == 0.0
    owners = part.read("saved_replica", "")[first]
    assert len(owners) >= 3
    np.testing.assert_allclose(
        part.read("saved_positions", "Å")[first], water(REPLICAS).numpy()[owners], atol=1e-5
    )


def trajectory(result: dict[str, Any]) -> Array:
    part = part_of(result)
    assert {run.outcome for run in runs_from_part(part)} == {"survived"}
    return part.read("saved_positions", "Å").reshape(-1, REPLICAS, len(NUMBERS), 3)


AWAY = np.array([0.3, -0.2, 0.7]) @ EDGES


def shifted(x: Array) -> Array:
    return np.asarray(x + AWAY)


def wrapped(x: Array) -> Array:
    return np.asarray((x @ np.linalg.inv(EDGES) % 1.0) @ EDGES)


def apart(x: Array) -> Array:
    """Each atom in an image of its own."""
    return np.asarray(x + np.random.default_rng(1).integers(-3, 4, (1, *x.shape[1:])) @ EDGES)


@pytest.mark.parametrize("placed", [shifted, wrapped, apart])
def test_where_the_box_begins_leaves_the_same_run(
    placed: Callable[[Array], Array], tmp_path: Path
) -> None:
    """To the rounding of positions, after a short time; nothing is wrapped on the way."""
    free: dict[str, Any] = {"stretch_A": 3.0, "criteria": ("not_finite", "bond_stretch")}
    plain = trajectory(finished(request(tmp_path, "a" * 64, **free)))
    moved = boxes(REPLICAS, 0, placed)
    other = trajectory(finished(request(tmp_path, "b" * 64, moved, **free)))
    assert float(np.abs(plain[1:] - plain[:1]).max()) > 0.05, "atoms moved"
    np.testing.assert_allclose(other - other[:1], plain - plain[:1], atol=2e-4)


def test_a_box_of_another_size_is_another_run(tmp_path: Path) -> None:
    """The twin: what a box that is 2 % larger does is seen."""
    free: dict[str, Any] = {"stretch_A": 3.0, "criteria": ("not_finite", "bond_stretch")}
    plain = trajectory(finished(request(tmp_path, "a" * 64, **free)))
    x = water(REPLICAS).numpy()
    larger = Structures.from_dense(NUMBERS.numpy(), x, cell=1.02 * EDGES)
    other = trajectory(finished(request(tmp_path, "b" * 64, larger, **free)))
    assert float(np.abs(other - plain).max()) > 2e-4


def test_deadlines_and_kills_leave_no_trace(tmp_path: Path) -> None:
    whole = finished(request(tmp_path, "a" * 64, length_ps=0.05))
    hurried = request(tmp_path, "b" * 64, length_ps=0.05, deadline_unix=time.time() - 1.0)
    assert simulate(hurried.to_json())["outcome"] == "continue"
    assert finished(hurried)["digest"] == whole["digest"]
    victim = request(tmp_path, "c" * 64, length_ps=0.05, checkpoint_every_s=1e-3)
    killed_in_mid_flight(victim)
    assert finished(victim)["digest"] == whole["digest"]


LASTING: dict[str, Any] = {
    "criteria": ("not_finite", "fused", "bond_out_of_bounds"),
    "bond_bounds_A": {"H-O": (0.9, 1.05)},
    "bond_bounds_fs": 7.5,
    "fused_fs": 7.5,
    "fused_within": 1.8,
    "compact_every_steps": 4,
}


def test_an_end_in_the_middle_of_a_count_leaves_no_trace(tmp_path: Path) -> None:
    """Segments of 2 fs, checks every 2.5 fs, conditions that last three of them."""
    whole = finished(request(tmp_path, "a" * 64, length_ps=0.04, **LASTING))
    runs = runs_from_part(part_of(whole))
    assert any(run.failed and run.time_ps > 0.0075 for run in runs)
    assert all(run.time_ps >= 0.0075 for run in runs)
    hurried = request(
        tmp_path, "b" * 64, length_ps=0.04, deadline_unix=time.time() - 1.0, **LASTING
    )
    assert simulate(hurried.to_json())["outcome"] == "continue"
    assert finished(hurried)["digest"] == whole["digest"]
    victim = request(tmp_path, "c" * 64, length_ps=0.04, checkpoint_every_s=1e-4, **LASTING)
    killed_in_mid_flight(victim)
    assert finished(victim)["digest"] == whole["digest"]
    at_once = {**LASTING, "bond_bounds_fs": 0.0}
    sooner = runs_from_part(part_of(finished(request(tmp_path, "d" * 64, **at_once))))
    assert all(run.time_ps <= 0.0025 for run in sooner if run.failed)
    assert sum(run.failed for run in sooner) >= sum(run.failed for run in runs)


def test_a_block_in_company_is_the_block_alone_to_the_bit(tmp_path: Path) -> None:
    asked = [
        request(tmp_path, name * 64, block=block, replicas=2)
        for block, name in enumerate(("a", "b"))
    ]
    alone = [
        finished(request(tmp_path, name * 64, block=block, replicas=2))
        for block, name in enumerate(("c", "d"))
    ]
    together = simulate_together([what.to_json() for what in asked])
    assert [r["counts"]["together"] for r in together] == [2.0, 2.0]
    assert [r["digest"] for r in together] == [r["digest"] for r in alone]
    assert together[0]["digest"] != together[1]["digest"]


def test_memory_is_counted_for_boxes_too(tmp_path: Path) -> None:
    result = finished(request(tmp_path))
    assert result["counts"]["most_at_once"] == REPLICAS


def test_bonds_and_contacts_are_of_nearest_images(tmp_path: Path) -> None:
    """Atoms far from their molecules as numbers go, near as images do; a torn one is no start."""
    runs = runs_from_part(part_of(finished(request(tmp_path, starts=boxes(REPLICAS, 0, apart)))))
    assert {run.time_ps > 0.0 for run in runs} == {True}


def close_pair(x: Array) -> Array:
    """Two oxygens of the second replica 2.0 Å apart, across the boundary."""
    x = x.copy()
    x[1, :3] += x[1, 9] - x[1, 0] + np.array([1.2, 1.2, 1.06]) + EDGES[1]
    return x


def test_contacts_across_the_boundary_are_seen(tmp_path: Path) -> None:
    """The bound is raised to twice the sum of radii; of a start that is sound otherwise."""
    where: dict[str, Any] = {"contact_fraction": 1.6, "contact_HH_A": 0.1, "length_ps": 0.005}
    part = part_of(finished(request(tmp_path, starts=boxes(REPLICAS, 0, close_pair), **where)))
    broken = runs_from_part(part)[1]
    assert (broken.cause, broken.time_ps) == ("close_contact", 0.0)
    assert {NUMBERS[a].item() for a in broken.atoms} <= {1, 8}


VARIABLE = {
    "width": 0.1, "grid_lower": 1.0, "grid_upper": 6.0, "grid_bins": 100,
    "terms": [{"kind": "distance", "atoms": [0, 21]}],
}  # fmt: skip


def test_hills_are_laid_at_distances_of_nearest_images(tmp_path: Path) -> None:
    table = {"height_eV": 0.01, "pace_fs": 5.0, "bias_factor": 8.0, "variables": [VARIABLE]}
    free: dict[str, Any] = {"metadynamics": table, "criteria": ("not_finite",)}
    plain = part_of(finished(request(tmp_path, "a" * 64, **free)))
    moved = boxes(REPLICAS, 0, apart)
    other = part_of(finished(request(tmp_path, "b" * 64, moved, **free)))
    centres = plain.read("hill_centre_0", "Å")
    assert len(centres) > REPLICAS * 3, "a few are beyond the grid"
    np.testing.assert_allclose(other.read("hill_centre_0", "Å"), centres, atol=2e-4)


def test_what_is_no_system_is_refused(tmp_path: Path) -> None:
    x = water(REPLICAS).numpy().copy()
    x[2, 4] += np.array([0.9, 0.9, 0.9])
    torn = Structures.from_dense(NUMBERS.numpy(), x, cell=EDGES)
    with pytest.raises(InputError, match="start 2 has other bonds"):
        simulate(request(tmp_path, starts=torn).to_json())
    what = request(tmp_path)
    boxed = Request(**{**vars(what), "settings": {**what.settings, "method": "gfn2-xtb"}})
    with pytest.raises(InputError, match="of single molecules"):
        control(boxed.to_json())
