"""Molecules from MDL files, and radicals from geometries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDepictor

from apps.sampling.molecule import (
    molecule_from_mol,
    molecule_from_smiles,
    molecule_from_xyz,
    to_rdkit,
)
from data_store.errors import InputError
from data_store.molecules import Molecule


def canonical(molecule: Molecule) -> str:
    return str(Chem.MolToSmiles(Chem.RemoveHs(to_rdkit(molecule))))


def write(path: Path, molecule: Molecule) -> Path:
    path.write_text(Chem.MolToMolBlock(to_rdkit(molecule)))
    return path


def xyz_of(path: Path, molecule: Molecule) -> Path:
    rows = [
        f"{symbol} " + " ".join(f"{value:.6f}" for value in x)
        for symbol, x in zip(molecule.symbols, molecule.reference_positions, strict=True)
    ]
    path.write_text("\n".join([str(len(rows)), "", *rows, ""]))
    return path


@pytest.mark.parametrize("smiles", ["CO", "CC(=O)[O-]", "C[NH3+]", "c1ccccc1", "O[O]", "C#N"])
@pytest.mark.parametrize("suffix", ["mol", "sdf"])
def test_a_mol_file_is_read_as_it_was_written(smiles: str, suffix: str, tmp_path: Path) -> None:
    written = molecule_from_smiles(smiles)
    path = write(tmp_path / f"m.{suffix}", written)
    if suffix == "sdf":
        path.write_text(path.read_text() + ">  <note>\nfrom elsewhere\n\n$$$$\n")
    read = molecule_from_mol(path, name="m")
    assert read.numbers == written.numbers
    assert read.bonds == written.bonds
    assert (read.charge, read.multiplicity) == (written.charge, written.multiplicity)
    np.testing.assert_allclose(read.reference_positions, written.reference_positions, atol=1e-4)


def test_hydrogens_that_lack_are_added_and_a_flat_drawing_gets_a_geometry(tmp_path: Path) -> None:
    flat = Chem.MolFromSmiles("CC(=O)O")
    rdDepictor.Compute2DCoords(flat)
    (tmp_path / "flat.mol").write_text(Chem.MolToMolBlock(flat))
    read = molecule_from_mol(tmp_path / "flat.mol")
    assert read.formula == "C2H4O2"
    x = read.reference_positions
    assert np.linalg.svd(x - x.mean(0), compute_uv=False)[2] > 0.3, "still flat"
    again = molecule_from_mol(tmp_path / "flat.mol")
    np.testing.assert_array_equal(again.reference_positions, x)


def test_hydrogens_are_added_to_a_geometry_that_stays(tmp_path: Path) -> None:
    heavy = Chem.RemoveHs(to_rdkit(molecule_from_smiles("CCO")))
    (tmp_path / "heavy.mol").write_text(Chem.MolToMolBlock(heavy))
    read = molecule_from_mol(tmp_path / "heavy.mol")
    assert read.formula == "C2H6O"
    np.testing.assert_allclose(
        read.reference_positions[:3], heavy.GetConformer().GetPositions(), atol=1e-4
    )


def test_mol_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    good = write(tmp_path / "good.mol", molecule_from_smiles("CO"))
    (tmp_path / "two.sdf").write_text(2 * (good.read_text() + "$$$$\n"))
    (tmp_path / "bad.mol").write_text("no molecule\n")
    apart = Chem.AddHs(Chem.MolFromSmiles("O.O"))
    (tmp_path / "apart.mol").write_text(Chem.MolToMolBlock(apart))
    for name, message in (
        ("two.sdf", "several molecules"), ("apart.mol", "several molecules"),
        ("bad.mol", "cannot read this"), ("gone.mol", "cannot read the molecule"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            molecule_from_mol(tmp_path / name)
    with pytest.raises(InputError, match=r"system\.charge = 1, but .* has charge 0"):
        molecule_from_mol(good, charge=1)
    assert molecule_from_mol(good, charge=0).charge == 0


@pytest.mark.parametrize(
    ("smiles", "multiplicity"), [("[OH]", None), ("O[O]", None), ("C[CH]C", None), ("C[CH]C", 2)]
)
def test_radicals_can_come_as_geometries(
    smiles: str, multiplicity: int | None, tmp_path: Path
) -> None:
    radical = molecule_from_smiles(smiles)
    path = xyz_of(tmp_path / "radical.xyz", radical)
    read = molecule_from_xyz(path, multiplicity=multiplicity)
    assert read.multiplicity == 2
    assert read.charge == 0
    assert canonical(read) == canonical(radical)


@pytest.mark.parametrize("smiles", ["c1ccccc1[O]", "[N]=O"])
def test_a_radical_whose_bonds_are_not_found_is_refused(smiles: str, tmp_path: Path) -> None:
    path = xyz_of(tmp_path / "radical.xyz", molecule_from_smiles(smiles))
    with pytest.raises(InputError, match=r"unpaired electrons were found.*|no bonds fit") as caught:
        molecule_from_xyz(path)
    assert "system.smiles or system.mol" in caught.value.hint


@pytest.mark.parametrize(("smiles", "charge"), [("CC(=O)[O-]", -1), ("C[NH3+]", 1), ("CO", 0)])
def test_closed_shells_are_perceived_as_ever(smiles: str, charge: int, tmp_path: Path) -> None:
    molecule = molecule_from_smiles(smiles)
    read = molecule_from_xyz(xyz_of(tmp_path / "m.xyz", molecule), charge=charge)
    assert canonical(read) == canonical(molecule)
    with pytest.raises(InputError, match="no bonds fit"):
        molecule_from_xyz(tmp_path / "m.xyz", charge=charge + 2)
