"""The TorchSim model gives what the potential gives, in batches, and its stress is a derivative."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pytest
import torch
from ase.build import molecule

from apps.potential.calculator import CampaignCalculator
from apps.potential.prior import PRIORS
from apps.potential.protocol import Potential
from apps.potential.registry import make_potential
from apps.potential.weights import save_bytes
from data_store.errors import InputError
from tests.laws.packaged import PAGE, structures
from tests.unit import pages

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its dependencies
ts: Any = pytest.importorskip("torch_sim", reason="TorchSim (extra torchsim) is not installed")

CPU = torch.device("cpu")


def some_potential(prior: str = "none", species: tuple[int, ...] = (1, 6, 8)) -> Potential:
    made = make_potential("painn", "small", species, 4.0, 3, prior).double()
    made.shift_eV[list(species)] = -10.0 * torch.tensor(species, dtype=torch.float64)
    return made


def model(potential: Potential, *, compute_stress: bool = False) -> Any:
    from apps.potential.torchsim import CampaignModel

    return CampaignModel(potential, compute_stress=compute_stress)


def evaluated(potential: Potential, batch: list[ase.Atoms], **settings: bool) -> dict[str, Any]:
    state = ts.io.atoms_to_state(batch, CPU, torch.float64)
    found: dict[str, Any] = model(potential, **settings)(state)
    return found


@pytest.mark.parametrize("prior", ["none", *PRIORS])
@pytest.mark.parametrize("periodic", [False, True])
def test_a_batch_gives_what_each_structure_gives(periodic: bool, prior: str) -> None:
    batch = [atoms for atoms in structures() if atoms.pbc.all() == periodic]
    potential = some_potential(prior)
    found = evaluated(potential, batch)
    first = 0
    for atoms, energy in zip(batch, found["energy"], strict=True):
        atoms.calc = CampaignCalculator(potential)
        assert float(energy) == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        forces = found["forces"][first : first + len(atoms)].numpy()
        np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-9)
        first += len(atoms)


def test_stress_is_the_derivative_by_strain() -> None:
    potential, box = some_potential("zbl"), structures()[-1]
    stress = evaluated(potential, [box], compute_stress=True)["stress"][0].numpy()
    numerical, step = np.zeros((3, 3)), 1e-5
    for row, column in np.ndindex(3, 3):
        energies = []
        for sign in (1.0, -1.0):
            strain = np.eye(3)
            strain[row, column] += 0.5 * sign * step
            strain[column, row] += 0.5 * sign * step
            strained = box.copy()
            strained.set_cell(np.asarray(box.cell) @ strain, scale_atoms=True)
            energies.append(float(evaluated(potential, [strained])["energy"][0]))
        numerical[row, column] = (energies[0] - energies[1]) / (2 * step * box.get_volume())
    assert np.abs(stress).max() > 1e-4
    np.testing.assert_allclose(stress, numerical, atol=1e-7)


def test_it_passes_the_packages_own_examination() -> None:
    from torch_sim.models.interface import validate_model_outputs

    for compute_stress in (True, False):
        examined = model(some_potential(species=(14, 26)), compute_stress=compute_stress)
        if not compute_stress:
            with pytest.raises(NotImplementedError):
                examined.compute_stress = True
        validate_model_outputs(examined, CPU, torch.float64)


def test_its_integrators_run_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    weights = save_bytes(some_potential())
    Path("models/pretrained-50-seed0.safetensors").write_bytes(weights)
    start = molecule("CH3CH2OH")
    ase.io.write("aspirin.xyz", start)
    given: dict[str, Any] = {}
    exec(pages.blocks(PAGE, "python")["with_torchsim.py"], given)
    found = given["final"].positions.reshape(8, len(start), 3)
    assert torch.isfinite(found).all()
    moved = (found - torch.tensor(start.positions)).abs().amax((1, 2))
    assert (moved > 0.01).all()
    assert len(moved.unique()) == 8, "each replica has noise of its own"


def test_what_it_cannot_answer_it_refuses() -> None:
    with pytest.raises(InputError, match=r"not \[7\]"):
        evaluated(some_potential(), [molecule("NH3")])
    with pytest.raises(InputError, match="not periodic"):
        evaluated(some_potential(), [molecule("H2O")], compute_stress=True)
