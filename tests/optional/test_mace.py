"""MACE with the real package: trained, run by the ensemble engine, and converted from its files.

What every potential must obey, `tests/laws/test_potential.py` tests on it where it is installed.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from typer.testing import CliRunner

from apps.dynamics.forces import force_function_for
from apps.potential.batch import DenseBatch
from apps.potential.calculator import CampaignCalculator
from apps.potential.evaluate import energies_and_forces
from apps.potential.mace import MACE, mace_library
from apps.potential.mace_file import TOLERANCE, convert_mace_file
from apps.potential.protocol import Potential
from apps.potential.registry import make_potential
from apps.potential.settings import PotentialSettings
from apps.potential.weights import load_potential, read_header, save_bytes
from apps.training.accuracy import accuracy
from apps.training.distributed import World
from apps.training.loop import TrainingOutcome, train
from apps.training.refit import force_rms, refit
from campaign.cli.main import app
from data_store.errors import InputError, StoreError
from data_store.parts import write_part
from data_store.streams import stream
from tests.integration.test_simulate import REPLICAS, finished, request, runs_of
from tests.laws.dynamics_systems import make_block, run, total_energies, watched
from tests.laws.training_toys import NUMBERS, REST, toy_set, toy_training
from tests.unit.test_starting import one_step

ALONE = World(0, 1, torch.device("cpu"))
SPECIES = [1, 6, 8]
TINY = {
    "num_bessel": 6, "num_polynomial_cutoff": 5, "max_ell": 2, "num_interactions": 2,
    "interaction_cls": "RealAgnosticResidualInteractionBlock",
    "interaction_cls_first": "RealAgnosticInteractionBlock",
    "hidden_irreps": "8x0e+8x1o", "MLP_irreps": "8x0e", "gate": "silu",
    "avg_num_neighbors": 9.3, "correlation": 2,
}  # fmt: skip


def tiny(species: list[int], cutoff_A: float = 4.0, seed: int = 0) -> MACE:
    torch.manual_seed(seed)
    return MACE("file", species, cutoff_A, **TINY)


@pytest.fixture
def module() -> Callable[..., Any]:
    """MACE's own way of making one of its models."""
    modules, irreps = mace_library().modules, mace_library().e3nn.o3.Irreps
    looked_up = {
        "interaction_cls": modules.interaction_classes.__getitem__,
        "interaction_cls_first": modules.interaction_classes.__getitem__,
        "readout_cls": modules.readout_classes.__getitem__,
        "gate": modules.gate_dict.__getitem__,
        "hidden_irreps": irreps, "MLP_irreps": irreps, "edge_irreps": irreps,
    }  # fmt: skip

    def make(dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
        heads = len(changes.get("heads", ["Default"]))
        one = [-13.0, -1030.0, -2040.0]
        given = {
            "r_max": 4.5, "num_elements": 3, "atomic_numbers": SPECIES,
            "atomic_energies": np.array(one if heads == 1 else [one, [0.0, 1.0, 2.0]]),
            "atomic_inter_scale": 0.7 if heads == 1 else [0.7, 1.9],
            "atomic_inter_shift": 0.1 if heads == 1 else [0.1, -0.2],
            **TINY, **changes,
        }  # fmt: skip
        torch.manual_seed(4)
        torch.set_default_dtype(dtype)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return modules.ScaleShiftMACE(
                    **{k: looked_up.get(k, lambda same: same)(v) for k, v in given.items()}
                )
        finally:
            torch.set_default_dtype(torch.float32)

    return make


def saved(made: Any, folder: Path) -> Path:
    path = folder / "mace.model"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(made, path)
    return path


def trained(
    potential: Potential, folder: Path, steps: int, stop_after: int | None = None
) -> TrainingOutcome:
    asked = iter(range(10**6))
    return train(
        potential, toy_training(steps), toy_set(23), toy_set(5, 9), ALONE, (folder, "checkpoint"),
        1e9, lambda: stop_after is not None and next(asked) == stop_after,
    )  # fmt: skip


def fresh() -> Potential:
    potential = make_potential("mace", "small", [1, 8], 4.0, seed=1)
    refit(potential, toy_set(23), force_rms(toy_set(23)))
    return potential


def test_training_learns_and_stopping_leaves_no_trace(tmp_path: Path) -> None:
    potential, test = fresh(), toy_set(40, 11)
    before = accuracy(potential, test)
    assert trained(potential, tmp_path / "whole", 36).finished
    assert accuracy(potential, test).force_mae_eV_per_A < 0.6 * before.force_mae_eV_per_A
    assert not trained(fresh(), tmp_path / "parts", 36, stop_after=17).finished
    resumed = fresh()
    outcome = trained(resumed, tmp_path / "parts", 36)
    assert outcome.finished
    assert outcome.evaluation.why_not == "short work"
    assert save_bytes(resumed) == save_bytes(potential)


def test_the_ensemble_engine_conserves_its_energy(tmp_path: Path) -> None:
    potential = fresh()
    trained(potential, tmp_path, 12)
    potential.double()
    numbers, masses = torch.tensor(NUMBERS), torch.tensor([15.999, 1.008, 1.008]).double()
    function, evaluation = force_function_for(potential, numbers, 3, 40)
    assert not evaluation.compiled
    block = make_block(
        function, replicas=3, temperature_K=300.0, masses=masses, ensemble="nve",
        looked_at=watched(masses, bonds=torch.empty((0, 2), dtype=torch.int64),
                          bond_lengths_A=torch.empty(0).double()),
        length_ps=0.02, timestep_fs=0.25, check_stride_fs=5.0, save_stride_ps=0.01,
    )  # fmt: skip
    from apps.dynamics.engine import start_block

    start = torch.tensor(REST)
    began = total_energies(start_block(block, start.expand(3, -1, -1).clone()), masses)
    state = run(block, start)
    assert state.step == 80
    assert float((state.point.positions - start).abs().max()) > 0.01, "it moved"
    assert float((total_energies(state, masses) - began).abs().max()) < 2e-3


VARIANTS: dict[str, dict[str, Any]] = {
    "as saved": {},
    "float64": {"dtype": torch.float64},
    "three layers": {"num_interactions": 3, "hidden_irreps": "8x0e", "radial_MLP": [16, 16]},
    "as MACE-MP": {
        "interaction_cls": "RealAgnosticDensityResidualInteractionBlock",
        "interaction_cls_first": "RealAgnosticDensityInteractionBlock",
        "distance_transform": "Agnesi", "pair_repulsion": True, "correlation": 3,
    },
    "non-linear": {
        "interaction_cls": "RealAgnosticResidualNonLinearInteractionBlock",
        "interaction_cls_first": "RealAgnosticResidualNonLinearInteractionBlock",
        "readout_cls": "NonLinearBiasReadoutBlock", "edge_irreps": "8x0e+8x1o",
        "apply_cutoff": False, "use_agnostic_product": True,
    },
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_converted_file_is_the_original(
    variant: str, module: Callable[..., Any], tmp_path: Path
) -> None:
    made = module(**VARIANTS[variant])
    found = convert_mace_file(saved(made, tmp_path))
    assert max(found.energy_error, found.force_error) <= TOLERANCE
    potential = found.potential
    assert (potential.dtype, potential.cutoff_A) == (torch.float32, 4.5)
    assert float(potential.scale) == pytest.approx(0.7)
    assert potential.shift_eV[8] == pytest.approx(-2039.9)
    data = save_bytes(potential)
    assert b"pickle" not in data
    back = load_potential(data)
    assert save_bytes(back) == data
    assert read_header(data)["size"] == "file"
    from mace.calculators import MACECalculator  # type: ignore[import-not-found,unused-ignore]

    rng = stream(0, "box")
    places = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3) * 2.0
    box = ase.Atoms(
        rng.choice(SPECIES, 27), places + rng.normal(size=(27, 3)) * 0.15, cell=[6.0, 6.0, 6.2],
        pbc=True,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        box.calc = MACECalculator(models=[made.double()], device="cpu", default_dtype="float64")
        energy, forces = box.get_potential_energy(), box.get_forces()
    box.calc = CampaignCalculator(back.double())
    assert box.get_potential_energy() == pytest.approx(energy, abs=27e-5)
    np.testing.assert_allclose(box.get_forces(), forces, atol=1e-5 * max(1, np.abs(forces).max()))
    assert np.abs(forces).max() > 1e-3


def test_one_of_several_heads_is_named(module: Callable[..., Any], tmp_path: Path) -> None:
    path = saved(module(heads=["dft", "ccsd"]), tmp_path)
    with pytest.raises(InputError, match="heads dft, ccsd, asked for: none"):
        convert_mace_file(path)
    first, second = (convert_mace_file(path, head).potential for head in ("dft", "ccsd"))
    assert first.shift_eV[6] == pytest.approx(-1029.9)
    assert second.shift_eV[6] == pytest.approx(0.8)
    assert float(second.scale) == pytest.approx(1.9)


def test_what_is_not_the_original_is_refused(
    module: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known-bad: a setting that the weights do not tell of, changed on the way."""
    path = saved(module(), tmp_path)
    from apps.potential import mace_file

    usual = mace_file._hyperparameters
    monkeypatch.setattr(
        mace_file, "_hyperparameters", lambda *a: {**usual(*a), "avg_num_neighbors": 9.4}
    )
    with pytest.raises(InputError, match="differs from it by"):
        convert_mace_file(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    torch.save({"weights": 1}, tmp_path / "other.model")
    with pytest.raises(InputError, match="holds a dict, expected a ScaleShiftMACE"):
        convert_mace_file(tmp_path / "other.model")
    (tmp_path / "noise.model").write_bytes(b"no model")
    with pytest.raises(InputError, match="cannot be opened"):
        convert_mace_file(tmp_path / "noise.model")


def test_the_command_converts_and_tells_what_to_write(
    module: Callable[..., Any], tmp_path: Path
) -> None:
    file, to = saved(module(), tmp_path), tmp_path / "start.safetensors"
    arguments = ["convert", str(file), "--to", str(to), "--trust"]
    answer = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert "is a pickle: opening it runs whatever code it holds" in answer.stderr
    said = json.loads(answer.stdout)
    assert said["potential"] == {
        "architecture": "mace", "size": "file", "cutoff_A": 4.5, "start_from": str(to)
    }  # fmt: skip
    assert said["force_error"] <= TOLERANCE
    assert load_potential(to).species == tuple(SPECIES)


@pytest.fixture
def start(module: Callable[..., Any], tmp_path: Path) -> Path:
    """Weights converted from a file of MACE that knows more elements than the labels hold."""
    path = tmp_path / "start.safetensors"
    path.write_bytes(save_bytes(convert_mace_file(saved(module(), tmp_path)).potential))
    return path


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_the_tasks_train_what_a_file_gave_and_run_its_dynamics(
    stage: str, start: Path, tmp_path: Path, parts: dict[str, str]
) -> None:
    chosen = PotentialSettings(
        architecture="mace", size="file", cutoff_A=4.5, start_from=str(start)
    )
    given, found = load_potential(start), one_step(stage, tmp_path / "trained", start, chosen)
    assert (found.species, found.hyperparameters) == (given.species, given.hyperparameters)
    for ours, theirs in zip(found.parameters(), given.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert abs(float(found.shift_eV[8]) - float(given.shift_eV[8])) > 1.0, "refitted to the labels"
    files = {"model.safetensors": save_bytes(found)}
    model = write_part(tmp_path / "parts", "finetune", "mace", {}, {}, files=files)
    asked = request(tmp_path, {**parts, "model": str(model.path)}, length_ps=0.02)
    assert len(runs_of(finished(asked))) == REPLICAS


def test_importing_mace_leaves_no_way_for_pickles_behind() -> None:
    """In a process of its own: other parts of mace, which tests use, open it again."""
    script = (
        "import os, torch\n"
        "from apps.potential.registry import make_potential\n"
        "make_potential('mace', 'small', [1], 4.0, 0)\n"
        "assert 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD' not in os.environ\n"
        "assert torch.get_default_dtype() == torch.float32\n"
    )
    switch = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"  # those other parts set it here
    environment = {name: value for name, value in os.environ.items() if name != switch}
    command = [sys.executable, "-W", "error", "-c", script]
    subprocess.run(command, check=True, env=environment)


def test_hyperparameters_that_make_no_mace_are_refused() -> None:
    data = save_bytes(tiny([1, 8]))
    header = read_header(data)
    header["hyperparameters"]["gate"] = "swish"
    from tests.unit.test_potential_files import with_header

    with pytest.raises(InputError, match="cannot be built"):
        load_potential(with_header(data, header))
    header["hyperparameters"] = {**TINY, "hidden_irreps": "16x0e"}
    with pytest.raises(StoreError, match="do not fit their header"):
        load_potential(with_header(data, header))
    with pytest.raises(InputError, match="large, medium, small"):
        make_potential("mace", "huge", [1], 4.0, 0)


def test_symmetry_outlasts_a_stay_in_float32() -> None:
    """MACE's constants, rounded, would break it at 1e-7."""
    potential = tiny(SPECIES)
    potential.float()
    potential.double()
    rng = stream(3, "turned")
    x = 1.3 * rng.normal(size=(1, 9, 3))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    numbers = torch.tensor(rng.choice(SPECIES, (1, 9)))
    one, two = (
        energies_and_forces(potential, DenseBatch(numbers, torch.tensor(y))) for y in (x, x @ turn)
    )
    torch.testing.assert_close(one[0], two[0], rtol=0, atol=1e-11)
    torch.testing.assert_close(one[1] @ torch.tensor(turn), two[1], rtol=0, atol=1e-11)


def test_a_copy_can_be_traced_and_belongs_to_itself() -> None:
    potential = tiny([1, 8])
    copied = copy.deepcopy(potential)
    with torch.no_grad():
        for parameter in potential.parameters():
            parameter.zero_()
    numbers, x = torch.tensor(NUMBERS)[None], torch.tensor(REST)[None]

    def found(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return energies_and_forces(copied, DenseBatch(numbers, positions))

    graph = make_fx(found)(x + 0.1)
    assert float(found(x)[1].abs().max()) > 1e-3
    for ours, theirs in zip(graph(x), found(x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
