r"""Failure criteria of boxes of molecules: those that fuse, bonds out of bounds, pairs too close.

All distances are those of nearest images. What each is in words is in
`apps.dynamics.criteria_records`; how conditions that must last are timed, in
`apps.dynamics.lasting`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from apps.dynamics.criteria import Watched, distances_of, too_close
from apps.dynamics.findings import Finding, Units, nothing_found
from apps.dynamics.images import nearest_pairs
from apps.dynamics.integrators import PhasePoint
from apps.dynamics.settings import DynamicsSettings
from data_store.units import COVALENT_RADII_A, NUMBERS

__all__ = ["bond_out_of_bounds", "fused", "pair_too_close"]


def fused(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    r"""A molecule has an atom within bonding distance of another's; value as a share of it.

    .. math:: \min_{i \in m,\, j \notin m} \frac{\|r_i - r_j\|}{R_i + R_j} < f

    with covalent radii :math:`R` and :math:`f` = ``fused_within``. Molecules are timed apart, and
    the atoms in contact may change: two that collide come apart again, and those that fuse do not.
    """
    if watched.molecule_of is None:
        return nothing_found(point)
    radii = _radii(watched.numbers)
    reach = settings.fused_within * (radii[:, None] + radii)
    same = watched.molecule_of[:, None] == watched.molecule_of
    reach = reach.masked_fill(same, 0.0)
    share, other = nearest_pairs(point.positions, reach, watched.cell)
    units = _by_molecule(share, other, watched.molecule_of)
    value, worst = units.values.min(dim=1)
    found = units.atoms.gather(1, worst[:, None, None].expand(-1, 1, 2))[:, 0]
    return Finding(value < 1.0, value, found, units)


def _by_molecule(share: Tensor, other: Tensor, molecule_of: Tensor) -> Units:
    """Of each molecule its nearest atom; there is room for as many molecules as atoms."""
    owner = molecule_of.expand(share.shape)
    # What is no number is near nothing.
    share = share.nan_to_num(nan=torch.inf, posinf=torch.inf)
    least = torch.full_like(share, torch.inf).scatter_reduce(1, owner, share, "amin")
    own = torch.arange(share.shape[1], device=share.device).expand(share.shape)
    nearest = torch.where(share == least.gather(1, owner), own, share.shape[1])
    room = torch.full_like(own, share.shape[1])
    first = room.scatter_reduce(1, owner, nearest, "amin").clamp(max=share.shape[1] - 1)
    return Units(least < 1.0, least, torch.stack([first, other.gather(1, first)], dim=-1))


def bond_out_of_bounds(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    """A bond of a pair of elements is shorter or longer than its bounds; value in Å."""
    bonds = watched.bonds
    if not len(bonds):
        return nothing_found(point)
    bounds = settings.bond_bounds_A
    lower = _of_pairs(watched.numbers, bonds, {p: low for p, (low, _) in bounds.items()}, 0.0)
    upper = _of_pairs(watched.numbers, bonds, {p: up for p, (_, up) in bounds.items()}, torch.inf)
    lengths = distances_of(point.positions, bonds, watched.cell)
    beyond = torch.maximum(lower - lengths, lengths - upper)
    holds = beyond > 0.0
    worst = beyond.argmax(dim=1)
    value = lengths.gather(1, worst[:, None])[:, 0]
    return Finding(holds.any(dim=1), value, bonds[worst], Units(holds, lengths, bonds))


def pair_too_close(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    """Two atoms of a pair of elements, bonded or not, are closer than its bound; value in Å."""
    atoms = len(watched.numbers)
    pairs = torch.cartesian_prod(*[torch.arange(atoms, device=watched.numbers.device)] * 2)
    reach = _of_pairs(watched.numbers, pairs, settings.pair_bounds_A, 0.0).view(atoms, atoms)
    return too_close(point, reach.fill_diagonal_(0.0), watched.cell)


def _radii(numbers: Tensor) -> Tensor:
    table = torch.tensor(COVALENT_RADII_A.tolist(), dtype=torch.float64, device=numbers.device)
    return table[numbers]


def _of_pairs(
    numbers: Tensor, pairs: Tensor, table: Mapping[str, float], otherwise: float
) -> Tensor:
    """Of each pair of atoms (P, 2) what a table has for its elements, in float64."""
    kinds = numbers[pairs]
    found = torch.full(kinds.shape[:1], otherwise, dtype=torch.float64, device=numbers.device)
    for name, number in table.items():
        one, other = _elements(name)
        either = ((kinds[:, 0] == one) & (kinds[:, 1] == other)) | (
            (kinds[:, 0] == other) & (kinds[:, 1] == one)
        )
        found = torch.where(either, number, found)
    return found


def _elements(name: str) -> Sequence[int]:
    one, other = name.split("-")
    return NUMBERS[one], NUMBERS[other]
