r"""Hand-over to new labels: fit the shift per element, and the scale, in float64.

The force field's zero of energy and the ab initio one differ by thousands of eV: the shift takes
that up, outside the network, by least squares of :math:`E - E_\mathrm{net}` on the counts of
elements (of least norm where compositions do not tell elements apart). The scale of a pre-trained
model is multiplied by the least-squares coefficient of label forces on its own forces,
:math:`\sum F \cdot \hat F / \sum F \cdot F`, where what remains of either at scale 0, the forces of
a prior, is taken off before. Both are logged with the model.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from apps.potential.protocol import Potential
from apps.training.accuracy import predict
from apps.training.labelled_set import LabelledSet

__all__ = ["Refit", "force_rms", "force_rms_of_blocks", "refit", "refit_in_blocks"]


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
    scale = scale_to
    if scale is None:
        on_label, on_itself = _force_products(potential, labelled)
        scale = before * float(on_label / on_itself)
    potential.scale.fill_(scale)
    potential.shift_eV.zero_()
    return _shifted(potential, before, *_counts_and_rest(potential, labelled))


def refit_in_blocks(
    potential: Potential, blocks: Callable[[], Iterable[LabelledSet]], scale_to: float | None
) -> Refit:
    """The same of labels that come in blocks, as often as asked for; up to rounding.

    Structures of one composition count as their mean, by the square root of their number: the
    same least squares.
    """
    before = float(potential.scale)
    scale = scale_to
    if scale is None:
        products = [torch.stack(_force_products(potential, block)) for block in blocks()]
        on_label, on_itself = torch.stack(products).sum(0).tolist()
        scale = before * on_label / on_itself
    potential.scale.fill_(scale)
    potential.shift_eV.zero_()
    structures: dict[tuple[float, ...], int] = defaultdict(int)
    rest_eV: dict[tuple[float, ...], float] = defaultdict(float)
    for block in blocks():
        counts, rest = _counts_and_rest(potential, block)
        kinds, kind_of = counts.unique(dim=0, return_inverse=True)
        sums = torch.zeros(len(kinds), dtype=torch.float64).index_add_(0, kind_of, rest)
        for kind, number, total in zip(kinds, kind_of.bincount(), sums, strict=True):
            structures[tuple(kind.tolist())] += int(number)
            rest_eV[tuple(kind.tolist())] += float(total)
    weights = torch.tensor(list(structures.values()), dtype=torch.float64).sqrt()
    kinds = torch.tensor(list(structures), dtype=torch.float64)
    rest = torch.tensor([rest_eV[kind] for kind in structures], dtype=torch.float64)
    return _shifted(potential, before, kinds * weights[:, None], rest / weights)


def force_rms_of_blocks(blocks: Iterable[LabelledSet]) -> float:
    """`force_rms` of labels that come in blocks, up to rounding."""
    sums = [(float(b.forces.double().square().sum()), 3 * int(b.atoms)) for b in blocks]
    return math.sqrt(sum(s for s, _ in sums) / sum(n for _, n in sums))


def _counts_and_rest(potential: Potential, labelled: LabelledSet) -> tuple[Tensor, Tensor]:
    """Atoms of each element in each structure, and energy that the network leaves, in float64."""
    energies, _ = predict(potential, labelled)
    species = torch.tensor(potential.species, device=energies.device)
    counts = (labelled.numbers.unsqueeze(-1) == species).sum(1).to(torch.float64)
    return counts.cpu(), (labelled.energies - energies).cpu()


def _shifted(potential: Potential, scale_before: float, counts: Tensor, rest: Tensor) -> Refit:
    # gelsd, unlike the default driver, gives the solution of least norm when rank is lacking.
    fitted = torch.linalg.lstsq(counts, rest.unsqueeze(-1), driver="gelsd").solution[:, 0]
    species = torch.tensor(potential.species, device=potential.shift_eV.device)
    potential.shift_eV[species] = fitted.to(species.device)
    shift = {str(z): float(e) for z, e in zip(potential.species, fitted, strict=True)}
    return Refit(scale_before, float(potential.scale), shift)


def _force_products(potential: Potential, labelled: LabelledSet) -> tuple[Tensor, Tensor]:
    """Products of the network's forces with what labels leave beside the prior, and itself."""
    prior = _forces_at_scale(0.0, potential, labelled)
    predicted = _forces_at_scale(float(potential.scale), potential, labelled) - prior
    label = labelled.forces[labelled.numbers > 0].double() - prior
    return (predicted * label).sum(), (predicted * predicted).sum()


def _forces_at_scale(scale: float, potential: Potential, labelled: LabelledSet) -> Tensor:
    """Forces of real atoms, in float64, as the potential has them at that scale."""
    kept = potential.scale.clone()
    potential.scale.fill_(scale)
    _, forces = predict(potential, labelled)
    potential.scale.copy_(kept)
    return forces[labelled.numbers > 0].double()
