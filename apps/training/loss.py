r"""The loss: mean force error per atom and mean energy error per structure.

.. math::
    L = \frac{w_F}{A} \sum_i \frac{|\Delta F_i|_2}{1 + |F_i| / F_0}
      + \frac{w_E}{S} \sum_s \frac{|\Delta E_s|}{1 + E_s / E_0}

over the :math:`A` atoms and :math:`S` structures of a batch, :math:`F_i` the labelled force and
:math:`E_s` the labelled energy above the lowest one. Absolute errors, because the teacher's
structures span orders of magnitude; the denominators keep extreme ones from ruling. Sums are given
apart from the counts, so that ranks can divide by those of the whole batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["energy_error_sum", "force_error_sum"]


def force_error_sum(predicted: Tensor, labelled: Tensor, robust_eV_per_A: float | None) -> Tensor:
    """Sum over atoms of the length of the force error, in eV/Å.

    Parameters
    ----------
    predicted, labelled : Tensor, shape (…, 3)
        Equal on padding.
    robust_eV_per_A : float or None
        F0; None weighs all atoms alike.
    """
    errors = torch.linalg.vector_norm(predicted - labelled, dim=-1)
    if robust_eV_per_A is not None:
        errors = errors / (1.0 + torch.linalg.vector_norm(labelled, dim=-1) / robust_eV_per_A)
    return errors.sum()


def energy_error_sum(
    predicted: Tensor, labelled: Tensor, height: Tensor, robust_eV: float | None
) -> Tensor:
    """Sum over structures of the absolute energy error, in eV.

    Parameters
    ----------
    predicted, labelled : Tensor, shape (S,)
        Without the shift.
    height : Tensor, shape (S,)
        Labelled energy above the lowest.
    robust_eV : float or None
        E0; None weighs all structures alike.
    """
    errors = (predicted - labelled).abs()
    if robust_eV is not None:
        errors = errors / (1.0 + height / robust_eV)
    return errors.sum()
