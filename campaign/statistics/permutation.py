r"""A test of two arms that respects models: sign flips of paired differences over seeds.

The log-rank test takes replicas as independent; those of one model share its fate, so that with
models that scatter it finds differences where there are none. Here each seed gives one number, the
difference of restricted mean survival time between its two models, and if arms do not differ its
sign could as well be the other. That holds the level exactly, whatever the scatter. Its price: with
:math:`s` seeds no p is below :math:`2^{1-s}` (five seeds: 0.0625), so that few seeds can never
reject at 5 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from campaign.statistics.comparison import shared_horizon_ps
from campaign.statistics.survival import restricted_mean_ps
from data_store.runs import Run
from data_store.streams import stream

__all__ = ["PermutationTest", "paired_permutation", "sign_flip"]

_SEEDS_ENUMERATED = 16


@dataclass(frozen=True)
class PermutationTest:
    """A two-sided p, and the least that these seeds can give.

    Parameters
    ----------
    p, floor : float
    """

    p: float
    floor: float


def paired_permutation(
    base: Mapping[int, Sequence[Run]], other: Mapping[int, Sequence[Run]]
) -> PermutationTest | None:
    """Test of equal arms, paired by seed; None where neither arm has a failure.

    Parameters
    ----------
    base, other : mapping of int to sequence of Run
        Runs by seed; seeds that both have are compared, up to the time that all models reached.
    """
    seeds = sorted(set(base) & set(other))
    if not any(run.failed for seed in seeds for run in [*base[seed], *other[seed]]):
        return None
    horizon = shared_horizon_ps(base, other)
    means = [
        np.array([restricted_mean_ps(arm[seed], horizon)[0] for seed in seeds])
        for arm in (base, other)
    ]
    return sign_flip(means[0] - means[1])


def sign_flip(differences: NDArray[np.float64]) -> PermutationTest:
    """Exact two-sided test that differences are symmetric about 0 (Fisher 1935, section 21).

    Parameters
    ----------
    differences : ndarray, shape (S,)
        Of more than 16 a fixed draw of 65,536 flips is taken instead of all, the observed one among
        them, which keeps the level (Phipson and Smyth 2010, doi:10.2202/1544-6115.1585).
    """
    signs = _signs(len(differences))
    sums = np.abs(signs @ differences)
    p = float((sums >= sums[0] - 1e-9 * np.abs(differences).sum()).mean())
    return PermutationTest(p, max(2.0 ** (1 - len(differences)), 1.0 / len(signs)))


def _signs(count: int) -> NDArray[np.float64]:
    """Rows of ± 1, the first without any flip."""
    if count <= _SEEDS_ENUMERATED:
        flips = np.arange(2**count)[:, None] >> np.arange(count) & 1
    else:
        drawn = stream(0, "sign flips", count)
        flips = drawn.integers(2, size=(2**_SEEDS_ENUMERATED, count))
        flips[0] = 0
    return np.asarray(1.0 - 2.0 * flips)
