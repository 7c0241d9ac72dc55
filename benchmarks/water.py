"""The 64-water box of the peers' harness: 12.4 Å, molecules on a lattice, turned at random."""

from __future__ import annotations

import numpy as np
import torch
from ase.build import molecule
from torch import Tensor

__all__ = ["water_box"]

_EDGE_A, _ALONG = 12.4, 4


def water_box() -> tuple[Tensor, Tensor]:
    """Positions (192, 3) of O, H, H by molecule, and the cell (3, 3), in Å."""
    rng, water = np.random.default_rng(0), molecule("H2O")
    shape = water.positions - water.get_center_of_mass()
    places = [
        shape @ np.linalg.qr(rng.normal(size=(3, 3)))[0] + (np.array(site) + 0.5) * _EDGE_A / _ALONG
        for site in np.ndindex(_ALONG, _ALONG, _ALONG)
    ]
    return torch.from_numpy(np.concatenate(places)), _EDGE_A * torch.eye(3, dtype=torch.float64)
