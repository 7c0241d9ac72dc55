r"""The learning rate over the steps: a linear rise, then half a cosine.

.. math::
    \eta(s) = \eta_0 \cdot \begin{cases}
        (s + 1) / w & s < w \\
        f + (1 - f) \tfrac12 (1 + \cos \pi \tfrac{s - w}{S - 1 - w}) & s \ge w
    \end{cases}

with peak :math:`\eta_0`, warm-up :math:`w`, :math:`S` steps and final fraction :math:`f`
(Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts). A pure function of the step, so
that there is no state to resume.
"""

from __future__ import annotations

import math

__all__ = ["learning_rate_at"]


def learning_rate_at(
    step: int, *, peak: float, steps: int, warmup_steps: int, final_fraction: float
) -> float:
    """Learning rate of step 0, 1, …, steps − 1.

    Parameters
    ----------
    step : int
    peak : float
    steps : int
        How many there are in all.
    warmup_steps : int
        Never more than half of `steps`, so that a short training still cools down.
    final_fraction : float
        Rate at the last step over the peak.
    """
    warmup = min(warmup_steps, steps // 2)
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - 1 - warmup)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return peak * (final_fraction + (1.0 - final_fraction) * cosine)
