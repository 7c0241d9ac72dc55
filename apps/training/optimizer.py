r"""AdamW on one flat vector (Loshchilov and Hutter 2019, arXiv:1711.05101).

.. math::
    m &\leftarrow \beta_1 m + (1 - \beta_1) g, \quad
    v \leftarrow \beta_2 v + (1 - \beta_2) g^2 \\
    w &\leftarrow (1 - \eta\lambda) w
        - \eta \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

All weights of a model are views of one vector (`FlatParameters`), so that a step is a handful of
operations however many layers there are, the all-reduce is one call, and a checkpoint is four
vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["FlatParameters", "adamw_step", "clip_to_norm"]

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class FlatParameters:
    """Put the parameters of a module into one vector, of which they become views.

    Parameters
    ----------
    module : nn.Module
        Its parameters must share one dtype and device.

    Attributes
    ----------
    vector : Tensor, shape (P,)
        Writing into it changes the module.
    parameters : list of nn.Parameter
    """

    def __init__(self, module: nn.Module) -> None:
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.vector = torch.cat([p.detach().reshape(-1) for p in self.parameters])
        start = 0
        for parameter in self.parameters:
            stop = start + parameter.numel()
            parameter.data = self.vector[start:stop].view_as(parameter)
            start = stop

    def gather(self, tensors: Sequence[Tensor], out: Tensor) -> None:
        """Write one tensor per parameter into `out`, shape (P,)."""
        torch.cat([t.reshape(-1) for t in tensors], out=out)


def clip_to_norm(gradient: Tensor, limit: float) -> None:
    """Shorten a gradient (P,) to at most `limit`, in place."""
    norm = torch.linalg.vector_norm(gradient)
    gradient.mul_(torch.clamp(limit / (norm + 1e-6), max=1.0))


def adamw_step(
    weights: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    *,
    step: int,
    learning_rate: float,
    weight_decay: float,
) -> None:
    """One step, in place.

    Parameters
    ----------
    weights, gradient, mean, square : Tensor, shape (P,)
        The last two are the moments of the gradient.
    step : int
        Number of this step; the first is 1.
    learning_rate, weight_decay : float
    """
    mean.lerp_(gradient, 1.0 - BETA_1)
    square.mul_(BETA_2).addcmul_(gradient, gradient, value=1.0 - BETA_2)
    root = (square / (1.0 - BETA_2**step)).sqrt_().add_(EPSILON)
    if weight_decay:
        weights.mul_(1.0 - learning_rate * weight_decay)
    weights.addcdiv_(mean, root, value=-learning_rate / (1.0 - BETA_1**step))
