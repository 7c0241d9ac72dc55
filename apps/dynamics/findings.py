"""`Finding`: what one criterion found at one check, of each replica and maybe of its units."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from apps.dynamics.integrators import PhasePoint

__all__ = ["Finding", "Units", "no_atoms", "nothing_found"]


@dataclass(frozen=True)
class Units:
    """Bonds, molecules or atoms of a replica, whose conditions are timed apart.

    Parameters
    ----------
    holds : Tensor of bool, shape (R, K)
        Whether the condition is so at this moment.
    values : Tensor, shape (R, K)
        In the criterion's own unit.
    atoms : Tensor of int64, shape (R, K, 2) or (K, 2)
        −1 where there is none.
    """

    holds: Tensor
    values: Tensor
    atoms: Tensor


@dataclass(frozen=True)
class Finding:
    """What one criterion found.

    Parameters
    ----------
    failed : Tensor of bool, shape (R,)
        At this moment: of a criterion whose condition must last, whether it holds.
    value : Tensor, shape (R,)
        In the criterion's own unit.
    atoms : Tensor of int64, shape (R, 2)
        −1 where there is none.
    units : Units or None
        Of a criterion whose condition must last; None where the replica is the unit.
    """

    failed: Tensor
    value: Tensor
    atoms: Tensor
    units: Units | None = None


def no_atoms(like: Tensor) -> Tensor:
    """Atoms of a finding that belongs to none, for as many replicas as `like` has rows."""
    return torch.full((len(like), 2), -1, dtype=torch.int64, device=like.device)


def nothing_found(point: PhasePoint) -> Finding:
    """Finding of a criterion that has nothing to look at."""
    value = torch.full_like(point.energies, torch.nan)
    return Finding(torch.zeros_like(value, dtype=torch.bool), value, no_atoms(value))
