"""Accuracy: mean absolute errors of a potential on labelled structures."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from apps.potential.evaluate import energies_and_forces, total_energies
from apps.potential.protocol import Potential
from apps.training.distributed import World
from apps.training.labelled_set import LabelledSet

__all__ = ["Accuracy", "accuracy", "predict", "shared_accuracy"]


@dataclass(frozen=True)
class Accuracy:
    """Mean absolute errors.

    Parameters
    ----------
    force_mae_eV_per_A : float
        Over all Cartesian components.
    energy_mae_meV_per_atom : float
        Of total energies.
    structures : int
    """

    force_mae_eV_per_A: float
    energy_mae_meV_per_atom: float
    structures: int

    def to_json(self) -> dict[str, float]:
        """Plain data."""
        return asdict(self)


def predict(potential: Potential, labelled: LabelledSet) -> tuple[Tensor, Tensor]:
    """Total energies (S,) in eV, float64, and forces (S, N, 3) in eV/Å."""
    energies, forces = [], []
    most = labelled.most_at_once
    for start in range(0, len(labelled), most):
        some = labelled.take(torch.arange(start, min(start + most, len(labelled))))
        batch = some.batch
        network, found = energies_and_forces(potential, batch)
        energies.append(total_energies(potential, batch, network))
        forces.append(some.by_structure(found))
    return torch.cat(energies), torch.cat(forces)


def accuracy(potential: Potential, labelled: LabelledSet) -> Accuracy:
    """Errors of a potential on labelled structures."""
    energies, forces = predict(potential, labelled)
    real = labelled.numbers > 0
    force_error = (forces - labelled.forces).abs()[real].mean()
    per_atom = (energies - labelled.energies).abs() / real.sum(-1)
    return Accuracy(float(force_error), 1000.0 * float(per_atom.mean()), len(labelled))


def shared_accuracy(potential: Potential, labelled: LabelledSet, world: World) -> Accuracy:
    """The same, each rank of a world looking at its share; every rank gets all ranks' result.

    Differs from that of one rank by rounding.

    Raises
    ------
    LostError
        If another rank is gone.
    """
    if world.size == 1:
        return accuracy(potential, labelled)
    sums = torch.zeros(2, dtype=torch.float64, device=world.device)
    mine = labelled.take(torch.arange(world.rank, len(labelled), world.size))
    if len(mine):
        found = accuracy(potential, mine)
        sums[0] = found.force_mae_eV_per_A * float(mine.atoms)
        sums[1] = found.energy_mae_meV_per_atom * len(mine)
    world.sum_(sums)
    force, energy = sums.tolist()
    return Accuracy(force / float(labelled.atoms), energy / len(labelled), len(labelled))
