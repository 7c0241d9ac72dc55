"""Thermal frames of a chunk: with the trajectory and the place in it that each comes from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apps.sampling.field import Teacher
from apps.sampling.settings import LangevinSettings
from apps.sampling.thermal import thermal_frames
from data_store.streams import stream_seed

__all__ = ["COPIES", "Frames", "cooler_half", "frames_at_rest", "steps_of_round", "thermal_round"]

COPIES = 16
"""Trajectories per temperature and round."""

_LEAST = 256
_PARENTS_PER_CHUNK = 1_000_000


@dataclass(frozen=True)
class Frames:
    """Candidate positions (S, N, 3) in Å with where they come from, (S,) each."""

    positions: NDArray[np.float64]
    parents: NDArray[np.int64]
    frames: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> Frames:
        """Some of them, in that order."""
        return Frames(self.positions[rows], self.parents[rows], self.frames[rows])


def thermal_round(
    teacher: Teacher, count: int, settings: LangevinSettings, where: tuple[int, int], attempt: int
) -> tuple[Frames, NDArray[np.float64]]:
    """At least `count` frames over all temperatures, interleaved; and the temperature of each.

    Parameters
    ----------
    teacher : Teacher
    count : int
    settings : LangevinSettings
    where : tuple of int
        Seed and chunk.
    attempt : int
        Number of the round: each has trajectories of its own.
    """
    chunk_seed = stream_seed(where[0], "sample", where[1], attempt)
    temperatures = settings.temperatures_K
    frames = _frames_each(count, settings)
    made = np.stack(
        [
            thermal_frames(teacher, t, COPIES, frames, settings, stream_seed(chunk_seed, "T", i))
            for i, t in enumerate(temperatures)
        ],
        axis=2,
    )  # (frames, copies, temperatures, N, 3)
    shape = made.shape[:3]
    frame, copy, kind = np.unravel_index(np.arange(np.prod(shape)), shape)
    first = where[1] * _PARENTS_PER_CHUNK + attempt * COPIES * len(temperatures)
    parents = first + kind * COPIES + copy
    positions = made.reshape(-1, *made.shape[3:])
    found = Frames(positions, parents.astype(np.int64), frame.astype(np.int64))
    return found, np.asarray(temperatures, dtype=np.float64)[kind]


def _frames_each(count: int, settings: LangevinSettings) -> int:
    """Frames of each trajectory of a round."""
    return -(-max(count, _LEAST) // (COPIES * len(settings.temperatures_K)))


def steps_of_round(count: int, settings: LangevinSettings) -> int:
    """Time steps that a round of so many frames runs, all temperatures one after another."""
    stride = max(1, round(settings.stride_fs / settings.timestep_fs))
    equilibration = round(settings.equilibration_fs / settings.timestep_fs)
    each = equilibration + _frames_each(count, settings) * stride
    return each * len(settings.temperatures_K)


def cooler_half(frames: Frames, temperatures_K: NDArray[np.float64], median_K: float) -> Frames:
    """Frames of temperatures up to the median: what other tiers distort."""
    return frames.take(np.flatnonzero(temperatures_K <= median_K))


def frames_at_rest(teacher: Teacher, chunk: int) -> Frames:
    """The relaxed geometry, as the one frame of the last parent of a chunk."""
    parent = np.array([(chunk + 1) * _PARENTS_PER_CHUNK - 1], dtype=np.int64)
    return Frames(teacher.relaxed_positions[None], parent, np.zeros(1, dtype=np.int64))
