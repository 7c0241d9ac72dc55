"""Radial functions: how a pair's distance enters a network, and how it leaves it at the cutoff.

Everything of a pair is multiplied by an envelope whose value, slope and curvature vanish at the
cutoff, so that energy, force and force derivative are continuous there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["bessel", "quintic_envelope"]


def quintic_envelope(ratio: Tensor) -> Tensor:
    r"""Smooth step from 1 to 0.

    .. math:: u(x) = 1 - 10 x^3 + 15 x^4 - 6 x^5, \quad u(x \ge 1) = 0

    with :math:`u(1) = u'(1) = u''(1) = 0`.

    Parameters
    ----------
    ratio : Tensor
        Distance over cutoff, ``x``.
    """
    x = ratio.clamp(max=1.0)
    return 1.0 + x * x * x * (-10.0 + x * (15.0 - 6.0 * x))


def bessel(distances_A: Tensor, cutoff_A: float, count: int) -> Tensor:
    r"""Bessel functions under the envelope (Gasteiger et al. 2020, arXiv:2003.03123).

    .. math:: b_k(r) = \sqrt{2/c}\, \frac{\sin(k \pi r / c)}{r}\, u(r/c)

    Parameters
    ----------
    distances_A : Tensor, shape (...)
        Larger than 0.
    cutoff_A : float
        ``c``.
    count : int

    Returns
    -------
    Tensor, shape (..., count)
    """
    ratio = distances_A / cutoff_A
    order = torch.arange(1, count + 1, dtype=distances_A.dtype, device=distances_A.device)
    amplitude = math.sqrt(2.0 / cutoff_A) * quintic_envelope(ratio) / distances_A
    return torch.sin(ratio.unsqueeze(-1) * (order * math.pi)) * amplitude.unsqueeze(-1)
