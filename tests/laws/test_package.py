"""A package gives what its potential gives, to who does not have this project; or it refuses."""

from __future__ import annotations

import copy
import io
import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pytest
import torch
from torch import Tensor

from apps.potential import export, package
from apps.potential.batch import AnyBatch, GraphBatch
from apps.potential.calculator import CampaignCalculator
from apps.potential.export import EnergyAndForces, check_same, example, export_program
from apps.potential.package import package_bytes
from apps.potential.painn import SIZES, PaiNN
from apps.potential.protocol import Potential
from apps.potential.registry import make_potential, potential_names
from apps.potential.weights import save_bytes
from data_store.errors import InputError
from tests.laws.packaged import PAGE, Answer, ask, structures
from tests.unit import pages

pytestmark = pytest.mark.timeout(900)  # compiling, on a machine that does much else

SHIFTS_eV = torch.tensor([-13.6, -1036.0, -2041.3], dtype=torch.float64)
TOLERANCES = {"float32": 1e-5, "float64": 1e-10}


@dataclass(frozen=True)
class Case:
    size: str = "small"
    prior: str = "none"
    precision: str = "float32"
    trained: bool = True
    machine: str = "any"

    @property
    def name(self) -> str:
        weights = "trained" if self.trained else "fresh"
        return "-".join((self.size, self.prior, self.precision, weights, self.machine))

    def potential(self) -> Potential:
        """Weights as made, or as far from that, and from each other, as training takes them."""
        made = make_potential("painn", self.size, [1, 6, 8], 4.5, 3, self.prior)
        if self.trained:
            generator = torch.Generator().manual_seed(7)
            for p in made.parameters():
                p.data += 0.3 * p.data.std(correction=0) * torch.randn(p.shape, generator=generator)
            made.scale.fill_(1.7)
        made.shift_eV[[1, 6, 8]] = SHIFTS_eV
        return made.double() if self.precision == "float64" else made


USUAL = [
    Case(trained=False),
    Case(prior="zbl"),
    Case(prior="zbl", precision="float64"),
    Case(prior="zbl", machine="cpu"),
]
LONG = [
    *(Case(size, prior, precision, trained)
      for size in SIZES for prior in ("none", "zbl")
      for precision in TOLERANCES for trained in (True, False)),
    *(Case(size, "none", machine="cpu") for size in ("medium", "large")),
    Case("small", "none", "float64", machine="cpu"),
    Case("large", "zbl", "float64", machine="cpu"),
]  # fmt: skip


class Springs(Potential):
    """The least that can be packaged: what needs no network is tested on it."""

    traceable = True

    def __init__(self) -> None:
        super().__init__("springs", "small", [1, 8], 3.0)

    def network_energy(self, batch: AnyBatch) -> Tensor:
        assert isinstance(batch, GraphBatch)
        centre, neighbour = batch.pairs
        vectors = batch.positions[neighbour] + batch.shifts - batch.positions[centre]
        stretched = (self.cutoff_A**2 - (vectors**2).sum(-1)).to(self.dtype).clamp(min=0.0) ** 3
        return self.scale * stretched.new_zeros(1).index_add(0, batch.structure[centre], stretched)


def answers(folder: Path, cases: list[Case]) -> dict[str, Answer]:
    files = {}
    for case in cases:
        files[case.name] = folder / f"{case.name}.pt2"
        trained_on = {"campaign": "ours", "seed": 3}
        data = package_bytes(case.potential(), case.machine, trained_on=trained_on)
        files[case.name].write_bytes(data)
    stranger = folder / "stranger"
    stranger.mkdir()
    return ask(stranger, files, frozenset(c.name for c in cases if c.machine == "cpu"))


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    return answers(tmp_path_factory.mktemp("packages"), USUAL)


def assert_same(case: Case, found: Answer) -> None:
    """Relative to what the network says, which is little beside the shifts, and to the forces."""
    potential, tolerance = case.potential(), TOLERANCES[case.precision]
    for atoms, energy, forces in zip(structures(), found.energies, found.forces, strict=True):
        atoms.calc = CampaignCalculator(potential)
        expected = atoms.get_potential_energy()
        network = expected - float(potential.shift_eV[atoms.numbers].sum())
        assert abs(energy - expected) <= tolerance * max(1.0, abs(network)), str(atoms)
        largest = np.abs(atoms.get_forces()).max()
        assert np.abs(forces - atoms.get_forces()).max() <= tolerance * largest, str(atoms)


@pytest.mark.slow
@pytest.mark.parametrize("case", USUAL, ids=lambda case: case.name)
def test_strangers_get_what_the_potential_gives(usual: dict[str, Answer], case: Case) -> None:
    assert_same(case, usual[case.name])


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_strangers_get_what_the_potential_gives_in_all_sizes(tmp_path: Path) -> None:
    found = answers(tmp_path, LONG)
    for case in LONG:
        assert_same(case, found[case.name])


@pytest.mark.slow
def test_another_model_is_told_apart(usual: dict[str, Answer]) -> None:
    """The comparison sees a billionth."""
    case = Case(prior="zbl", precision="float64")
    found = usual[case.name]
    assert_same(case, found)
    slightly = [forces * (1 + 1e-9) for forces in found.forces]
    with pytest.raises(AssertionError):
        assert_same(case, replace(found, forces=slightly))


@pytest.mark.slow
@pytest.mark.parametrize("case", USUAL, ids=lambda case: case.name)
def test_what_it_cannot_answer_it_refuses(usual: dict[str, Answer], case: Case) -> None:
    about = usual[case.name].about
    assert "none of the elements that the potential knows: H C O" in about["unknown"]
    assert "none of the elements" in about["no element"]
    assert "each pair in both directions" in about["half"]
    if case.machine == "cpu":  # a portable one computes with what it gets
        assert "unmatched dtype" in about["wrong type"]
        assert "unmatched stride" in about["transposed"]


@pytest.mark.slow
@pytest.mark.parametrize("case", USUAL, ids=lambda case: case.name)
def test_it_says_what_it_is(usual: dict[str, Answer], case: Case) -> None:
    about = usual[case.name].about
    assert about["schema"] == package.SCHEMA
    assert (about["size"], about["prior"], about["precision"]) == (
        case.size, case.prior, case.precision
    )  # fmt: skip
    assert (about["species"], about["cutoff_A"]) == ([1, 6, 8], 4.5)
    assert about["trained_on"] == {"campaign": "ours", "seed": 3}
    assert tuple(about["arguments"]) == export.INPUTS
    assert about["results"]["forces"]["unit"] == "eV/Å"
    assert about["compiled_for"] == (None if case.machine == "any" else case.machine)


def test_a_portable_file_holds_no_pickle() -> None:
    with zipfile.ZipFile(io.BytesIO(package_bytes(Springs()))) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    about = next(
        data for name, data in contents.items() if name.endswith("/extra/campaign_potential.json")
    )
    assert json.loads(about)["architecture"] == "springs"
    for name, data in contents.items():
        assert not data.startswith((b"\x80", b"PK")), f"{name} is a pickle, or an archive of one"


@pytest.mark.slow
def test_nothing_of_it_is_tied_to_a_device(usual: dict[str, Answer]) -> None:
    """Moved to the device without memory, where a tensor left behind would be an error."""
    from torch.export.passes import move_to_device_pass

    file = usual[Case(prior="zbl", precision="float64").name].file
    program = torch.export.load(file)
    arguments = [tensor.to("meta") for tensor in example(Springs())]
    energy, forces = move_to_device_pass(program, "meta").module()(*arguments)
    assert (energy.device.type, forces.device.type) == ("meta", "meta")


@pytest.mark.parametrize("architecture", potential_names())
def test_every_potential_can_be_packaged_or_says_why(architecture: str) -> None:
    potential = make_potential(architecture, "small", [1, 6, 8], 4.0, 1)
    if not potential.traceable:
        pytest.skip(f"{potential.architecture} does not say that it can be traced")
    check_same(export_program(potential).module(), potential)


class ByValue(PaiNN):
    def network_energy(self, batch: AnyBatch) -> Tensor:
        energy = super().network_energy(batch)
        return energy if float(batch.positions.max()) > 2.0 else 2.0 * energy


class BySize(PaiNN):
    def network_energy(self, batch: AnyBatch) -> Tensor:
        energy = super().network_energy(batch)
        return energy if batch.numbers.shape[0] > 20 else 2.0 * energy


class OfOneSize(PaiNN):
    def network_energy(self, batch: AnyBatch) -> Tensor:
        return super().network_energy(batch) / len(batch.numbers)


class OutsideTorch(PaiNN):
    def network_energy(self, batch: AnyBatch) -> Tensor:
        far = np.linalg.norm(batch.positions.detach().numpy(), axis=-1).max()
        return super().network_energy(batch) * float(far)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (ByValue, "cannot be exported"),
        (OutsideTorch, "cannot be exported"),
        (OfOneSize, "cannot be exported"),
        (BySize, "is not the potential: for 1 atoms"),
    ],
)
def test_what_no_graph_can_hold_is_refused(kind: type[PaiNN], reason: str) -> None:
    with pytest.raises(InputError, match=reason) as refused:
        package_bytes(kind("small", [1, 6, 8], 4.0))
    assert "network_energy must" in refused.value.hint


def test_a_graph_of_another_potential_is_refused() -> None:
    potential = Case().potential()
    check_same(EnergyAndForces(potential), potential)
    other = copy.deepcopy(potential)
    other.scale.mul_(1.0 + 1e-4)
    with pytest.raises(InputError, match="is not the potential"):
        check_same(EnergyAndForces(other), potential)
    with pytest.raises(InputError, match="is not the potential"):
        check_same(lambda *given: (torch.tensor(torch.nan), given[1]), potential)


def test_a_machine_that_cannot_compile_says_so() -> None:
    from torch._inductor import config

    # Torch's own way: undone by another, the setting would be gone for all tests after this one.
    with (
        config.patch({"cpp.cxx": (None, "no-such-compiler")}),
        pytest.raises(InputError, match="cannot be compiled on this machine") as refused,
    ):
        package_bytes(Springs(), "cpu")
    assert "--for any" in refused.value.hint


def test_unknown_machines_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'cuda'"):
        package_bytes(Springs(), "cude")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="there is none"):
            package_bytes(Springs(), "cuda")


def test_the_printed_calculator_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    Path("models/pretrained-50-seed0.safetensors").write_bytes(save_bytes(Case().potential()))
    ase.io.write("aspirin.xyz", structures()[1])
    given: dict[str, ase.Atoms] = {}
    exec(pages.blocks(PAGE, "python")["with_ase.py"], given)
    assert np.isfinite(given["atoms"].get_forces()).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("machine", ["any", "cuda"])
def test_on_a_gpu_it_gives_what_the_potential_gives(machine: str, tmp_path: Path) -> None:
    from torch.export.passes import move_to_device_pass

    file = tmp_path / "model.pt2"
    potential = Case(prior="zbl").potential()
    file.write_bytes(package_bytes(potential, machine))
    run: Any = (
        torch._inductor.aoti_load_package(str(file))
        if machine == "cuda"
        else move_to_device_pass(torch.export.load(file), "cuda").module()
    )
    check_same(run, potential.to("cuda"))
