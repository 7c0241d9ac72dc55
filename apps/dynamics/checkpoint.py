"""A block's state as one file of arrays and JSON, and back, without loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from apps.dynamics.engine import Failure, State
from apps.dynamics.integrators import PhasePoint
from apps.dynamics.metadynamics import Hills
from data_store.work import load_item, save_item

__all__ = ["load_state", "save_state"]

_KEY = "checkpoint"
_NO_ROWS = np.zeros((0, 2), dtype=np.int64)
_POINT = ("positions", "velocities", "forces", "energies")


def save_state(folder: Path, state: State) -> None:
    """Write the state; a kill at any moment leaves this one or the one before.

    Raises
    ------
    WorkspaceError
        If the file system refuses.
    """
    arrays: dict[str, Any] = {n: getattr(state.point, n).cpu().numpy() for n in _POINT}
    arrays |= {"alive": state.alive.cpu().numpy(), "ring": state.ring.cpu().numpy()}
    arrays |= {f"frames_{r}": frames for r, frames in state.last_frames.items()}
    arrays |= {f"since_{name}": steps.cpu().numpy() for name, steps in state.since.items()}
    if state.saved:
        arrays["saved_positions"] = np.stack([row[2] for row in state.saved])
    if state.velocities:
        arrays["velocity_rows"] = np.array([row[:2] for row in state.velocities], dtype=np.int64)
        arrays["saved_velocities"] = np.stack([row[2] for row in state.velocities])
    metadata = {
        "step": state.step,
        "failures": [vars(failure) for failure in state.failures],
        "saved": [[row[0], row[1], row[3], row[4]] for row in state.saved],
        "replica_steps": state.replica_steps,
    }
    if state.hills is not None:
        kept, names = state.hills.laid(), ("table", "centres", "heights")
        arrays |= {f"hills_{n}": getattr(kept, n).cpu().numpy() for n in names}
        metadata |= {"hills_laid": kept.count, "hills_room": len(state.hills.heights)}
    save_item(folder, _KEY, arrays, metadata)


def load_state(folder: Path, device: torch.device) -> State | None:
    """State to go on from, or None."""
    found = load_item(folder, _KEY)
    if found is None:
        return None
    arrays, metadata = found
    tensors = {n: torch.from_numpy(arrays[n]).to(device) for n in (*_POINT, "alive", "ring")}
    frames = {int(replica): values for replica, values in _named(arrays, "frames_").items()}
    since = _named(arrays, "since_")
    return State(
        step=metadata["step"],
        alive=tensors["alive"],
        point=PhasePoint(**{n: tensors[n] for n in _POINT}),
        ring=tensors["ring"],
        failures=[Failure(**{**f, "atoms": tuple(f["atoms"])}) for f in metadata["failures"]],
        last_frames=frames,
        saved=[
            (replica, step, arrays["saved_positions"][row], potential, kinetic)
            for row, (replica, step, potential, kinetic) in enumerate(metadata["saved"])
        ],
        replica_steps=metadata["replica_steps"],
        hills=_hills(arrays, metadata, device),
        since={name: torch.from_numpy(steps).to(device) for name, steps in since.items()},
        velocities=[
            (replica, step, arrays["saved_velocities"][row])
            for row, (replica, step) in enumerate(arrays.get("velocity_rows", _NO_ROWS).tolist())
        ],
    )


def _named(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Arrays whose names begin so, by what follows."""
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}


def _hills(arrays: dict[str, Any], metadata: dict[str, Any], device: torch.device) -> Hills | None:
    if "hills_table" not in arrays:
        return None
    table, centres, heights = (
        torch.from_numpy(arrays[f"hills_{n}"]).to(device) for n in ("table", "centres", "heights")
    )
    return Hills(table, centres, heights, metadata["hills_laid"]).with_room(metadata["hills_room"])
