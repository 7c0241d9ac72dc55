"""Aspirin, at the minimum of MMFF94 as RDKit found it; what all benchmarks of molecules run on."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["BONDS", "NUMBERS", "shaken"]

_ATOMS = (
    (6, 3.0775, 1.1828, -0.8399),
    (6, 2.0315, 0.4613, -0.0439),
    (8, 2.1033, 0.2459, 1.1592),
    (8, 1.0070, 0.0691, -0.8984),
    (6, -0.0568, -0.5332, -0.2204),
    (6, -0.1034, -1.9310, -0.2375),
    (6, -1.1532, -2.5938, 0.3952),
    (6, -2.1565, -1.8626, 1.0304),
    (6, -2.1169, -0.4643, 1.0292),
    (6, -1.0672, 0.2193, 0.3958),
    (6, -1.0341, 1.7053, 0.3656),
    (8, -0.2294, 2.4107, -0.2144),
    (8, -2.0363, 2.2586, 1.0757),
    (1, 2.6318, 2.0426, -1.3464),
    (1, 3.5280, 0.4996, -1.5640),
    (1, 3.8583, 1.5462, -0.1656),
    (1, 0.6782, -2.4997, -0.7333),
    (1, -1.1890, -3.6806, 0.3953),
    (1, -2.9744, -2.3803, 1.5265),
    (1, -2.9159, 0.0821, 1.5254),
    (1, -1.8828, 3.2222, 0.9833),
)
"""Atomic number and place in Å."""

NUMBERS = tuple(atom[0] for atom in _ATOMS)

BONDS = (
    (0, 1),
    (1, 2),
    (1, 3),
    (3, 4),
    (4, 5),
    (5, 6),
    (6, 7),
    (7, 8),
    (8, 9),
    (9, 10),
    (10, 11),
    (10, 12),
    (9, 4),
    (0, 13),
    (0, 14),
    (0, 15),
    (5, 16),
    (6, 17),
    (7, 18),
    (8, 19),
    (12, 20),
)


def shaken(count: int, spread_A: float = 0.05, seed: int = 0) -> Tensor:
    """So many copies, each atom moved at random; shape (count, 21, 3), float64."""
    rest = torch.tensor([atom[1:] for atom in _ATOMS], dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, *rest.shape, dtype=torch.float64, generator=generator)
    return rest + spread_A * noise
