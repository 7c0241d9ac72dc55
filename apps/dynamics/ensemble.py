"""Blocks run to their end, one alone or several of one model in a batch, saved and stopped between.

On a GPU a batch of a few dozen replicas leaves most of the card idle, and the size of a block is
part of the science. So blocks that differ in seeds and starts alone share batches: their replicas
are put end to end for a segment and dealt out after it. Each block keeps its own state, noise and
checkpoints, and knows nothing of its company: it may go on tomorrow in another, or alone. Those
that lag run until they have caught up with the others, so that all in a batch are at the same step.

Blocks with a bias of their own (`apps.dynamics.metadynamics`) never share a batch.

Where the forces of a replica do not depend on who else is in the batch to the bit (see
`apps.dynamics.engine`), neither do its runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from apps.dynamics.engine import (
    Block,
    State,
    compact,
    noise_of_segment,
    noise_to_come,
    segment,
)
from apps.dynamics.integrators import PhasePoint
from apps.dynamics.noise import Noise

__all__ = ["Member", "simulate_block", "simulate_blocks"]


@dataclass(frozen=True)
class Member:
    """A block on its way.

    Parameters
    ----------
    block : Block
    state : State
        Changed in place.
    save : callable
        Writes its checkpoint.
    """

    block: Block
    state: State
    save: Callable[[State], None]

    @property
    def finished(self) -> bool:
        """Whether every replica has failed or reached the end."""
        return not len(self.state.alive) or self.state.step >= self.block.total_steps


def simulate_block(
    block: Block,
    state: State,
    save: Callable[[State], None],
    save_every_s: float,
    should_stop: Callable[[], bool],
) -> bool:
    """Run one block until every replica has failed or reached the end, in place.

    Returns
    -------
    bool
        Whether it is finished; False where it was stopped, with a checkpoint.
    """
    (finished,) = simulate_blocks([Member(block, state, save)], save_every_s, should_stop)
    return finished


def simulate_blocks(
    members: Sequence[Member], save_every_s: float, should_stop: Callable[[], bool]
) -> list[bool]:
    """Run blocks that share a force function until each is finished, in place.

    Parameters
    ----------
    members : sequence of Member
        Their blocks differ in seed and number of replicas alone.
    save_every_s : float
    should_stop : callable
        Asked at the end of each segment.

    Returns
    -------
    list of bool
        Whether each is finished; False where it was stopped, with a checkpoint.
    """
    saved = time.monotonic()
    with ExitStack() as stack:
        coming = [stack.enter_context(noise_to_come(m.block, m.state)) for m in members]
        while going := [i for i, member in enumerate(members) if not member.finished]:
            last = min(members[i].state.step for i in going)
            lagging = [i for i in going if members[i].state.step == last]
            _advance([members[i] for i in lagging], [coming[i] for i in lagging])
            unfinished = [m for m in members if not m.finished]
            stopping = bool(unfinished) and should_stop()
            if stopping or time.monotonic() - saved >= save_every_s:
                for member in unfinished:
                    member.save(member.state)
                saved = time.monotonic()
            if stopping:
                break
    return [member.finished for member in members]


def _advance(members: Sequence[Member], coming: Sequence[Noise]) -> None:
    """One segment of blocks that are at the same step."""
    drawn = [
        noise_of_segment(m.block, m.state, noise)
        for m, noise in zip(members, coming, strict=True)
    ]  # fmt: skip
    block = members[0].block
    if len(members) == 1 or block.bias:
        for member, noise in zip(members, drawn, strict=True):
            segment(member.block, member.state, noise)
    else:
        together = _joined([member.state for member in members])
        one_for_all = block.settings.ensemble == "nve"
        segment(block, together, drawn[0] if one_for_all else torch.cat(drawn, dim=1))
        _deal_out(together, [member.state for member in members])
    for member in members:
        compact(member.state)


def _joined(states: Sequence[State]) -> State:
    """One state of all their replicas, numbered through, that has seen no failure."""

    def end_to_end(name: str) -> Tensor:
        return torch.cat([getattr(state.point, name) for state in states])

    point = PhasePoint(*map(end_to_end, ("positions", "velocities", "forces", "energies")))
    ring = torch.cat([state.ring for state in states], dim=1)
    everyone = torch.arange(len(point.energies), device=point.energies.device)
    since = {n: torch.cat([state.since[n] for state in states]) for n in states[0].since}
    own = torch.cat([state.alive for state in states])
    return State(states[0].step, everyone, point, ring, since=since, own=own)


def _deal_out(together: State, states: Sequence[State]) -> None:
    """Give each state its rows of the joined one, and what was seen of its replicas."""
    owners: list[tuple[State, int]] = []
    for state in states:
        rows = slice(len(owners), len(owners) + len(state.alive))
        owners += [(state, replica) for replica in state.alive.tolist()]
        state.replica_steps += (together.step - state.step) * len(state.alive)
        state.point = PhasePoint(*(column[rows] for column in vars(together.point).values()))
        state.step, state.ring = together.step, together.ring[:, rows]
        state.since = {name: steps[rows] for name, steps in together.since.items()}
    for failure in together.failures:
        state, replica = owners[failure.replica]
        state.failures.append(replace(failure, replica=replica))
        state.last_frames[replica] = together.last_frames[failure.replica]
    for row, step, positions, potential, kinetic in together.saved:
        state, replica = owners[row]
        state.saved.append((replica, step, positions, potential, kinetic))
    for row, step, velocities in together.velocities:
        state, replica = owners[row]
        state.velocities.append((replica, step, velocities))
