r"""The screened repulsion of nuclei of Ziegler, Biersack and Littmark, switched off before bonds.

"The Stopping and Range of Ions in Solids" (Pergamon 1985; doi:10.1007/978-3-642-68779-2_5):

.. math::
    V(r) &= \frac{e^2}{4 \pi \varepsilon_0} \frac{Z_i Z_j}{r} \, \phi(r / a), \qquad
    a = \frac{0.8854 \, a_0}{Z_i^{0.23} + Z_j^{0.23}} \\
    \phi(x) &= 0.18175 e^{-3.19980 x} + 0.50986 e^{-0.94229 x}
             + 0.28022 e^{-0.40290 x} + 0.02817 e^{-0.20162 x}

It holds for atoms that collide, not for molecules: at the length of a bond it is still 2 to 14 eV.
A quintic step therefore takes it to zero, with slope and curvature, between half of the outer
radius and the outer radius. That is 0.8 of the sum of covalent radii (Cordero et al. 2008), and not
below 0.7 Å: no bond is shorter than the 0.74 Å of H₂, and the radii of two hydrogens would let them
come as near as 0.5 Å. Single, aromatic and double bonds at equilibrium feel nothing; triple ones,
shortest for their radii, feel at most 0.04 eV (N₂). It is a wall against collisions, no more: bonds
that are stretched do not feel it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from apps.potential.batch import AnyBatch, DenseBatch, GraphBatch, PairBatch, TableBatch
from apps.potential.radial import quintic_envelope
from apps.potential.tables import numbers_of_neighbours, pair_vectors
from data_store.units import BOHR_A, COVALENT_RADII_A, HARTREE_eV

__all__ = ["ZBL"]

COULOMB_eV_A = HARTREE_eV * BOHR_A
"""e²/4πε₀ in eV Å."""

SCREENING_A = 0.8854 * BOHR_A
"""Screening length of a pair times its sum of powers of Z, in Å."""

TERMS = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))
"""Coefficient and decay of each exponential of the screening function."""

OUTER = 0.8
"""Outer radius over the sum of covalent radii."""

LEAST_OUTER_A = 0.7
"""Smallest outer radius, in Å: the shortest bond of all is 0.74 Å."""

_APART_A = 10.0
"""Stands for the distance where there is no pair; beyond every outer radius."""


class ZBL(nn.Module):
    """Energy term without parameters, for structures of any elements."""

    radii_pm: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Whole picometres, in which the table is exact: a change of precision leaves them alone.
        radii = np.rint(100.0 * np.nan_to_num(COVALENT_RADII_A)).astype(np.int64)
        self.register_buffer("radii_pm", torch.from_numpy(radii), persistent=False)

    def forward(self, batch: AnyBatch, dtype: torch.dtype) -> Tensor:
        """Energies in eV, differentiable in positions; shape (structures,)."""
        if isinstance(batch, DenseBatch):
            return self._dense(batch, dtype)
        if isinstance(batch, TableBatch):
            return self._tabled(batch, dtype)
        if isinstance(batch, PairBatch):
            return self._once(batch, dtype)
        return self._listed(batch, dtype)

    def reach_A(self, numbers: Iterable[int]) -> float:
        """Largest outer radius of a pair of these elements, in Å."""
        widest = torch.tensor(max(numbers, key=lambda z: int(self.radii_pm[z])))
        return float(self.outer_A(widest, widest, torch.float64))

    def outer_A(self, centre: Tensor, neighbour: Tensor, dtype: torch.dtype) -> Tensor:
        """Distance beyond which a pair feels nothing, in Å, by atomic numbers."""
        sums = self.radii_pm[centre] + self.radii_pm[neighbour]
        return (sums.to(dtype) * (0.01 * OUTER)).clamp(min=LEAST_OUTER_A)

    def pair_energy(self, centre: Tensor, neighbour: Tensor, distances_A: Tensor) -> Tensor:
        """Energy of pairs in eV, by atomic numbers (0: none) and distances."""
        dtype = distances_A.dtype
        z, other = centre.to(dtype), neighbour.to(dtype)
        x = distances_A * ((z**0.23 + other**0.23) / SCREENING_A)
        screening = torch.stack([c * torch.exp(-d * x) for c, d in TERMS]).sum(0)
        outer = self.outer_A(centre, neighbour, dtype)
        step = quintic_envelope((2.0 * distances_A / outer - 1.0).clamp(min=0.0))
        return (COULOMB_eV_A * z * other) * screening * step / distances_A

    def _dense(self, batch: DenseBatch, dtype: torch.dtype) -> Tensor:
        x, numbers = batch.positions, batch.numbers
        vectors = (x.unsqueeze(1) - x.unsqueeze(2)).to(dtype)
        centre, neighbour = numbers.unsqueeze(2), numbers.unsqueeze(1)
        itself = torch.eye(numbers.shape[1], dtype=torch.bool, device=x.device)
        absent = itself | (centre == 0) | (neighbour == 0)
        squared = (vectors * vectors).sum(-1).masked_fill(absent, _APART_A**2)
        return 0.5 * self.pair_energy(centre, neighbour, torch.sqrt(squared)).sum((1, 2))

    def _tabled(self, batch: TableBatch, dtype: torch.dtype) -> Tensor:
        vectors = pair_vectors(batch, dtype)
        squared = (vectors * vectors).sum(-1).masked_fill(~batch.used, _APART_A**2)
        centre, neighbour = batch.numbers.unsqueeze(2), numbers_of_neighbours(batch)
        return 0.5 * self.pair_energy(centre, neighbour, torch.sqrt(squared)).sum((1, 2))

    def _once(self, batch: PairBatch, dtype: torch.dtype) -> Tensor:
        rows = torch.arange(len(batch.pairs), device=batch.pairs.device).unsqueeze(1)
        i, j = batch.pairs.unbind(-1)
        vectors = (batch.positions[rows, j] + batch.shifts - batch.positions[rows, i]).to(dtype)
        distances = torch.sqrt((vectors * vectors).sum(-1))
        return self.pair_energy(batch.numbers[rows, i], batch.numbers[rows, j], distances).sum(1)

    def _listed(self, batch: GraphBatch, dtype: torch.dtype) -> Tensor:
        x, (centre, neighbour) = batch.positions, batch.pairs
        vectors = (x[neighbour] + batch.shifts - x[centre]).to(dtype)
        distances = torch.sqrt((vectors * vectors).sum(-1))
        energies = self.pair_energy(batch.numbers[centre], batch.numbers[neighbour], distances)
        total = energies.new_zeros(batch.n_structures)
        return 0.5 * total.index_add(0, batch.structure[centre], energies)
