"""The engine: steps of all replicas of a block in one batch, watched; the failed ones leave it.

Time runs in segments of ``compact_every_steps``. Within one, failed replicas are carried along and
ignored; at its end they leave the batch, so that a failure soon costs nothing. Noise is drawn for
all replicas that ever were, from a generator that belongs to a chunk of steps: who has left, how
long segments are, and where a run was interrupted leaves no trace in the others' noise. A force
function that treats replicas apart to the bit (analytic ones do) then gives the same runs to the
bit; in a network the order of sums in a matrix product may depend on the size of the batch. How
blocks are run to their end, one or several in a batch, is `apps.dynamics.ensemble`'s business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apps.dynamics.criteria import Watched, first_failure
from apps.dynamics.integrators import INTEGRATORS, ForceFunction, PhasePoint, Thermostat
from apps.dynamics.lasting import Since
from apps.dynamics.metadynamics import Bias, Hills, biased, deposit, no_hills
from apps.dynamics.noise import Noise
from apps.dynamics.settings import DynamicsSettings
from apps.dynamics.thermal import kinetic_energy, maxwell_boltzmann
from data_store.streams import stream_seed

__all__ = [
    "Block",
    "Failure",
    "State",
    "compact",
    "noise_of_segment",
    "noise_to_come",
    "segment",
    "start_block",
]


def _nothing() -> None:
    return


@dataclass(frozen=True)
class Block:
    """What is simulated.

    Parameters
    ----------
    force_function : callable
        From positions (R, N, 3) to energies (R,) and forces.
    watched : Watched
    settings : DynamicsSettings
    temperature_K : float
    seed : int
        Decides velocities and noise; the same in all arms.
    replicas : int
    device : torch.device
    begin_segment : callable
        Told of each segment before its first step, so that what a force function keeps between
        steps is the same in a run that was interrupted.
    """

    force_function: ForceFunction
    watched: Watched
    settings: DynamicsSettings
    temperature_K: float
    seed: int
    replicas: int
    device: torch.device
    begin_segment: Callable[[], None] = _nothing

    @property
    def total_steps(self) -> int:
        """Steps of a replica that survives."""
        return self.settings.steps_of(self.settings.length_ps * 1000.0)

    @property
    def bias(self) -> Bias | None:
        """Bias that its replicas share and build, where there is one."""
        table = self.settings.metadynamics
        if table is None:
            return None
        pace = self.settings.steps_of(table.pace_fs)
        moments = self.total_steps // pace
        cell = self.watched.cell
        return Bias(table, self.temperature_K, self.replicas, pace, moments, cell)


@dataclass(frozen=True)
class Failure:
    """How one replica failed.

    Parameters
    ----------
    replica : int
        Within the block.
    step : int
        Of the check that saw it.
    cause : int
        Place in ``settings.criteria``.
    value : float
    atoms : tuple of int
    """

    replica: int
    step: int
    cause: int
    value: float
    atoms: tuple[int, ...]


@dataclass
class State:
    """Everything that a checkpoint holds.

    Parameters
    ----------
    step : int
    alive : Tensor of int64, shape (R,)
        Replicas in the batch.
    point : PhasePoint
        Of those.
    ring : Tensor, shape (keep_frames, R, N, 3)
        Their latest frames, by ``(step // stride) % keep_frames``.
    failures : list of Failure
    last_frames : dict of int to ndarray, shape (F, N, 3)
        Frames before each failure, the failing one last.
    saved : list of tuple
        (replica, step, positions float32, potential energy, kinetic energy) at the save stride.
    replica_steps : int
        Steps times replicas that were computed.
    hills : Hills or None
        Of the bias, where there is one. Energies of the point are without it, forces with it.
    since : dict of str to Tensor
        Since when conditions that must last have held, of the replicas in the batch.
    velocities : list of tuple
        (replica, step, velocities float32) at the stride of velocities, where there is one.
    own : Tensor of int64, shape (R,), or None
        In a batch of several blocks, the replicas' numbers in their own.
    """

    step: int
    alive: Tensor
    point: PhasePoint
    ring: Tensor
    failures: list[Failure] = field(default_factory=list)
    last_frames: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    saved: list[tuple[int, int, NDArray[np.float32], float, float]] = field(default_factory=list)
    replica_steps: int = 0
    hills: Hills | None = None
    since: Since = field(default_factory=dict)
    velocities: list[tuple[int, int, NDArray[np.float32]]] = field(default_factory=list)
    own: Tensor | None = None


def start_block(block: Block, positions: Tensor) -> State:
    """State at time 0, with velocities drawn.

    Parameters
    ----------
    block : Block
    positions : Tensor of float64, shape (R, N, 3)
        Starts, in Å.
    """
    generator = torch.Generator().manual_seed(stream_seed(block.seed, "velocities"))
    velocities = maxwell_boltzmann(
        block.watched.masses_amu.cpu(), block.temperature_K, block.replicas, generator,
        at_rest=block.settings.ensemble == "nve",
    ).to(block.device)  # fmt: skip
    x = positions.to(block.device, torch.float64)
    bias = block.bias
    hills = None if bias is None else no_hills(bias, block.device)
    energies, forces = _forces(block, hills)(x)
    point = PhasePoint(x, velocities, forces, energies)
    ring = x.new_zeros(block.settings.keep_frames, *x.shape)
    state = State(0, torch.arange(block.replicas, device=block.device), point, ring, hills=hills)
    _observe(block, state, torch.ones(block.replicas, dtype=torch.bool, device=block.device))
    compact(state)
    return state


def noise_to_come(block: Block, state: State) -> Noise:
    """Noise of all segments to come, for all replicas that ever were."""
    settings, shape = block.settings, (block.replicas, *state.point.positions.shape[1:])
    every, end = settings.compact_every_steps, block.total_steps
    firsts = () if settings.ensemble == "nve" else range(state.step, end, every)
    segments = [(first, min(every, end - first)) for first in firsts]
    device = block.device
    return Noise(block.seed, shape, segments, device, ahead=device.type != "cpu")


def noise_of_segment(block: Block, state: State, coming: Noise) -> Tensor:
    """Noise of the next segment for the replicas in the batch, shape (steps, R, N, 3)."""
    steps = min(block.settings.compact_every_steps, block.total_steps - state.step)
    if block.settings.ensemble == "nve":
        return state.point.positions.new_zeros(steps, 1, 1, 1)
    drawn = coming.next()
    return drawn if len(state.alive) == block.replicas else drawn[:, state.alive]


def segment(block: Block, state: State, noise: Tensor) -> None:
    """Take the steps that there is noise for, in place.

    Parameters
    ----------
    block : Block
    state : State
    noise : Tensor, shape (steps, R, N, 3)
        As `noise_of_segment` draws it.
    """
    block.begin_segment()
    settings, steps = block.settings, len(noise)
    step_of, bias = INTEGRATORS[settings.ensemble], block.bias
    forces = _forces(block, state.hills)
    thermostat = Thermostat(block.temperature_K, settings.friction_per_ps * 1e-3)
    sound = torch.ones(len(state.alive), dtype=torch.bool, device=block.device)
    for index in range(steps):
        state.point = step_of(
            state.point, forces, block.watched.masses_amu, settings.timestep_fs,
            thermostat, noise[index],
        )  # fmt: skip
        state.step += 1
        _observe(block, state, sound)
        if bias is not None and state.hills is not None:
            deposit(bias, state.hills, state.step, state.point.positions, state.alive, sound)
    state.replica_steps += steps * len(state.alive)


def _forces(block: Block, hills: Hills | None) -> ForceFunction:
    """Of the block, with those of its bias where there is one."""
    bias = block.bias
    if bias is None or hills is None:
        return block.force_function
    return biased(bias, hills, block.force_function)


def _observe(block: Block, state: State, sound: Tensor) -> None:
    """Keep frames, save positions and check, each at its stride; `sound` loses who failed."""
    settings = block.settings
    keep = settings.steps_of(settings.keep_stride_fs)
    if state.step % keep == 0:
        state.ring[(state.step // keep) % settings.keep_frames] = state.point.positions
    check = settings.steps_of(settings.check_stride_fs)
    if state.step % check == 0 or state.step == block.total_steps:
        _check(block, state, sound)
    if state.step % settings.steps_of(settings.save_stride_ps * 1000.0) == 0:
        _save_positions(block, state, sound)
    fine = settings.velocity_stride_fs
    if fine is not None and state.step % settings.steps_of(fine) == 0:
        _save_velocities(block, state, sound)


def _check(block: Block, state: State, sound: Tensor) -> None:
    cause, value, atoms = first_failure(
        state.point, block.watched, block.settings, state.step, state.since
    )
    new = sound & (cause >= 0)
    if not bool(new.any()):
        return
    for row in torch.nonzero(new)[:, 0].tolist():
        replica = int(state.alive[row])
        found = tuple(int(a) for a in atoms[row].tolist() if a >= 0)
        state.failures.append(
            Failure(replica, state.step, int(cause[row]), float(value[row]), found)
        )
        state.last_frames[replica] = _frames_before(block, state, row)
    sound &= ~new


def _frames_before(block: Block, state: State, row: int) -> NDArray[np.float32]:
    """Kept frames of a replica in order of time, the present one last; finite ones only."""
    settings = block.settings
    keep = settings.steps_of(settings.keep_stride_fs)
    latest = state.step // keep
    first = max(0, latest - settings.keep_frames + 1)
    slots = [k % settings.keep_frames for k in range(first, latest + 1)]
    frames = state.ring[slots, row]
    if state.step % keep:
        frames = torch.cat([frames, state.point.positions[row : row + 1]])
    finite = torch.isfinite(frames).all(dim=-1).all(dim=-1)
    return np.asarray(frames[finite].cpu().numpy(), dtype=np.float32)


def _save_positions(block: Block, state: State, sound: Tensor) -> None:
    kinetic = kinetic_energy(state.point.velocities, block.watched.masses_amu)
    rows = torch.nonzero(sound)[:, 0]
    positions = state.point.positions[rows].cpu().numpy().astype(np.float32)
    listed = (state.alive, state.point.energies, kinetic)
    replicas, energies, kinetics = (column[rows].tolist() for column in listed)
    for place, replica in enumerate(replicas):
        state.saved.append(
            (replica, state.step, positions[place], energies[place], kinetics[place])
        )


def _save_velocities(block: Block, state: State, sound: Tensor) -> None:
    wanted, count = sound, block.settings.velocity_replicas
    if count is not None:
        wanted = sound & ((state.alive if state.own is None else state.own) < count)
    rows = torch.nonzero(wanted)[:, 0]
    velocities = state.point.velocities[rows].cpu().numpy().astype(np.float32)
    for replica, row in zip(state.alive[rows].tolist(), velocities, strict=True):
        state.velocities.append((replica, state.step, row))


def compact(state: State) -> None:
    """Let failed replicas leave the batch."""
    failed = {failure.replica for failure in state.failures}
    rows = [row for row, replica in enumerate(state.alive.tolist()) if replica not in failed]
    if len(rows) == len(state.alive):
        return
    point: dict[str, Any] = {name: value[rows] for name, value in vars(state.point).items()}
    state.point = PhasePoint(**point)
    state.alive, state.ring = state.alive[rows], state.ring[:, rows]
    state.since = {name: steps[rows] for name, steps in state.since.items()}
