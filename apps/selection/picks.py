"""Which frames of exploration an expert is asked for: pure functions of numbers.

Frames at failure come first, then those on which a committee disagrees most (Zhang et al. 2019,
doi:10.1103/PhysRevMaterials.3.023804: the deviation of forces between models trained from other
weights, within a window). Nothing here knows which replica a frame is from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PickRules", "disagreement", "last_trusted", "pick", "rms_distances"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PickRules:
    """What is picked.

    Parameters
    ----------
    count : int
        At most.
    least_eV_per_A, most_eV_per_A : float
        Window of disagreement; frames at failure need not reach the least.
    distinct_per_A : float
        Least distance of two picks, and of a pick from what is labelled.
    """

    count: int
    least_eV_per_A: float
    most_eV_per_A: float
    distinct_per_A: float


def disagreement(forces: NDArray[np.floating]) -> Floats:
    r"""Disagreement of a committee on each frame, in eV/Å.

    .. math:: \max_i \sqrt{\langle \| F_i - \langle F_i \rangle \|^2 \rangle}

    Means are over the models. Not finite where a force is not.

    Parameters
    ----------
    forces : ndarray, shape (models, F, N, 3)
        In eV/Å.

    Returns
    -------
    ndarray, shape (F,)
    """
    exact = forces.astype(np.float64)
    apart = exact - exact.mean(axis=0)
    found = np.sqrt((apart**2).sum(axis=-1).mean(axis=0)).max(axis=-1, initial=0.0)
    return np.asarray(found, dtype=np.float64)


def last_trusted(values: Floats, most_eV_per_A: float) -> int | None:
    """Latest frame before a failure that an expert may be shown; None where there is none.

    Parameters
    ----------
    values : ndarray, shape (F,)
        Disagreement on the frames of one replica, in order of time; not finite on those that must
        not be shown.
    most_eV_per_A : float
    """
    trusted = np.flatnonzero(np.isfinite(values) & (values <= most_eV_per_A))
    return int(trusted[-1]) if len(trusted) else None


def pick(
    descriptors: Floats,
    values: Floats,
    at_failure: NDArray[np.bool_],
    known: Floats,
    rules: PickRules,
) -> tuple[NDArray[np.int64], int]:
    """Frames to be labelled, first what is wanted most.

    Whatever the order of the frames, the same geometries are picked.

    Parameters
    ----------
    descriptors : ndarray, shape (F, D)
        Of the frames, in 1/Å.
    values : ndarray, shape (F,)
        Disagreement, in eV/Å.
    at_failure : ndarray of bool, shape (F,)
    known : ndarray, shape (K, D)
        Of what is labelled.
    rules : PickRules

    Returns
    -------
    picked : ndarray of int64, shape (P,)
        Rows of frames, each once, at most ``rules.count``.
    alike : int
        Frames that were wanted and are too near to another or to a label.
    """
    wanted = np.isfinite(values) & (values <= rules.most_eV_per_A)
    wanted &= at_failure | (values >= rules.least_eV_per_A)
    # What is told apart by neither failure nor disagreement is by its geometry, never by its row.
    keys = (*descriptors.T[::-1], -np.where(wanted, values, 0.0), ~at_failure)
    order = [row for row in np.lexsort(keys) if wanted[row]]
    taken: list[int] = []
    alike = 0
    for row in order:
        if len(taken) == rules.count:
            break
        others = np.concatenate([known, descriptors[taken]])
        if rms_distances(descriptors[row], others).min(initial=np.inf) < rules.distinct_per_A or (
            _same(descriptors[row], descriptors[taken])
        ):
            alike += 1
            continue
        taken.append(int(row))
    return np.array(taken, dtype=np.int64), alike


def _same(one: Floats, others: Floats) -> bool:
    """Whether a frame is picked already: none is twice, also where nothing need be distinct."""
    return bool((others == one).all(axis=1).any())


def rms_distances(one: Floats, others: Floats) -> Floats:
    """Root mean square difference of a descriptor, (D,), from each of others, (K, D), in 1/Å."""
    found = np.sqrt(((others - one) ** 2).mean(axis=1)) if len(others) else np.zeros(0)
    return np.asarray(found, dtype=np.float64)
