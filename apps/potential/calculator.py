"""ASE calculator of any potential: for everything that ASE does with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import ase
import numpy as np
import torch
from ase.calculators.calculator import Calculator, all_changes

from apps.potential.batch import Batch, DenseBatch
from apps.potential.evaluate import energies_and_forces, total_energies
from apps.potential.neighbors import graph_batch
from apps.potential.protocol import Potential
from apps.potential.weights import load_potential

__all__ = ["CampaignCalculator"]

_DENSE_ATOMS = 64
"""Up to here all pairs of an isolated molecule are less work than a neighbour list."""


class CampaignCalculator(Calculator):
    """Energy (eV) and forces (eV/Å) by a potential.

    Parameters
    ----------
    potential : Potential or Path
        Or the weights file of one.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces"]

    def __init__(self, potential: Potential | Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        loaded = load_potential(potential) if isinstance(potential, Path) else potential
        self.potential = loaded.requires_grad_(False)

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """See ASE.

        Raises
        ------
        InputError
            If the atoms hold an element that the potential does not know.
        """
        super().calculate(atoms, properties, system_changes)
        batch = _batch_of(self.atoms, self.potential.cutoff_A)
        self.potential.check_species(batch.numbers)
        network, forces = energies_and_forces(self.potential, batch)
        energy = float(total_energies(self.potential, batch, network)[0])
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": forces.reshape(-1, 3).numpy().astype(np.float64),
        }


def _batch_of(atoms: ase.Atoms, cutoff_A: float) -> Batch:
    if not atoms.pbc.any() and len(atoms) <= _DENSE_ATOMS:
        return DenseBatch(
            torch.from_numpy(atoms.numbers.astype(np.int64)).unsqueeze(0),
            torch.from_numpy(atoms.positions.copy()).unsqueeze(0),
        )
    cell = np.asarray(atoms.cell)
    return graph_batch([atoms.numbers], [atoms.positions], [cell], [atoms.pbc], cutoff_A)
