"""The tiers: what each needs of a molecule, and how its candidates are made. One entry a tier.

Thermal frames are made by dynamics, round by round; every other tier distorts frames that are
there, with random numbers of its own path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from apps.sampling.field import Field, Teacher
from apps.sampling.frames import Frames, cooler_half, frames_at_rest, thermal_round
from apps.sampling.settings import SamplingSettings, TierSettings
from apps.sampling.strategies.angle import bend_angles, bond_angles
from apps.sampling.strategies.clash import clashing_pairs, pull_together
from apps.sampling.strategies.fragment import acyclic_bonds, pull_apart
from apps.sampling.strategies.noise import add_noise
from apps.sampling.strategies.normal_mode import displace_along_modes
from apps.sampling.strategies.pair import bring_into_contact
from apps.sampling.strategies.scan import scan_bonds
from data_store.molecules import Molecule
from data_store.streams import stream

__all__ = ["TIERS", "Chunkwork", "Tier"]

Distortion = Callable[
    [Teacher, NDArray[np.float64], TierSettings, np.random.Generator], NDArray[np.float64]
]
"""From frames (S, N, 3) to candidates (S, N or 2N, 3), in Å."""


@dataclass(frozen=True)
class Chunkwork:
    """What all tiers of a chunk are made from.

    Parameters
    ----------
    teacher : Teacher
    settings : SamplingSettings
    where : tuple of int
        Seed and chunk.
    thermal : int
        Structures wanted of the thermal tier: the first round of dynamics makes as many.
    """

    teacher: Teacher
    settings: SamplingSettings
    where: tuple[int, int]
    thermal: int

    def thermal_round(self, count: int, attempt: int) -> tuple[Frames, NDArray[np.float64]]:
        """One round of dynamics."""
        langevin = self.settings.tiers.langevin
        return thermal_round(self.teacher, count, langevin, self.where, attempt)

    @cached_property
    def hot(self) -> tuple[Frames, NDArray[np.float64]]:
        """The first round of dynamics."""
        return self.thermal_round(self.thermal, 0)

    @cached_property
    def base(self) -> Frames:
        """Thermal frames that other tiers distort."""
        median = np.median(self.settings.tiers.langevin.temperatures_K)
        return cooler_half(*self.hot, float(median))

    @cached_property
    def rest(self) -> Frames:
        """The relaxed geometry."""
        return frames_at_rest(self.teacher, self.where[1])


Candidates = Callable[[Chunkwork, int, int], Frames]
"""From a chunk's work, the structures still missing and the round's number."""


@dataclass(frozen=True)
class Tier:
    """An entry of the table.

    Parameters
    ----------
    candidates : callable
    possible : callable
        Whether a molecule can have it.
    field : callable
        What evaluates its structures, given the teacher; None where this force field cannot.
    """

    candidates: Candidates
    possible: Callable[[Molecule], bool] = lambda molecule: True
    field: Callable[[Teacher], Field | None] = lambda teacher: teacher


def _thermal(work: Chunkwork, missing: int, attempt: int) -> Frames:
    return (work.thermal_round(missing, attempt) if attempt else work.hot)[0]


def _distorted(
    tier: str, distortion: Distortion, base: Callable[[Chunkwork], Frames] = lambda work: work.base
) -> Candidates:
    def candidates(work: Chunkwork, missing: int, attempt: int) -> Frames:
        seed, chunk = work.where
        rng, frames = stream(seed, "sample", chunk, tier, attempt), base(work)
        count = missing + missing // 2 + 16
        chosen = frames.take(rng.integers(len(frames.positions), size=count))
        positions = distortion(work.teacher, chosen.positions, work.settings.tiers, rng)
        return Frames(positions, chosen.parents, chosen.frames)

    return candidates


TIERS: dict[str, Tier] = {
    "langevin": Tier(_thermal),
    "noise": Tier(
        _distorted("noise", lambda teacher, x, tiers, rng: add_noise(x, tiers.noise, rng))
    ),
    "scan": Tier(
        _distorted(
            "scan", lambda teacher, x, tiers, rng: scan_bonds(teacher.molecule, x, tiers.scan, rng)
        ),
        possible=lambda molecule: bool(molecule.bonds),
    ),
    "clash": Tier(
        _distorted(
            "clash",
            lambda teacher, x, tiers, rng: pull_together(teacher.molecule, x, tiers.clash, rng),
        ),
        possible=lambda molecule: bool(clashing_pairs(molecule)),
    ),
    "normal_mode": Tier(
        _distorted(
            "normal_mode",
            lambda teacher, x, tiers, rng: displace_along_modes(teacher, x, tiers.normal_mode, rng),
            base=lambda work: work.rest,
        ),
        possible=lambda molecule: len(molecule.numbers) > 1,
    ),
    "angle": Tier(
        _distorted(
            "angle",
            lambda teacher, x, tiers, rng: bend_angles(teacher.molecule, x, tiers.angle, rng),
        ),
        possible=lambda molecule: bool(bond_angles(molecule)),
    ),
    "fragment": Tier(
        _distorted(
            "fragment",
            lambda teacher, x, tiers, rng: pull_apart(teacher.molecule, x, tiers.fragment, rng),
        ),
        possible=lambda molecule: bool(acyclic_bonds(molecule)),
    ),
    "pair": Tier(
        _distorted(
            "pair",
            lambda teacher, x, tiers, rng: bring_into_contact(teacher.molecule, x, tiers.pair, rng),
        ),
        field=lambda teacher: teacher.pair(),
    ),
}
"""By name, in the order in which a chunk holds them."""
