r"""TorchSim model of any potential: for the integrators, optimisers and workflows of that package.

Replicas and other structures are handed over in one batch and listed structure by structure on a
CPU. Long dynamics of one molecule is faster in `apps.dynamics`, which lists nothing.

Stress is that of a symmetric strain :math:`\epsilon` of positions and cell,
:math:`\sigma = V^{-1} \, \partial E / \partial \epsilon`, positive under tension, as in ASE.

TorchSim: Cohen et al. 2025, arXiv:2508.06628. An optional package (extra ``torchsim``).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_sim.models.interface import ModelInterface
from torch_sim.state import SimState

from apps.potential.batch import GraphBatch
from apps.potential.evaluate import total_energies
from apps.potential.neighbors import graph_batch
from apps.potential.protocol import Potential
from apps.potential.weights import load_potential
from data_store.errors import InputError

__all__ = ["CampaignModel"]


class CampaignModel(ModelInterface):
    """Energies (eV), forces (eV/Å) and, on request, stress (eV/Å³).

    Parameters
    ----------
    potential : Potential or Path
        Or the weights file of one. It stays on its device and in its precision; positions and
        energies are in float64 whatever that is.
    compute_stress : bool
        Periodic structures alone have one.
    """

    def __init__(self, potential: Potential | Path, *, compute_stress: bool = False) -> None:
        super().__init__()
        loaded = load_potential(potential) if isinstance(potential, Path) else potential
        self.potential = loaded.requires_grad_(False)
        self._device, self._dtype = loaded.device, torch.float64
        self._compute_stress, self._compute_forces = compute_stress, True
        self._memory_scales_with = "n_atoms_x_density"

    def forward(self, state: SimState | dict[str, Any], **_: Any) -> dict[str, Tensor]:
        """See TorchSim.

        Returns
        -------
        dict of Tensor
            ``energy`` (structures,), ``forces`` (atoms, 3), and ``stress`` (structures, 3, 3).

        Raises
        ------
        InputError
            If the atoms hold an element that the potential does not know, or stress is asked of
            structures that are not periodic.
        """
        if isinstance(state, dict):
            state = SimState(**state, masses=torch.ones_like(state["atomic_numbers"]))
        batch, volumes = self._batch(state)
        self.potential.check_species(batch.numbers)
        with torch.enable_grad():
            positions = batch.positions.detach().requires_grad_(True)
            strain = positions.new_zeros(batch.n_structures, 3, 3).requires_grad_(True)
            strained = _strained(replace(batch, positions=positions), strain)
            network = self.potential.network_energy(strained)
            gradient, virial = torch.autograd.grad(network.sum(), (positions, strain))
        found = {
            "energy": total_energies(self.potential, batch, network.detach()),
            "forces": -gradient,
        }
        return (
            {**found, "stress": virial / volumes[:, None, None]} if self._compute_stress else found
        )

    def _batch(self, state: SimState) -> tuple[GraphBatch, Tensor]:
        """The structures with their neighbours, and their volumes in Å³."""
        periodic = np.broadcast_to(torch.as_tensor(state.pbc).cpu().numpy(), 3)
        if self._compute_stress and not periodic.all():
            raise InputError(
                "stress is asked of structures that are not periodic in all directions",
                "set compute_stress to false",
            )
        counts = torch.bincount(state.system_idx, minlength=state.n_systems).tolist()
        cells = state.row_vector_cell.detach().to("cpu", torch.float64)
        numbers, positions = (
            [part.numpy() for part in tensor.detach().cpu().split(counts)]
            for tensor in (state.atomic_numbers, state.positions)
        )
        batch = graph_batch(
            numbers, positions, list(cells.numpy()), [periodic] * len(counts),
            self.potential.cutoff_A,
        )  # fmt: skip
        tensors: dict[str, Any] = {
            k: v.to(self.device) for k, v in vars(batch).items() if isinstance(v, Tensor)
        }
        return replace(batch, **tensors), torch.linalg.det(cells).abs().to(self.device)


def _strained(batch: GraphBatch, strain: Tensor) -> GraphBatch:
    symmetric = 0.5 * (strain + strain.mT)
    of_pair = batch.structure[batch.pairs[0]]

    def moved(vectors: Tensor, structure: Tensor) -> Tensor:
        return vectors + (vectors.unsqueeze(1) @ symmetric[structure]).squeeze(1)

    return replace(
        batch,
        positions=moved(batch.positions, batch.structure),
        shifts=moved(batch.shifts, of_pair),
    )
