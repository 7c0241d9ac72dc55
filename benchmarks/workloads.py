"""What is timed on every device: blocks of dynamics and training of aspirin, fresh weights.

Dynamics runs at 0.01 K on energies scaled by 1e-6, so that geometry and cost stay fixed.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from apps.dynamics.boxes import Box, box_forces_for
from apps.dynamics.criteria import Watched
from apps.dynamics.engine import Block
from apps.dynamics.forces import compiled_force_function, suits_native
from apps.dynamics.settings import DynamicsSettings
from apps.potential.protocol import Potential
from apps.potential.registry import make_potential
from apps.training.labelled_set import LabelledSet
from apps.training.loop import Training
from apps.training.loss import LossWeights
from benchmarks.aspirin import BONDS, NUMBERS, shaken
from benchmarks.water import water_box
from data_store.units import ATOMIC_MASSES_amu

__all__ = [
    "LOSS",
    "block_of",
    "box_block_of",
    "labelled_of",
    "potential_of",
    "processor_s",
    "training_of",
]

LOSS = LossWeights(1.0, 0.2)
_TEMPERATURE_K = 0.01


def potential_of(size: str, device: torch.device) -> Potential:
    """PaiNN with fresh weights."""
    return make_potential("painn", size, [1, 6, 8], 5.0, seed=0).to(device)


def block_of(size: str, replicas: int, steps: int, device: torch.device) -> Block:
    """Langevin dynamics with the default criteria, compiled."""
    potential, numbers = potential_of(size, device), torch.tensor(NUMBERS, device=device)
    potential.scale.fill_(1e-6)
    bonds = torch.tensor(BONDS, device=device)
    rest = shaken(1, 0.0)[0].to(device)
    pairs = torch.triu_indices(len(NUMBERS), len(NUMBERS), 1).T.tolist()
    bonded = {tuple(sorted(bond)) for bond in BONDS}
    others = torch.tensor([pair for pair in pairs if tuple(pair) not in bonded], device=device)
    masses = torch.from_numpy(np.array(ATOMIC_MASSES_amu[list(NUMBERS)])).to(device)
    lengths = torch.linalg.vector_norm(rest[bonds[:, 0]] - rest[bonds[:, 1]], dim=-1)
    least = torch.full((len(others),), 0.5, dtype=torch.float64, device=device)
    watched = Watched(numbers, masses, bonds, lengths, others, least, 1e3, _TEMPERATURE_K)
    settings = DynamicsSettings(length_ps=steps * 0.5e-3)
    native = suits_native(potential)
    function = compiled_force_function(potential, numbers, replicas, native=native)
    return Block(function, watched, settings, _TEMPERATURE_K, 0, replicas, device)


def box_block_of(size: str, replicas: int, steps: int, device: torch.device) -> Block:
    """The same for the 64-water box of the peers' harness; bonds are watched, contacts are not."""
    potential = make_potential("painn", size, [1, 8], 5.0, seed=0).to(device)
    potential.scale.fill_(1e-6)
    places, cell = water_box()
    numbers = torch.tensor([8, 1, 1] * (len(places) // 3), device=device)
    firsts = torch.arange(0, len(places), 3, device=device)
    bonds = torch.cat([torch.stack([firsts, firsts + n], dim=1) for n in (1, 2)])
    start = places.to(device)
    masses = torch.from_numpy(np.array(ATOMIC_MASSES_amu[numbers.tolist()])).to(device)
    lengths = torch.linalg.vector_norm(start[bonds[:, 0]] - start[bonds[:, 1]], dim=-1)
    others = torch.zeros(0, 2, dtype=torch.int64, device=device)
    least = torch.zeros(0, dtype=torch.float64, device=device)
    watched = Watched(numbers, masses, bonds, lengths, others, least, 1e3, _TEMPERATURE_K)
    settings = DynamicsSettings(length_ps=steps * 0.5e-3)
    box = Box(numbers, cell.to(device))
    starts = start.expand(replicas, -1, -1)
    forces, evaluation = box_forces_for(potential, box, starts, 10**9)
    if not evaluation.compiled:
        raise SystemExit(f"not compiled: {evaluation}")
    return Block(
        forces, watched, settings, _TEMPERATURE_K, 0, replicas, device, forces.forget
    )  # fmt: skip


def labelled_of(count: int, device: torch.device) -> LabelledSet:
    """Structures with labels at random."""
    numbers = torch.tensor(NUMBERS, device=device).repeat(count, 1)
    positions = shaken(count).float().to(device)
    energies = torch.randn(count).double().to(device)
    return LabelledSet(numbers, positions, torch.randn_like(positions), energies)


def training_of(batch: int) -> Training:
    """Training that never validates."""
    return Training(10**6, batch, 1e-3, 100, 0.01, 1e-3, 10.0, 0.99, LOSS, 10**6, True, 0)


def processor_s(way: Callable[[], object]) -> float:
    """Processor time of a call."""
    began = time.process_time()
    way()
    return time.process_time() - began
