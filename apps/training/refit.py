r"""Hand-over to new labels: fit the shift per element, and the scale, in float64.

The force field's zero of energy and the ab initio one differ by thousands of eV: the shift takes
that up, outside the network, by least squares of :math:`E - E_\mathrm{net}` on the counts of
elements (of least norm where compositions do not tell elements apart). The scale of a pre-trained
model is multiplied by the least-squares coefficient of label forces on its own forces,
:math:`\sum F \cdot \hat F / \sum F \cdot F`, where what remains of either at scale 0, the forces of
a prior, is taken off before. Both are logged with the model.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from apps.potential.protocol import Potential
from apps.training.accuracy import predict
from apps.training.labelled_set import LabelledSet

__all__ = ["Refit", "force_rms", "refit"]


@dataclass(frozen=True)
class Refit:
    """What was fitted.

    Parameters
    ----------
    scale_before, scale_after : float
        In eV.
    shift_eV : dict of str to float
        By atomic number.
    """

    scale_before: float
    scale_after: float
    shift_eV: dict[str, float]

    def to_json(self) -> dict[str, object]:
        """Plain data."""
        return asdict(self)


def force_rms(labelled: LabelledSet) -> float:
    """Root mean square of label force components: the scale of a fresh network, in eV."""
    return float(labelled.forces[labelled.numbers > 0].square().mean().sqrt())


def refit(potential: Potential, labelled: LabelledSet, scale_to: float | None) -> Refit:
    """Fit scale and shift to labels, in place.

    Parameters
    ----------
    potential : Potential
    labelled : LabelledSet
        Training labels.
    scale_to : float or None
        Scale to set (fresh networks; ablations); None: multiply it by the force coefficient.
    """
    before = float(potential.scale)
    scale = before * _force_coefficient(potential, labelled) if scale_to is None else scale_to
    potential.scale.fill_(scale)
    potential.shift_eV.zero_()
    energies, _ = predict(potential, labelled)
    species = torch.tensor(potential.species, device=energies.device)
    counts = (labelled.numbers.unsqueeze(-1) == species).sum(1).to(torch.float64)
    # gelsd, unlike the default driver, gives the solution of least norm when rank is lacking.
    fitted = torch.linalg.lstsq(
        counts.cpu(), (labelled.energies - energies).unsqueeze(-1).cpu(), driver="gelsd"
    ).solution[:, 0]
    potential.shift_eV[species] = fitted.to(energies.device)
    shift = {str(z): float(e) for z, e in zip(potential.species, fitted, strict=True)}
    return Refit(before, float(potential.scale), shift)


def _force_coefficient(potential: Potential, labelled: LabelledSet) -> float:
    prior = _forces_at_scale(0.0, potential, labelled)
    predicted = _forces_at_scale(float(potential.scale), potential, labelled) - prior
    label = labelled.forces[labelled.numbers > 0].double() - prior
    coefficient: Tensor = (predicted * label).sum() / (predicted * predicted).sum()
    return float(coefficient)


def _forces_at_scale(scale: float, potential: Potential, labelled: LabelledSet) -> Tensor:
    """Forces of real atoms, in float64, as the potential has them at that scale."""
    kept = potential.scale.clone()
    potential.scale.fill_(scale)
    _, forces = predict(potential, labelled)
    potential.scale.copy_(kept)
    return forces[labelled.numbers > 0].double()
