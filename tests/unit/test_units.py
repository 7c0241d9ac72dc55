"""Our constants against an independent table (ASE's), within what CODATA changed."""

from __future__ import annotations

import ase.data
import ase.units
import numpy as np
import pytest

from data_store import units

CODATA_2018 = ase.units.create_units("2018")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (units.HARTREE_eV, CODATA_2018["Hartree"]),
        (units.BOHR_A, CODATA_2018["Bohr"]),
        (units.KCAL_PER_MOL_eV, CODATA_2018["kcal"] / CODATA_2018["mol"]),
        (units.KJ_PER_MOL_eV, CODATA_2018["kJ"] / CODATA_2018["mol"]),
        (units.BOLTZMANN_eV_PER_K, CODATA_2018["kB"]),
        # ASE's time unit is Å √(amu/eV): 1 amu Å²/fs² in eV is its inverse square in fs.
        (units.AMU_A2_PER_FS2_eV, 1.0 / CODATA_2018["fs"] ** 2),
    ],
)
def test_constants_agree_with_ase(ours: float, theirs: float) -> None:
    assert ours == pytest.approx(theirs, rel=2e-9)


def test_masses_and_symbols_agree_with_ase() -> None:
    masses = np.asarray(units.ATOMIC_MASSES_amu)[1:84]
    np.testing.assert_allclose(masses, ase.data.atomic_masses[1:84], rtol=1e-3)
    assert units.SYMBOLS[1:84] == tuple(ase.data.chemical_symbols[1:84])
    assert all(units.NUMBERS[symbol] == z for z, symbol in enumerate(units.SYMBOLS))


def test_covalent_radii_agree_with_ase() -> None:
    ours = np.asarray(units.COVALENT_RADII_A)[1:84]
    np.testing.assert_allclose(ours, ase.data.covalent_radii[1:84], atol=0.011)
