r"""Drift of the total energy of a trained aspirin model at constant energy, by size and precision.

Usage, from the root of the repository, with frames of revised MD17 aspirin as extended xyz::

    OMP_NUM_THREADS=1 python -m benchmarks.nve_drift FRAMES.extxyz [SIZE …]

Each size is trained on 950 of the frames (50 to choose the weights by), and then moves replicas by
velocity Verlet at 0.5 fs, from frames, with velocities of 500 K. The drift is the slope of a line
through the energy at every step, of each replica; reported are the mean over replicas and its
standard error. Precisions are those of the network, positions and velocities are float64 in both.

The total energy :math:`E` of Verlet with step :math:`h` swings about what it conserves by terms of
second order, which in a picosecond look like a slope. They are taken off, which leaves the slope of
a drift as it is and a hundredth of the swing (Engle, Skeel and Drees 2005,
doi:10.1016/j.jcp.2004.12.009):

.. math::
    \tilde E = E - \frac{h^2}{24} \sum_i \frac{F_i^2}{m_i}
              - \frac{h^2}{12} \sum_i v_i \cdot \dot F_i,
    \quad h \dot F(t) = \tfrac{1}{2} (F(t + h) - F(t - h))

The slope of :math:`E` itself is printed beside it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apps.dynamics.forces import compiled_force_function
from apps.dynamics.integrators import ForceFunction, PhasePoint, Thermostat, velocity_verlet
from apps.dynamics.thermal import kinetic_energy, maxwell_boltzmann
from apps.potential.protocol import Potential
from apps.potential.registry import make_potential
from apps.training.accuracy import accuracy
from apps.training.distributed import World
from apps.training.labelled_set import LabelledSet
from apps.training.loop import Training, train
from apps.training.loss import LossWeights
from apps.training.refit import force_rms, refit
from data_store.extxyz import read_extxyz
from data_store.units import AMU_A2_PER_FS2_eV, ATOMIC_MASSES_amu

__all__ = ["PRECISIONS", "Drift", "energy_drift", "trained"]

PRECISIONS: dict[str, Callable[[Potential], Potential]] = {
    "float32": Potential.float,
    "float64": Potential.double,
}
"""By name, what gives a network that precision, in place."""

TEMPERATURE_K, TIMESTEP_fs = 500.0, 0.5

_SIZES = ("small", "medium", "large")
_STEPS, _BATCH, _VALIDATION = 6000, 4, 50
_REPLICAS, _SETTLE_fs, _LENGTH_fs = 16, 50.0, 500.0


def main() -> None:
    if not sys.argv[1:]:
        raise SystemExit("give a file of labelled aspirin frames (extended xyz)")
    torch.set_num_threads(1)
    frames = LabelledSet.of(read_extxyz(Path(sys.argv[1])), torch.device("cpu"))
    split = len(frames) - _VALIDATION
    learn, held_out = (
        frames.take(torch.arange(split)),
        frames.take(torch.arange(split, len(frames))),
    )
    numbers, starts = frames.numbers[0], held_out.positions[:_REPLICAS].double()
    masses = torch.tensor(ATOMIC_MASSES_amu[numbers.numpy()])
    for size in sys.argv[2:] or _SIZES:
        potential = trained(size, learn, held_out, _STEPS, _BATCH)
        error = 1000.0 * accuracy(potential, held_out).force_mae_eV_per_A
        for name, give in PRECISIONS.items():
            function = compiled_force_function(give(potential), numbers, _REPLICAS)
            drift = energy_drift(
                function, masses, starts, settle_fs=_SETTLE_fs, length_fs=_LENGTH_fs
            )
            print(
                f"painn {size}, {name}: {drift.mean:+.4f} ± {drift.error:.4f} meV/atom/ps, "
                f"total energy itself {drift.plain[0]:+.3f} ± {drift.plain[1]:.3f}, "
                f"replicas {float(drift.slopes.min()):+.4f} to {float(drift.slopes.max()):+.4f} "
                f"({_REPLICAS} over {_LENGTH_fs / 1000:g} ps at {TEMPERATURE_K:g} K); "
                f"force error {error:.1f} meV/Å",
                flush=True,
            )


def trained(
    size: str, learn: LabelledSet, held_out: LabelledSet, steps: int, batch: int
) -> Potential:
    """PaiNN of a size, trained from fresh weights; those of least error on what is held out."""
    species = sorted(set(learn.numbers.flatten().tolist()) - {0})
    potential = make_potential("painn", size, species, 5.0, seed=0)
    refit(potential, learn, force_rms(learn))
    training = Training(
        steps=steps, batch_size=batch, learning_rate=2e-3, warmup_steps=steps // 20,
        final_lr_fraction=0.01, weight_decay=0.0, clip_norm=10.0, ema_decay=0.98,
        weights=LossWeights(1.0, 0.2), validate_every=max(1, steps // 10), keep_best=True, seed=0,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        train(
            potential, training, learn, held_out, World(0, 1, torch.device("cpu")),
            (Path(folder), "checkpoint"), 1e9, lambda: False,
        )  # fmt: skip
    return potential


@dataclass(frozen=True)
class Drift:
    """Slope of the total energy over time.

    Parameters
    ----------
    slopes, plain_slopes : Tensor, shape (R,)
        Of each replica, in meV/atom/ps: of the shadow energy, and of the total energy itself.
    """

    slopes: Tensor
    plain_slopes: Tensor

    @property
    def plain(self) -> tuple[float, float]:
        """Mean and standard error of the total energy's slopes."""
        return _mean_and_error(self.plain_slopes)

    @property
    def mean(self) -> float:
        """Over replicas."""
        return _mean_and_error(self.slopes)[0]

    @property
    def error(self) -> float:
        """Standard error of the mean, from the spread over replicas."""
        return _mean_and_error(self.slopes)[1]

    @property
    def least(self) -> float:
        """What its size surely exceeds: the mean's size less three standard errors."""
        return abs(self.mean) - 3.0 * self.error

    @property
    def most(self) -> float:
        """What its size surely does not exceed."""
        return abs(self.mean) + 3.0 * self.error


def _mean_and_error(slopes: Tensor) -> tuple[float, float]:
    return float(slopes.mean()), float(slopes.std() / len(slopes) ** 0.5)


def energy_drift(
    force_function: ForceFunction,
    masses_amu: Tensor,
    positions: Tensor,
    *,
    settle_fs: float,
    length_fs: float,
    timestep_fs: float = TIMESTEP_fs,
    temperature_K: float = TEMPERATURE_K,
) -> Drift:
    """Drift of replicas at constant energy.

    Parameters
    ----------
    force_function : callable
        From positions to energies and forces.
    masses_amu : Tensor, shape (N,)
    positions : Tensor of float64, shape (R, N, 3)
        Starts, in Å.
    settle_fs : float
        From the start, left out.
    length_fs : float
        Over which the line is laid.
    timestep_fs, temperature_K : float
    """
    generator = torch.Generator().manual_seed(0)
    velocities = maxwell_boltzmann(
        masses_amu, temperature_K, len(positions), generator, at_rest=True
    )
    energies, forces = force_function(positions)
    point, none = PhasePoint(positions, velocities, forces, energies), Thermostat(0.0, 0.0)
    settling, steps = max(1, round(settle_fs / timestep_fs)), round(length_fs / timestep_fs)
    totals, shadows, last = [], [], point.forces
    for step in range(settling + steps):
        ahead = velocity_verlet(point, force_function, masses_amu, timestep_fs, none, positions)
        if step >= settling:
            totals.append(point.energies + kinetic_energy(point.velocities, masses_amu))
            turned = ahead.forces - last
            shadows.append(totals[-1] + _shadow(point, turned, masses_amu, timestep_fs))
        last, point = point.forces, ahead
    times_ps = np.asarray(1e-3 * timestep_fs * np.arange(steps), dtype=np.float64)
    return Drift(*(_slopes(times_ps, found, len(masses_amu)) for found in (shadows, totals)))


def _shadow(point: PhasePoint, turned: Tensor, masses_amu: Tensor, timestep_fs: float) -> Tensor:
    """By what the energy of second order that Verlet conserves differs from the total energy."""
    squares = (point.forces**2 / masses_amu[:, None]).sum((1, 2)) / AMU_A2_PER_FS2_eV
    power = (point.velocities * turned).sum((1, 2))
    return -(timestep_fs**2 * squares + timestep_fs * power) / 24.0


def _slopes(times_ps: NDArray[np.float64], energies: list[Tensor], atoms: int) -> Tensor:
    """In meV/atom/ps, of each replica."""
    per_atom = 1000.0 / atoms * (torch.stack(energies) - energies[0])
    return torch.from_numpy(np.polyfit(times_ps, per_atom.cpu().numpy(), 1)[0])


if __name__ == "__main__":
    main()
