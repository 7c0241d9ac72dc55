"""What a block's state kept of its trajectories, as columns of its part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from data_store.columns import Column

if TYPE_CHECKING:
    from apps.dynamics.engine import Block, State

__all__ = ["last_frame_columns", "saved_columns", "velocity_columns"]


def saved_columns(block: Block, state: State) -> dict[str, Column]:
    """Saved frames of all replicas, end to end; ``saved_replica`` is the row among the runs."""
    step_ps, rows = block.settings.timestep_fs * 1e-3, state.saved
    shape = (0, len(block.watched.masses_amu), 3)
    positions = np.stack([row[2] for row in rows]) if rows else np.zeros(shape, np.float32)
    return {
        "saved_replica": Column(np.array([row[0] for row in rows], dtype=np.int32)),
        "saved_time": Column(np.array([row[1] * step_ps for row in rows], dtype=np.float64), "ps"),
        "saved_positions": Column(positions, "Å"),
        "saved_potential_energy": Column(np.array([r[3] for r in rows], dtype=np.float64), "eV"),
        "saved_kinetic_energy": Column(np.array([r[4] for r in rows], dtype=np.float64), "eV"),
    }


def last_frame_columns(state: State) -> dict[str, Column]:
    """Last frames of all failed replicas, end to end, with the row of their run."""
    kept = sorted(state.last_frames.items())
    if not kept:
        return {}
    replicas = np.concatenate([np.full(len(frames), replica) for replica, frames in kept])
    return {
        "last_frames_replica": Column(replicas.astype(np.int32)),
        "last_frames_positions": Column(np.concatenate([frames for _, frames in kept]), "Å"),
    }


def velocity_columns(block: Block, state: State) -> dict[str, Column]:
    """Velocities at their stride, end to end; none where none were asked for."""
    if block.settings.velocity_stride_fs is None:
        return {}
    rows, step_ps = state.velocities, block.settings.timestep_fs * 1e-3
    shape = (0, len(block.watched.masses_amu), 3)
    velocities = np.stack([row[2] for row in rows]) if rows else np.zeros(shape, np.float32)
    return {
        "velocity_replica": Column(np.array([row[0] for row in rows], dtype=np.int32)),
        "velocity_time": Column(np.array([row[1] * step_ps for row in rows], np.float64), "ps"),
        "velocities": Column(velocities, "Å/fs"),
    }
