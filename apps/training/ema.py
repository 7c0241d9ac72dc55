r"""Moving average of the weights, with a short memory at first.

.. math:: a \leftarrow d a + (1 - d) w, \qquad d = \min(d_\infty, (1 + n) / (10 + n))

where :math:`n` counts the steps taken, so that the average forgets the random start quickly. It is
the average that is validated and kept.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["decay_at", "update_average"]


def decay_at(step: int, decay: float) -> float:
    """Decay of the average after `step` steps (the first is 1)."""
    return min(decay, (1 + step) / (10 + step))


def update_average(average: Tensor, weights: Tensor, *, step: int, decay: float) -> None:
    """Move the average towards the weights, in place.

    Parameters
    ----------
    average, weights : Tensor, shape (P,)
    step : int
        Steps taken so far, this one included.
    decay : float
        What the decay tends to.
    """
    average.lerp_(weights, 1.0 - decay_at(step, decay))
