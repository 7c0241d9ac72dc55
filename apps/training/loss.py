r"""The loss: distances between predicted and label forces, and energies, robust to wild labels.

.. math::
    L = w_F \frac{1}{n} \sum_i \frac{|F_i - \hat F_i|_2}{1 + |\hat F_i|/F_0}
      + w_E \frac{1}{S} \sum_s \frac{|E_s - \hat E_s|}{1 + |\hat E_s|/E_0}

over the n atoms and S structures of a batch; :math:`\hat E` is the label without the shift. A sum
over what one rank holds, divided by the counts of the whole batch, adds up over ranks however
unevenly the batch was dealt.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from apps.potential.evaluate import energies_and_forces, total_energies
from apps.potential.protocol import Potential
from apps.training.labelled_set import LabelledSet
from apps.training.settings import TrainingSettings

__all__ = ["LossWeights", "loss_sums"]


@dataclass(frozen=True)
class LossWeights:
    """Weights and robust scales, as in `TrainingSettings`."""

    force: float
    energy: float
    force_robust_eV_per_A: float | None = None
    energy_robust_eV: float | None = None

    @staticmethod
    def of(settings: TrainingSettings) -> LossWeights:
        """Weights that settings ask for."""
        return LossWeights(
            settings.force_weight,
            settings.energy_weight,
            settings.force_robust_eV_per_A,
            settings.energy_robust_eV,
        )


def _tempered(error: Tensor, label_size: Tensor, half_at: float | None) -> Tensor:
    return error if half_at is None else error / (1.0 + label_size / half_at)


def loss_sums(
    potential: Potential, chosen: LabelledSet, weights: LossWeights
) -> tuple[Tensor, Tensor]:
    """Sums over atoms of the force loss and over structures of the energy loss, unweighted.

    Returns
    -------
    force_sum, energy_sum : Tensor, shape ()
        Differentiable in the parameters; padding contributes nothing.
    """
    batch = chosen.batch
    energies, of_atoms = energies_and_forces(potential, batch, create_graph=True)
    forces = chosen.by_structure(of_atoms)
    shift = total_energies(potential, batch, torch.zeros_like(energies))
    labels = (chosen.energies - shift).to(energies.dtype)
    force_error = torch.linalg.vector_norm(forces - chosen.forces, dim=-1)
    label_force = torch.linalg.vector_norm(chosen.forces, dim=-1)
    per_atom = _tempered(force_error, label_force, weights.force_robust_eV_per_A)
    per_structure = _tempered((energies - labels).abs(), labels.abs(), weights.energy_robust_eV)
    return per_atom.sum(), per_structure.sum()
