"""Any torch module, brought by a package, is trained and run as the built-in potentials are.

The module here knows lists of pairs alone, chooses by values (so that it cannot be traced) and has
a hyperparameter of its own: what foreign networks are like.
"""

from __future__ import annotations

from pathlib import Path

import ase
import numpy as np
import pytest
import torch

from apps.dynamics.forces import force_function_for
from apps.potential.batch import DenseBatch
from apps.potential.calculator import CampaignCalculator
from apps.potential.compiled import Case
from apps.potential.evaluate import energies_and_forces
from apps.potential.listed import listed
from apps.potential.neighbors import graph_batch
from apps.potential.protocol import Potential
from apps.potential.registry import make_potential
from apps.potential.weights import load_potential, read_header, save_bytes
from apps.training.accuracy import accuracy
from apps.training.distributed import World
from apps.training.loop import TrainingOutcome, train
from apps.training.refit import force_rms, refit
from data_store.errors import StoreError
from tests.laws.dynamics_systems import make_block, run, watched
from tests.laws.training_toys import NUMBERS, REST, toy_set, toy_training
from tests.unit.installed_package import write_package
from tests.unit.test_potential_files import with_header

SOURCE = '''
import torch
from torch import nn

from apps.potential.listed import listed
from apps.potential.protocol import Potential
from apps.potential.radial import bessel


class Network(nn.Module):
    """Somebody's module of atoms and edges."""

    def __init__(self, kinds, width, cutoff_A):
        super().__init__()
        self.kinds, self.cutoff_A = nn.Embedding(kinds, width), cutoff_A
        self.pairs = nn.Sequential(nn.Linear(8 + 2 * width, width), nn.SiLU(), nn.Linear(width, 1))

    def forward(self, kinds, centre, neighbour, vectors):
        distances = vectors.norm(dim=1)
        if len(distances) and float(distances.detach().min()) < 1e-6:
            raise ValueError("two atoms in one place")
        radial = bessel(distances, self.cutoff_A, 8)
        features = self.kinds(kinds)
        given = torch.cat([radial, features[centre] + features[neighbour],
                           features[centre] * features[neighbour]], 1)
        return self.pairs(given)[:, 0] * radial[:, 0]


class Wrapped(Potential):
    def __init__(self, size, species, cutoff_A, width=16):
        super().__init__("wrapped", size, species, cutoff_A)
        self.hyperparameters = {"width": width}
        self.network = Network(len(self.species), width, cutoff_A)

    def network_energy(self, batch):
        graph = listed(batch, self.cutoff_A)
        centre, neighbour = graph.pairs
        x = graph.positions
        vectors = (x[neighbour] + graph.shifts - x[centre]).to(self.dtype)
        pairs = self.network(self.species_index[graph.numbers], centre, neighbour, vectors)
        total = pairs.new_zeros(graph.n_structures)
        return self.scale * total.index_add(0, graph.structure[centre], pairs)
'''


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = f"{tmp_path.name}_wrapped".replace("-", "_")
    folder = write_package(
        tmp_path / "package", "wrapped", {"campaign.potentials": {"wrapped": f"{module}:Wrapped"}},
        {f"{module}.py": SOURCE},
    )  # fmt: skip
    monkeypatch.syspath_prepend(folder)


def made(width: int | None = None, prior: str = "none") -> Potential:
    more = None if width is None else {"width": width}
    return make_potential("wrapped", "small", [1, 8], 4.0, 1, prior, more)


def trained(folder: Path, stop_after: int | None = None) -> tuple[Potential, TrainingOutcome]:
    potential, labelled = made(24), toy_set(23)
    refit(potential, labelled, force_rms(labelled))
    asked = iter(range(10**6))
    outcome = train(
        potential, toy_training(150), labelled, toy_set(5, 9), World(0, 1, torch.device("cpu")),
        (folder, "checkpoint"), 1e9, lambda: stop_after is not None and next(asked) == stop_after,
    )  # fmt: skip
    return potential, outcome


def test_the_trainer_trains_and_resumes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from apps.potential import compiled

    monkeypatch.setitem(compiled._REPAYING_ATOM_EVALUATIONS, "cpu", 1)
    before, test = made(24), toy_set(40, 11)
    refit(before, test, force_rms(test))
    whole, outcome = trained(tmp_path / "whole")
    assert outcome.evaluation.why_not == "wrapped is not traceable", "work as long as you like"
    assert accuracy(whole, test).force_mae_eV_per_A < 0.6 * (
        accuracy(before, test).force_mae_eV_per_A
    )
    assert not trained(tmp_path / "parts", 70)[1].finished
    assert save_bytes(trained(tmp_path / "parts")[0]) == save_bytes(whole)


def test_one_that_only_says_that_it_is_traceable_is_run_as_defined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from apps.potential import compiled

    monkeypatch.setitem(compiled._REPAYING_ATOM_EVALUATIONS, "cpu", 1)
    potential = made()
    monkeypatch.setattr(type(potential), "traceable", True)
    function, evaluation = force_function_for(potential, torch.tensor(NUMBERS), 2, 10)
    assert not evaluation.compiled
    assert evaluation.why_not
    assert function(torch.tensor(REST)[None])[1].abs().max() > 0


def test_the_engine_and_the_calculator_run_it(tmp_path: Path) -> None:
    potential, _ = trained(tmp_path)
    masses = torch.tensor([15.999, 1.008, 1.008]).double()
    function, evaluation = force_function_for(potential, torch.tensor(NUMBERS), 3, 20)
    assert not evaluation.compiled
    nothing = torch.empty((0, 2), dtype=torch.int64)
    block = make_block(
        function, replicas=3, temperature_K=300.0, masses=masses, length_ps=0.01,
        timestep_fs=0.5, check_stride_fs=5.0, save_stride_ps=0.01,
        looked_at=watched(masses, bonds=nothing, bond_lengths_A=torch.empty(0).double()),
    )  # fmt: skip
    assert run(block, torch.tensor(REST)).step == 20
    calculator = CampaignCalculator(potential.double())
    alone = ase.Atoms(NUMBERS, REST, calculator=calculator)
    boxed = ase.Atoms(NUMBERS, REST, cell=[30.0] * 3, pbc=True, calculator=calculator)
    assert boxed.get_potential_energy() == pytest.approx(alone.get_potential_energy(), abs=1e-9)
    np.testing.assert_allclose(boxed.get_forces(), alone.get_forces(), atol=1e-9)


@pytest.mark.parametrize("prior", ["none", "zbl"])
def test_weights_bring_its_hyperparameters_back(prior: str) -> None:
    potential = made(24, prior)
    data = save_bytes(potential)
    assert read_header(data)["hyperparameters"] == {"width": 24}
    back = load_potential(data)
    assert back.hyperparameters == {"width": 24}
    assert save_bytes(back) == data
    assert load_potential(save_bytes(made(prior=prior))).hyperparameters == {"width": 16}
    for wrong in ({"width": 16}, {"depth": 2}, {}):
        header = {**read_header(data), "hyperparameters": wrong}
        with pytest.raises(StoreError, match="do not fit their header"):
            load_potential(with_header(data, header))


def test_a_graph_of_one_width_serves_no_other() -> None:
    assert Case("any", made(24), 8, 3) == Case("any", made(24), 8, 3)
    assert Case("any", made(24), 8, 3) != Case("any", made(16), 8, 3)


def test_a_list_of_a_dense_batch_is_that_of_its_structures() -> None:
    """Padding, molecules of different size, pairs beyond the cutoff, positions gone wild."""
    x = np.stack([REST, 3.0 * REST, REST + 1.0])
    numbers = np.stack([NUMBERS, NUMBERS, [8, 1, 0]])
    batch = DenseBatch(torch.tensor(numbers), torch.tensor(x))
    found = listed(batch, 2.0)
    assert listed(found, 2.0) is found
    kept = [z > 0 for z in numbers]
    expected = graph_batch(
        [z[k] for z, k in zip(numbers, kept, strict=True)],
        [y[k] for y, k in zip(x, kept, strict=True)],
        [np.zeros((3, 3))] * 3, [np.zeros(3, bool)] * 3, 2.0,
    )  # fmt: skip
    assert torch.equal(found.numbers, expected.numbers)
    assert torch.equal(found.structure, expected.structure)
    assert {tuple(p) for p in found.pairs.T.tolist()} == {
        tuple(p) for p in expected.pairs.T.tolist()
    }
    potential = made().double()
    wild = torch.tensor(np.stack([REST, np.full_like(REST, np.nan)]))
    energies, forces = energies_and_forces(potential, DenseBatch(torch.tensor(numbers[:2]), wild))
    assert energies[0].isfinite()
    assert forces[0].isfinite().all()
    assert energies[1].isnan()
    assert forces[1].isnan().all()
