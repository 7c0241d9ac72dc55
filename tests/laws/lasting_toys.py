"""Criteria whose conditions must last, for laws of those."""

from __future__ import annotations

import torch

from apps.dynamics.criteria import Finding, Units, Watched
from apps.dynamics.criteria_records import Criterion
from apps.dynamics.integrators import PhasePoint
from apps.dynamics.settings import DynamicsSettings

LASTING_FS = 8.0
LONGEST_A = 1.58


def long_bonds(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    """Bonds of a chain beyond a length that each is beyond for a part of its vibration."""
    bonds = watched.bonds
    vectors = point.positions[:, bonds[:, 0]] - point.positions[:, bonds[:, 1]]
    values = torch.linalg.vector_norm(vectors, dim=-1)
    holds = values > LONGEST_A
    value, worst = values.max(dim=1)
    return Finding(holds.any(1), value, bonds[worst], Units(holds, values, bonds))


def long_chain(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    """Tell of the replica as one: any of its bonds."""
    found = long_bonds(point, watched, settings)
    return Finding(found.failed, found.value, found.atoms)


TOYS = {
    name: Criterion(
        name, "A bond is long.", "Å", "", "> 1.58 Å", f"{__name__}:{name.removesuffix('_at_once')}",
        0.0 if name.endswith("_at_once") else LASTING_FS,
    )
    for name in ("long_bonds", "long_chain", "long_bonds_at_once")
}  # fmt: skip
