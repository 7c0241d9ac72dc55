"""A toy liquid to train on: springs within waters, soft repulsion between all atoms of a box."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from data_store.streams import stream
from data_store.structures import Structures, concatenate
from tests.laws.training_toys import BONDS, NUMBERS, REST

__all__ = ["EDGE_A", "toy_boxes", "toy_energies_and_forces", "unwrapped"]

EDGE_A = 6.0
"""Of a box of eight waters: shorter than two cutoffs, so that images are seen several times."""

_DEPTH_eV, _WIDTH_A = 0.4, 0.9
_IMAGES = np.array([(i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)], float)

Array = NDArray[np.float64]


def toy_energies_and_forces(positions: Array, edge_A: float) -> tuple[float, Array]:
    """Of waters, O H H each, in a cubic box.

    Springs as in `training_toys`, and :math:`A \\exp(-r^2 / 2 w^2)` between atoms of all images.
    """
    vectors = positions[None, :, None] - positions[:, None, None]
    vectors = vectors - edge_A * np.round(vectors / edge_A) + edge_A * _IMAGES
    squared = (vectors**2).sum(-1)
    size = _DEPTH_eV * np.exp(-0.5 * squared / _WIDTH_A**2) * (squared > 0.0)
    energy = 0.5 * float(size.sum())
    forces = -(size[..., None] * vectors).sum((1, 2)) / _WIDTH_A**2
    for first in range(0, len(positions), 3):
        for i, j in BONDS:
            line = positions[first + j] - positions[first + i]
            length = float(np.linalg.norm(line))
            change = length - float(np.linalg.norm(REST[j] - REST[i]))
            energy += 10.0 * change**2
            forces[first + i] += 20.0 * change / length * line
            forces[first + j] -= 20.0 * change / length * line
    return energy, forces


def toy_boxes(count: int, seed: int = 0, cells: int = 2) -> Structures:
    """Boxes of ``cells**3`` waters around places of a lattice, at random orientations."""
    edge = 0.5 * EDGE_A * cells
    grid = 0.5 * EDGE_A * np.array(np.meshgrid(*[np.arange(cells)] * 3)).reshape(3, -1).T
    frames = []
    for index in range(count):
        draw = stream(seed, "toy box", index)
        turns, _ = np.linalg.qr(draw.normal(size=(len(grid), 3, 3)))
        x = REST @ turns + 0.06 * draw.normal(size=(len(grid), 3, 3)) + grid[:, None] + 0.7
        positions = x.reshape(-1, 3)
        energy, forces = toy_energies_and_forces(positions, edge)
        frames.append(
            Structures.from_dense(
                np.tile(NUMBERS, len(grid)), positions[None], energies=[energy],
                forces=forces[None], cell=edge * np.eye(3), parents=index,
            )
        )  # fmt: skip
    return concatenate(frames)


def unwrapped(boxes: Structures, seed: int = 1) -> Structures:
    """The same structures, each atom in any image of its box, and all moved together."""
    draw = stream(seed, "toy images")
    whole = draw.integers(-30, 31, size=(boxes.n_atoms, 3)).astype(np.float64)
    cells = np.repeat(boxes.cells, boxes.atom_counts, axis=0)
    moved = boxes.positions + np.einsum("ai,aij->aj", whole, cells) + np.array([1.3, -0.4, 2.2])
    return replace(boxes, positions=moved)
