r"""Constants of Morse bonds and harmonic angles, each with its source; nothing is evaluated here.

Diatomics: :math:`r_e, \omega_e, \omega_e x_e, D_0` of the ground states from Huber and Herzberg
1979, doi:10.1007/978-1-4757-0961-2. A Morse curve of that curvature has
:math:`D_e = D_0 + \omega_e/2 - \omega_e x_e/4` and :math:`a = \omega_e \sqrt{\mu / 2 D_e}`.

H2O, HO2, H2O2. Shapes: H2O, Benedict, Gailar and Plyler 1956, doi:10.1063/1.1742731; HO2, Fink and
Ramsay 1997, J. Mol. Spectrosc. 185, 304; H2O2, Koput 1986, J. Mol. Spectrosc. 115, 438.
Depths: the energy of breaking that bond into ground states, D0 by enthalpies of formation at 0 K
(kJ/mol: H 216.03, O 246.79, OH 37.25, H2O −238.92, HO2 15.2, H2O2 −129.5; evaluated by Burgess
2016, doi:10.6028/jres.121.005, and the Active Thermochemical Tables; good to 0.02 eV here), and
half the fundamentals as energies of the zero point. The second bond of a molecule has the depth of
the first, so that energies of complete atomisation are not the real ones.
Force constants are ours: fitted to the fundamentals below, which the harmonic model gives back to
0.1 % (HO2), 0.7 % (H2O) and 2.5 % (H2O2, without its torsion, for which there is no term).
Fundamentals in 1/cm: H2O 1595, 3657, 3756 and H2O2 877, 1266, 1402, 3599, 3608 (Shimanouchi 1972,
NSRDS-NBS 39); HO2 1098, 1392 (Jacox, NIST Chemistry WebBook), 3436 (Yamada, Endo and Hirota 1983,
J. Chem. Phys. 78, 4379).

Van der Waals constants: those of UFF, Rappé et al. 1992, doi:10.1021/ja00051a040.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_store.units import NUMBERS, AMU_A2_PER_FS2_eV, ATOMIC_MASSES_amu

__all__ = [
    "ANGLES",
    "CURVES",
    "VAN_DER_WAALS",
    "ABOVE_ATOMS_eV",
    "Angle",
    "Curve",
    "FUNDAMENTALS_per_cm",
]

_PER_CM_eV = 1.0 / 8065.543937
"""CODATA 2018."""

_LIGHT_cm_PER_fs = 2.99792458e-5


@dataclass(frozen=True)
class Curve:
    """A Morse curve.

    Parameters
    ----------
    length_A : float
        r_e.
    depth_eV : float
        D_e.
    width_per_A : float
        a.
    """

    length_A: float
    depth_eV: float
    width_per_A: float


@dataclass(frozen=True)
class Angle:
    """A harmonic angle.

    Parameters
    ----------
    degrees : float
        θ₀.
    stiffness_eV : float
        k in k/2 (θ − θ₀)², per radian².
    """

    degrees: float
    stiffness_eV: float


def _diatomic(
    symbols: tuple[str, str], length_A: float, per_cm: float, anharmonic_per_cm: float, D0_eV: float
) -> Curve:
    masses = [float(ATOMIC_MASSES_amu[NUMBERS[symbol]]) for symbol in symbols]
    reduced = masses[0] * masses[1] / sum(masses)
    depth = D0_eV + (0.5 * per_cm - 0.25 * anharmonic_per_cm) * _PER_CM_eV
    stiffness = reduced * (2.0 * np.pi * _LIGHT_cm_PER_fs * per_cm) ** 2 * AMU_A2_PER_FS2_eV
    return _curve(length_A, depth, float(stiffness))


def _curve(length_A: float, depth_eV: float, stiffness_eV_per_A2: float) -> Curve:
    return Curve(length_A, depth_eV, float(np.sqrt(0.5 * stiffness_eV_per_A2 / depth_eV)))


CURVES: dict[str, dict[tuple[str, str], Curve]] = {
    "H2": {("H", "H"): _diatomic(("H", "H"), 0.74144, 4401.21, 121.34, 4.47813)},
    "N2": {("N", "N"): _diatomic(("N", "N"), 1.09768, 2358.57, 14.324, 9.7594)},
    "O2": {("O", "O"): _diatomic(("O", "O"), 1.20752, 1580.19, 11.98, 5.1156)},
    "F2": {("F", "F"): _diatomic(("F", "F"), 1.41193, 916.64, 11.236, 1.602)},
    "Cl2": {("Cl", "Cl"): _diatomic(("Cl", "Cl"), 1.9879, 559.7, 2.675, 2.47936)},
    "CO": {("C", "O"): _diatomic(("C", "O"), 1.128323, 2169.814, 13.288, 11.09)},
    "NO": {("N", "O"): _diatomic(("N", "O"), 1.15077, 1904.20, 14.075, 6.4968)},
    "FH": {("F", "H"): _diatomic(("F", "H"), 0.916808, 4138.32, 89.88, 5.869)},
    "ClH": {("Cl", "H"): _diatomic(("Cl", "H"), 1.274552, 2990.946, 52.819, 4.4336)},
    "HO": {("H", "O"): _diatomic(("H", "O"), 0.96966, 3737.761, 84.881, 4.392)},
    "H2O": {("H", "O"): _curve(0.9572, 5.43, 47.88)},
    "HO2": {("H", "O"): _curve(0.9775, 2.35, 41.148), ("O", "O"): _curve(1.3338, 2.92, 38.489)},
    "H2O2": {("H", "O"): _curve(0.965, 4.06, 45.265), ("O", "O"): _curve(1.464, 2.34, 25.115)},
}
"""Of each species (formula in Hill order), by the symbols of the bond's ends, sorted."""

ANGLES = {
    "H2O": Angle(104.52, 4.021),
    "HO2": Angle(104.16, 5.654),
    "H2O2": Angle(99.4, 5.295),
}
"""The one kind of angle of each species that has any."""

_DEPTHS = {
    formula: {ends: curve.depth_eV for ends, curve in curves.items()}
    for formula, curves in CURVES.items()
}

ABOVE_ATOMS_eV = {
    **{formula: -sum(depths.values()) for formula, depths in _DEPTHS.items()},
    "H2O": -_DEPTHS["H2O"]["H", "O"] - _DEPTHS["HO"]["H", "O"],
    "HO2": -_DEPTHS["HO2"]["H", "O"] - _DEPTHS["O2"]["O", "O"],
    "H2O2": -_DEPTHS["H2O2"]["O", "O"] - 2.0 * _DEPTHS["HO"]["H", "O"],
}
"""Energy of each species at rest above its free atoms, bond by bond: the first breaks by the curve
of the molecule, what is left by its own."""

FUNDAMENTALS_per_cm = {
    "H2O": (1595.0, 3657.0, 3756.0),
    "HO2": (1098.0, 1392.0, 3436.0),
    "H2O2": (877.0, 1266.0, 1402.0, 3599.0, 3608.0),
}
"""What the force constants were fitted to."""

VAN_DER_WAALS = {
    "H": (2.886, 0.044),
    "C": (3.851, 0.105),
    "N": (3.660, 0.069),
    "O": (3.500, 0.060),
    "F": (3.364, 0.050),
    "Cl": (3.947, 0.227),
}
"""Distance of the minimum in Å and depth in kcal/mol, by symbol: free atoms that are known, too."""
