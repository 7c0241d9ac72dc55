"""Molecules, strategies, the window and chunks: seeded, counted, clear about what they refuse."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apps.contract import Request
from apps.sampling.acceptance import REASONS, accept
from apps.sampling.chunk import largest_remainder, make_chunk
from apps.sampling.mmff94 import MMFF94
from apps.sampling.molecule import molecule_from_smiles, molecule_from_xyz, reorder_like
from apps.sampling.settings import (
    ClashSettings,
    LangevinSettings,
    NoiseSettings,
    SamplingSettings,
    ScanSettings,
    TierSettings,
)
from apps.sampling.strategies.clash import clashing_pairs, pull_together
from apps.sampling.strategies.noise import add_noise
from apps.sampling.strategies.scan import scan_bonds
from apps.sampling.task import candidates, prepare, sample
from apps.sampling.teacher import TEACHERS, Choice, choose_teacher, make_teacher
from apps.sampling.thermal import thermal_frames
from data_store.errors import InputError, MethodError
from data_store.molecules import Molecule
from data_store.parts import open_part
from data_store.streams import stream
from data_store.structure_parts import read_structures
from data_store.structures import TIERS
from data_store.units import COVALENT_RADII_A

QUICK = LangevinSettings(temperatures_K=(300.0, 1000.0), equilibration_fs=20.0, stride_fs=5.0)
SETTINGS = SamplingSettings(chunk_structures=100, tiers=TierSettings(langevin=QUICK))


@pytest.fixture(scope="module")
def methanol() -> Molecule:
    return molecule_from_smiles("CO", name="methanol")


@pytest.fixture(scope="module")
def teacher(methanol: Molecule) -> MMFF94:
    return MMFF94(methanol)


@pytest.mark.parametrize(
    ("smiles", "message"),
    [
        ("C(C", "cannot read this"),
        ("C(C)(C)(C)(C)C", "cannot read this"),
        ("", "cannot read this"),
        ("C.O", "holds 2 molecules"),
    ],
)
def test_impossible_smiles_are_refused(
    smiles: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=message):
        molecule_from_smiles(smiles)
    assert capfd.readouterr().err == "", "RDKit's own complaints are no message to a user"


def test_contradictory_charge_is_refused() -> None:
    with pytest.raises(InputError, match="has charge -1"):
        molecule_from_smiles("CC(=O)[O-]", charge=0)


@pytest.mark.parametrize("smiles", ["[H][H]", "CB(O)O", "O=O"])
def test_an_untypable_molecule_names_its_atoms(smiles: str) -> None:
    with pytest.raises(InputError, match=r"cannot type .*atom \d"):
        choose_teacher("mmff94", molecule_from_smiles(smiles))


@pytest.mark.parametrize(
    ("smiles", "chosen", "reason"),
    [
        ("CO", "mmff94", "^MMFF94 has parameters for every atom"),
        ("CB(O)O", "gfnff", r"MMFF94 cannot type CH5BO2: B \(atom 1\); GFN-FF has parameters"),
        ("[H][H]", "gfnff", "MMFF94 cannot type H2"),
    ],
)
def test_the_automatic_choice_says_why(smiles: str, chosen: str, reason: str) -> None:
    choice = choose_teacher("auto", molecule_from_smiles(smiles))
    assert choice.name == chosen
    assert re.search(reason, choice.reason)
    assert make_teacher(choice.name, molecule_from_smiles(smiles)).name == chosen


def test_without_a_topology_uff_is_left_and_after_it_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    hydrogen = molecule_from_smiles("[H][H]")
    one_point = replace(hydrogen, reference_positions=np.zeros((2, 3)))
    choice = choose_teacher("auto", one_point)
    assert choice.name == "uff"
    assert "GFN-FF cannot type H2" in choice.reason
    knows_nothing = replace(TEACHERS["uff"], untyped_atoms=lambda molecule: [0])
    monkeypatch.setitem(TEACHERS, "uff", knows_nothing)
    with pytest.raises(InputError, match=r"MMFF94 cannot .* GFN-FF cannot .* UFF cannot"):
        choose_teacher("auto", one_point)
    capfd.readouterr()  # the library says in its own words that its set-up failed


def test_a_named_force_field_is_never_replaced() -> None:
    boron = molecule_from_smiles("CB(O)O")
    for name in ("gfnff", "uff"):
        assert choose_teacher(name, boron) == Choice(name, "asked for")
    with pytest.raises(InputError, match="know this molecule: gfnff, uff"):
        choose_teacher("mmff94s", boron)


def test_unknown_force_fields_list_the_valid(methanol: Molecule) -> None:
    with pytest.raises(InputError, match="mmff94"):
        choose_teacher("mmff95", methanol)


def test_atom_order_follows_the_labels() -> None:
    aspirin = molecule_from_smiles("CC(=O)Oc1ccccc1C(=O)O")
    order = stream(0, "order").permutation(len(aspirin.numbers))
    numbers, x = np.array(aspirin.numbers)[order], aspirin.reference_positions[order]
    moved = reorder_like(aspirin, numbers, x)
    assert moved.numbers == tuple(numbers)
    lengths = [np.linalg.norm(x[j] - x[i]) for i, j in moved.bonds]
    assert max(lengths) < 1.6, "its bonds are bonds of that geometry"
    assert MMFF94(moved).energies_and_forces(x[None])[0][0] == pytest.approx(
        MMFF94(aspirin).energies_and_forces(aspirin.reference_positions[None])[0][0], abs=1e-6
    )


def test_labels_of_another_molecule_are_refused(methanol: Molecule) -> None:
    ether = molecule_from_smiles("COC")
    ethanol = molecule_from_smiles("CCO")
    with pytest.raises(InputError, match="labels are of"):
        reorder_like(methanol, np.array(ether.numbers), ether.reference_positions)
    with pytest.raises(InputError, match="other bonds"):
        reorder_like(ethanol, np.array(ether.numbers), ether.reference_positions)


def test_a_geometry_gives_the_molecule_of_its_smiles(tmp_path: Path) -> None:
    acid = molecule_from_smiles("CC(=O)O")
    rows = [
        f"{s} {x} {y} {z}"
        for s, (x, y, z) in zip(acid.symbols, acid.reference_positions, strict=True)
    ]
    path = tmp_path / "acid.xyz"
    path.write_text(f"{len(rows)}\n\n" + "\n".join(rows) + "\n")
    found = molecule_from_xyz(path)
    assert (found.bonds, found.bond_orders) == (acid.bonds, acid.bond_orders)
    path.write_text("nonsense")
    with pytest.raises(InputError, match="no bonds fit"):
        molecule_from_xyz(path)


def base(teacher: MMFF94, count: int = 200) -> np.ndarray:
    return np.repeat(teacher.relaxed_positions[None], count, axis=0)


def test_noise_has_the_amplitudes_it_should(teacher: MMFF94) -> None:
    moved = add_noise(base(teacher, 2000), NoiseSettings(amplitude_A=(0.01, 0.1)), stream(0, "n"))
    rms = np.sqrt(((moved - teacher.relaxed_positions) ** 2).mean((1, 2)))
    assert rms.min() > 0.01 * 0.5
    assert rms.max() < 0.1 * 1.7
    # Log-uniform: the median is the geometric mean of the ends.
    assert np.median(rms) == pytest.approx(np.sqrt(0.01 * 0.1), rel=0.1)


def test_scans_change_one_bond_and_nothing_else(teacher: MMFF94, methanol: Molecule) -> None:
    frames = base(teacher)
    moved = scan_bonds(methanol, frames, ScanSettings(stretch=(0.6, 2.0)), stream(0, "s"))
    bonds = np.array(methanol.bonds)

    def lengths(x: np.ndarray) -> np.ndarray:
        return np.asarray(np.linalg.norm(x[:, bonds[:, 1]] - x[:, bonds[:, 0]], axis=-1))

    ratio = lengths(moved) / lengths(frames)
    changed = np.abs(ratio - 1.0) > 1e-6
    assert (changed.sum(axis=1) <= 1).all()
    assert changed.any(axis=0).all(), "every bond has its turn"
    assert 0.59 < ratio.min() < 0.7
    assert 1.8 < ratio.max() < 2.01


def test_a_ring_bond_moves_with_its_hydrogens() -> None:
    ring = molecule_from_smiles("C1CC1")
    frames = np.repeat(ring.reference_positions[None], 50, axis=0)
    moved = scan_bonds(ring, frames, ScanSettings(stretch=(1.5, 1.5)), stream(1, "s"))
    assert np.isfinite(moved).all()
    for before, after in zip(frames, moved, strict=True):
        pairs = [np.linalg.norm(x[1] - x[0]) for x in (before[:2], after[:2])]
        assert pairs[1] > 0.5 * pairs[0]


def test_clashes_reach_their_distance(methanol: Molecule, teacher: MMFF94) -> None:
    frames, factor = base(teacher, 50), 1.5
    moved = pull_together(methanol, frames, ClashSettings(contact=(factor, factor)), stream(0, "c"))
    radii = COVALENT_RADII_A[list(methanol.numbers)]
    ratios = [
        [np.linalg.norm(x[j] - x[i]) / (radii[i] + radii[j]) for i, j in clashing_pairs(methanol)]
        for x in moved
    ]
    assert np.abs(np.array(ratios) - factor).min(axis=1).max() < 1e-9


def test_the_window_counts_each_reason_once() -> None:
    numbers = np.array([6, 1, 1])
    good = np.array([[0.0, 0, 0], [1.1, 0, 0], [-0.5, 1.0, 0]])
    close, hydrogens = good.copy(), good.copy()
    close[1] = [0.3, 0, 0]
    hydrogens[2] = [1.1, 0.3, 0.0]
    x = np.stack([good, close, hydrogens, good, good, np.full_like(good, np.nan)])
    energies = np.array([1.0, 1.0, 1.0, 100.0, 1.0, 1.0])
    forces = np.zeros_like(x)
    forces[4, 0, 0] = 1000.0
    accepted, rejected = accept(numbers, x, energies, forces, SamplingSettings())
    assert accepted.tolist() == [True, False, False, False, False, False]
    assert rejected == dict.fromkeys(REASONS, 1)


def test_weights_become_whole_numbers() -> None:
    weights = {"a": 0.4, "b": 0.3, "c": 0.15, "d": 0.15}
    for total in (1, 7, 100, 2048):
        counts = largest_remainder(total, weights)
        assert sum(counts.values()) == total
        assert all(abs(counts[k] - total * w) < 1.0 for k, w in weights.items())


def test_chunks_are_full_seeded_and_told_apart(teacher: MMFF94) -> None:
    one, again, other = (make_chunk(teacher, SETTINGS, 0, chunk) for chunk in (0, 0, 1))
    assert len(one.structures) == 100
    np.testing.assert_array_equal(one.structures.positions, again.structures.positions)
    assert not np.array_equal(one.structures.positions, other.structures.positions)
    assert not set(one.structures.parents) & set(other.structures.parents)
    tiers = [TIERS[code] for code in one.structures.tiers]
    assert {t: tiers.count(t) for t in set(tiers)} == one.tiers
    window = SETTINGS.max_energy_eV_per_atom * 6
    assert one.structures.labelled_energies().max() <= window
    assert set(one.rejected) == set(one.tiers)


def test_a_diatomic_leaves_clashes_out() -> None:
    molecule = molecule_from_smiles("[OH]")
    made = make_chunk(MMFF94(molecule), SETTINGS, 0, 0)
    assert made.left_out == ("clash",)
    assert len(made.structures) == 100


def test_an_impossible_window_says_what_it_rejected(teacher: MMFF94) -> None:
    narrow = SETTINGS.model_copy(update={"max_energy_eV_per_atom": 1e-6})
    with pytest.raises(MethodError, match="high_energy"):
        make_chunk(teacher, narrow, 0, 0)


def test_langevin_has_the_temperature_asked_for(teacher: MMFF94) -> None:
    settings = LangevinSettings(equilibration_fs=1000.0, stride_fs=50.0, friction_per_ps=10.0)
    frames = thermal_frames(teacher, 300.0, 32, 20, settings, seed=0).reshape(-1, 6, 3)
    energies, _ = teacher.energies_and_forces(frames)
    # 12 vibrations, each k_B T / 2 of potential energy where harmonic.
    expected = 0.5 * 12 * 8.617e-5 * 300.0
    assert energies.mean() == pytest.approx(expected, rel=0.12)


def test_task_functions_make_parts_once(tmp_path: Path) -> None:
    root = str(tmp_path)
    settings = {"system": {"smiles": "CO"}, "force_field": "auto"}
    prepared = prepare(Request(root, root, "prepare", "a" * 64, settings, 0).to_json())
    assert prepared["outcome"] == "done"
    inputs = {"molecule": [prepared["path"]]}
    chunk = SETTINGS.model_dump(mode="json", exclude={"structures"})
    request = Request(root, root, "sample", "b" * 64, chunk, 0, key={"chunk": 0}, inputs=inputs)
    made = sample(request.to_json())
    assert made["counts"]["accepted_noise"] == 30
    assert sample(request.to_json())["digest"] == made["digest"]
    thermal = {k: v for k, v in chunk.items() if k != "chunk_structures"}
    thermal |= {"count": 5, "temperatures_K": [300.0, 500.0]}
    request = Request(root, root, "candidates", "c" * 64, thermal, 0, inputs=inputs)
    structures = read_structures(open_part(Path(str(candidates(request.to_json())["path"]))))
    assert len(set(structures.parents.tolist())) == len(structures) == 5


def test_what_mmff94_cannot_type_is_taught_by_gfnff(tmp_path: Path) -> None:
    root = str(tmp_path)
    settings = {"system": {"smiles": "[H][H]"}, "force_field": "auto"}
    prepared = prepare(Request(root, root, "prepare", "a" * 64, settings, 0).to_json())
    metadata = open_part(Path(str(prepared["path"]))).metadata
    assert metadata["teacher"] == "gfnff"
    assert "MMFF94 cannot type H2" in metadata["teacher_reason"]
    chunk = SETTINGS.model_dump(mode="json", exclude={"structures"})
    inputs = {"molecule": [prepared["path"]]}
    request = Request(root, root, "sample", "b" * 64, chunk, 0, key={"chunk": 0}, inputs=inputs)
    made = sample(request.to_json())
    assert open_part(Path(str(made["path"]))).metadata["tiers_left_out"] == ["clash"]
