"""The one unit system inside: eV, Å, fs, amu, e, K.

Constants are CODATA 2018 (Tiesinga et al., Rev. Mod. Phys. 93, 025010, 2021,
doi:10.1103/RevModPhys.93.025010); those that the SI fixes are exact. Conversions happen in the
adapters of foreign codes and nowhere else. A foreign code may use an older CODATA set (PySCF 2.x:
2014 for the Hartree); converting its numbers with ours keeps one definition of each unit here, at a
relative difference below 1e-7.
"""

from __future__ import annotations

from data_store.elements import COVALENT_RADII_A, NUMBERS, SYMBOLS, ATOMIC_MASSES_amu

__all__ = [
    "BOHR_A",
    "COVALENT_RADII_A",
    "ELEMENTARY_CHARGE_C",
    "NUMBERS",
    "SYMBOLS",
    "AMU_A2_PER_FS2_eV",
    "AMU_PER_A3_g_per_cm3",
    "ATOMIC_MASSES_amu",
    "BOLTZMANN_eV_PER_K",
    "HARTREE_eV",
    "KCAL_PER_MOL_eV",
    "KJ_PER_MOL_eV",
]

ELEMENTARY_CHARGE_C = 1.602176634e-19
"""Exact (SI 2019)."""

_BOLTZMANN_J_PER_K = 1.380649e-23  # exact (SI 2019)
_AVOGADRO_PER_MOL = 6.02214076e23  # exact (SI 2019)
_AMU_KG = 1.66053906660e-27  # CODATA 2018, relative uncertainty 3e-10

BOLTZMANN_eV_PER_K = _BOLTZMANN_J_PER_K / ELEMENTARY_CHARGE_C
"""k_B in eV/K."""

HARTREE_eV = 27.211386245988
"""CODATA 2018, uncertainty 5.3e-11 eV."""

BOHR_A = 0.529177210903
"""CODATA 2018, uncertainty 8e-11 Å."""

KJ_PER_MOL_eV = 1000.0 / (_AVOGADRO_PER_MOL * ELEMENTARY_CHARGE_C)
"""1 kJ/mol in eV."""

KCAL_PER_MOL_eV = 4.184 * KJ_PER_MOL_eV
"""1 kcal/mol (thermochemical calorie) in eV."""

AMU_A2_PER_FS2_eV = _AMU_KG * 1e10 / ELEMENTARY_CHARGE_C
"""1 amu Å²/fs² in eV: kinetic energies are m v² / 2 times this; accelerations F / m over this."""

AMU_PER_A3_g_per_cm3 = _AMU_KG * 1e27
"""1 amu/Å³ in g/cm³."""
