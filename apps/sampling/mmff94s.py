"""MMFF94s as a teacher: MMFF94 with flatter delocalised nitrogen, as in time-averaged structures.

MMFF94s: Halgren 1999, J. Comput. Chem. 20, 720,
doi:10.1002/(SICI)1096-987X(199905)20:7<720::AID-JCC7>3.0.CO;2-X. It differs in out-of-plane and
torsion parameters alone: atom types, and so the molecules it knows, are those of MMFF94.
"""

from __future__ import annotations

from apps.sampling.mmff94 import MMFF94

__all__ = ["MMFF94s"]


class MMFF94s(MMFF94):
    """MMFF94s bound to a molecule.

    Parameters
    ----------
    molecule : Molecule
        One that it can type (`apps.sampling.mmff94.untyped_atoms`).
    """

    name = "mmff94s"
    variant = "MMFF94s"
