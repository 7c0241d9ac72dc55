"""Analytic systems on which the laws of dynamics are known, and blocks made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from apps.dynamics.criteria import Watched
from apps.dynamics.engine import Block, State, start_block
from apps.dynamics.ensemble import simulate_block
from apps.dynamics.settings import DynamicsSettings
from data_store.units import AMU_A2_PER_FS2_eV

ForceFunction = Callable[[Tensor], tuple[Tensor, Tensor]]

CHAIN = torch.tensor([[0.0, 0, 0], [1.5, 0, 0], [1.5, 1.5, 0], [1.5, 1.5, 1.5]]).double()
MASSES = torch.tensor([12.0, 16.0, 1.008, 14.0], dtype=torch.float64)


def harmonic(stiffness: float) -> ForceFunction:
    """Each coordinate in a well of its own, eV/Å²."""

    def force_function(x: Tensor) -> tuple[Tensor, Tensor]:
        return 0.5 * stiffness * (x * x).sum((1, 2)), -stiffness * x

    return force_function


def anharmonic_chain(x: Tensor) -> tuple[Tensor, Tensor]:
    """Chain of springs with cubic and quartic terms: no law of motion in closed form."""
    x = x.detach().requires_grad_(True)
    with torch.enable_grad():
        stretch = torch.linalg.vector_norm(x[:, 1:] - x[:, :-1], dim=-1) - 1.5
        energies = (10.0 * stretch**2 - 8.0 * stretch**3 + 20.0 * stretch**4).sum(-1)
        (gradient,) = torch.autograd.grad(energies.sum(), x)
    return energies.detach(), -gradient


def repulsive_after(energy_eV_per_A: float) -> ForceFunction:
    """The chain in a field that tears its last atom off, sooner in hotter replicas."""

    def force_function(x: Tensor) -> tuple[Tensor, Tensor]:
        energies, forces = anharmonic_chain(x)
        far = torch.relu(torch.linalg.vector_norm(x[:, 3] - x[:, 2], dim=-1) - 1.6)
        direction = x[:, 3] - x[:, 2]
        forces[:, 3] += energy_eV_per_A * far[:, None] * direction
        return energies, forces

    return force_function


def watched(masses: Tensor, **changes: Any) -> Watched:
    """A chain with bonds of 1.5 Å, and no contacts or heat that could fail it."""
    bonds = torch.tensor([[i, i + 1] for i in range(len(masses) - 1)], dtype=torch.int64)
    made: dict[str, Any] = {
        "numbers": torch.full((len(masses),), 6),
        "masses_amu": masses,
        "bonds": bonds.reshape(-1, 2),
        "bond_lengths_A": torch.full((len(masses) - 1,), 1.5, dtype=torch.float64),
        "others": torch.empty((0, 2), dtype=torch.int64),
        "least_distances_A": torch.empty(0, dtype=torch.float64),
        "hot_eV": 1e9,
        "temperature_K": 500.0,
    }
    return Watched(**{**made, **changes})


def make_block(
    force_function: ForceFunction,
    *,
    replicas: int = 8,
    seed: int = 1,
    temperature_K: float = 500.0,
    masses: Tensor = MASSES,
    looked_at: Watched | None = None,
    **settings: Any,
) -> Block:
    """A block on the CPU."""
    return Block(
        force_function,
        looked_at or watched(masses),
        DynamicsSettings(**settings),
        temperature_K,
        seed,
        replicas,
        torch.device("cpu"),
    )


def run(block: Block, positions: Tensor = CHAIN) -> State:
    """Run a block from copies of one start to its end."""
    state = start_block(block, positions.expand(block.replicas, -1, -1).clone())
    assert simulate_block(block, state, lambda _: None, 1e9, lambda: False)
    return state


def total_energies(state: State, masses: Tensor = MASSES) -> Tensor:
    """Potential plus kinetic energy of each replica in eV."""
    squares = (state.point.velocities**2).sum(-1)
    return state.point.energies + 0.5 * AMU_A2_PER_FS2_eV * (masses * squares).sum(-1)
