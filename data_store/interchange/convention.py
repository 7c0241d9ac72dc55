"""In which units, and with which sign, a foreign file says its labels; converted here, once.

What came in which unit travels with what is made of it, so that nobody has to guess later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from data_store.errors import unknown_name
from data_store.units import BOHR_A, HARTREE_eV, KCAL_PER_MOL_eV, KJ_PER_MOL_eV

__all__ = ["LABELS", "LENGTH_UNITS_A", "Convention", "ENERGY_UNITS_eV"]

ENERGY_UNITS_eV = {
    "eV": 1.0, "Hartree": HARTREE_eV, "kcal/mol": KCAL_PER_MOL_eV, "kJ/mol": KJ_PER_MOL_eV
}  # fmt: skip
"""By name, in eV."""

LENGTH_UNITS_A = {"Å": 1.0, "A": 1.0, "Bohr": BOHR_A, "nm": 10.0}
"""By name, in Å."""

LABELS = ("forces", "gradients")
"""What a file may hold under the name of forces: gradients are their negative."""


@dataclass(frozen=True)
class Convention:
    """Units of a file.

    Parameters
    ----------
    energy_unit : str
        A name in `ENERGY_UNITS_eV`.
    length_unit : str
        A name in `LENGTH_UNITS_A`.
    labels : {"forces", "gradients"}

    Raises
    ------
    InputError
        If a name is none of these.
    """

    energy_unit: str = "eV"
    length_unit: str = "Å"
    labels: str = "forces"

    def __post_init__(self) -> None:
        for kind, name, valid in (
            ("unit of energy", self.energy_unit, ENERGY_UNITS_eV),
            ("unit of length", self.length_unit, LENGTH_UNITS_A),
            ("kind of labels", self.labels, LABELS),
        ):
            if name not in valid:
                raise unknown_name(kind, name, list(valid))

    @property
    def energy_eV(self) -> float:
        """A unit of energy in eV."""
        return ENERGY_UNITS_eV[self.energy_unit]

    @property
    def length_A(self) -> float:
        """A unit of length in Å."""
        return LENGTH_UNITS_A[self.length_unit]

    @property
    def force_eV_per_A(self) -> float:
        """A unit of what is called forces in eV/Å; negative where those are gradients."""
        size = self.energy_eV / self.length_A
        return size if self.labels == "forces" else -size

    def to_json(self) -> dict[str, Any]:
        """What is recorded: units, and the factors that were multiplied by."""
        return {
            "energy_unit": self.energy_unit,
            "length_unit": self.length_unit,
            "labels": self.labels,
            "energy_eV": self.energy_eV,
            "length_A": self.length_A,
            "force_eV_per_A": self.force_eV_per_A,
        }
