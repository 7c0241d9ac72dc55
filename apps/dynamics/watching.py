"""What criteria know of a block's system: bonds with their lengths, contacts, heat, box."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from apps.dynamics.energy_bounds import plausible_energies
from apps.dynamics.settings import DynamicsSettings
from apps.dynamics.systems import System, reference_lengths
from data_store.molecules import Molecule
from data_store.structures import Structures
from data_store.units import COVALENT_RADII_A, ATOMIC_MASSES_amu, BOLTZMANN_eV_PER_K

if TYPE_CHECKING:
    from apps.dynamics.criteria import Watched

__all__ = [
    "contact_limits",
    "reference_bond_lengths",
    "watched_of",
    "with_plausible_energies",
]

Array = NDArray[np.float64]


def watched_of(
    system: System,
    labels: Structures,
    settings: DynamicsSettings,
    temperature_K: float,
    device: Any,
) -> tuple[Watched, int]:
    """What criteria know of a system, and how many bonds have their length from no label.

    Parameters
    ----------
    system : System
    labels : Structures
        Those of the smallest pool.
    settings : DynamicsSettings
    temperature_K : float
    device : torch.device
    """
    import torch

    from apps.dynamics.criteria import Watched

    boxed, without = system.cell is not None, 0
    if not len(system.bonds):
        lengths = np.zeros(0)
    elif boxed:
        lengths, without = reference_lengths(system, labels)
    else:
        lengths = reference_bond_lengths(labels.dense_positions(), system.bonds)
    others, least = _limits(system.numbers, system.bonds, settings)
    masses = ATOMIC_MASSES_amu[system.numbers]

    def there(values: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.array(values)).to(device)

    watched = Watched(
        numbers=there(system.numbers),
        masses_amu=there(masses),
        bonds=there(system.bonds),
        bond_lengths_A=there(lengths),
        others=there(others),
        least_distances_A=there(least),
        hot_eV=_hot_energy(settings, len(masses), temperature_K),
        temperature_K=temperature_K,
        cell=None if system.cell is None else there(system.cell),
        molecule_of=there(system.molecule_of) if boxed else None,
    )
    return watched, without


def with_plausible_energies(
    watched: Watched,
    numbers: NDArray[np.int64],
    labels: Structures,
    settings: DynamicsSettings,
) -> Watched:
    """Same, with the energies that `energy_runaway` allows, by all labels, where it is declared."""
    if "energy_runaway" not in settings.criteria:
        return watched
    line, bounds = plausible_energies(
        labels, numbers, settings.energy_below_eV_per_atom, settings.energy_above_eV_per_atom
    )
    return replace(watched, energy_line_eV=line, energy_bounds_eV=bounds)


def reference_bond_lengths(positions: NDArray[Any], bonds: NDArray[np.int64]) -> Array:
    """Mean length of each bond over structures (S, N, 3) of one molecule, in Å."""
    vectors = positions[:, bonds[:, 1]] - positions[:, bonds[:, 0]]
    return np.asarray(np.linalg.norm(vectors, axis=-1).mean(axis=0), dtype=np.float64)


def contact_limits(
    molecule: Molecule, settings: DynamicsSettings
) -> tuple[NDArray[np.int64], Array]:
    """Pairs that are not bonded, and how close they may come, in Å."""
    bonds = np.array(molecule.bonds, dtype=np.int64).reshape(-1, 2)
    return _limits(np.array(molecule.numbers), bonds, settings)


def _limits(
    numbers: NDArray[np.int64], bonds: NDArray[np.int64], settings: DynamicsSettings
) -> tuple[NDArray[np.int64], Array]:
    count = len(numbers)
    i, j = np.triu_indices(count, k=1)
    free = ~np.isin(i * count + j, bonds[:, 0] * count + bonds[:, 1])
    i, j = i[free], j[free]
    least = settings.contact_fraction * (
        COVALENT_RADII_A[numbers[i]] + COVALENT_RADII_A[numbers[j]]
    )
    hydrogens = (numbers[i] == 1) & (numbers[j] == 1)
    least = np.where(hydrogens, settings.contact_HH_A, least)
    return np.stack([i, j], axis=1).astype(np.int64), np.asarray(least, dtype=np.float64)


def _hot_energy(settings: DynamicsSettings, atoms: int, temperature_K: float) -> float:
    r"""Kinetic energy at the quantile 1 − tail of :math:`\chi^2_f \cdot k_B T / 2`, in eV."""
    from scipy.stats import chi2

    freedom = 3 * atoms - (3 if settings.ensemble == "nve" else 0)
    return 0.5 * BOLTZMANN_eV_PER_K * temperature_K * float(chi2.isf(settings.hot_tail, freedom))
