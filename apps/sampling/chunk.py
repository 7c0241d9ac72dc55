"""One chunk of teacher structures: tiers mixed by weight, each filled by what is accepted.

Thermal frames come first; the other tiers distort those of the cooler half of the temperatures. All
is decided by the seed and the chunk's number.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from apps.sampling.acceptance import accept
from apps.sampling.settings import LangevinSettings, SamplingSettings
from apps.sampling.strategies.clash import clashing_pairs, pull_together
from apps.sampling.strategies.noise import add_noise
from apps.sampling.strategies.scan import scan_bonds
from apps.sampling.teacher import Teacher
from apps.sampling.thermal import thermal_frames
from data_store.errors import InputError, MethodError
from data_store.streams import stream, stream_seed
from data_store.structures import TIER_CODES, Structures, concatenate

__all__ = ["Chunk", "largest_remainder", "make_chunk", "thermal_batch"]

COPIES = 16
"""Trajectories per temperature and round."""

MAX_ROUNDS = 12
"""Rounds of making candidates before a tier is given up."""

_PARENTS_PER_CHUNK = 1_000_000


@dataclass
class Chunk:
    """Accepted structures, and what was rejected.

    Parameters
    ----------
    structures : Structures
    tiers : dict of str to int
        Accepted, by tier.
    rejected : dict of str to dict of str to int
        By tier and reason.
    left_out : tuple of str
        Tiers that this molecule cannot have.
    """

    structures: Structures
    tiers: dict[str, int]
    rejected: dict[str, dict[str, int]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Frames:
    """Candidate positions with where they come from."""

    positions: NDArray[np.float64]
    parents: NDArray[np.int64]
    frames: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> _Frames:
        return _Frames(self.positions[rows], self.parents[rows], self.frames[rows])


def largest_remainder(total: int, weights: dict[str, float]) -> dict[str, int]:
    """Whole numbers that add up to `total`, in proportion to weights."""
    exact = {name: total * w / sum(weights.values()) for name, w in weights.items()}
    counts = {name: int(value) for name, value in exact.items()}
    order = sorted(exact, key=lambda name: (counts[name] - exact[name], name))
    for name in order[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def thermal_batch(
    teacher: Teacher, count: int, settings: LangevinSettings, seed: int, first_parent: int
) -> tuple[_Frames, NDArray[np.float64]]:
    """At least `count` frames over all temperatures, interleaved; and the temperature of each."""
    temperatures = settings.temperatures_K
    frames = -(-count // (COPIES * len(temperatures)))
    made = np.stack(
        [
            thermal_frames(teacher, t, COPIES, frames, settings, stream_seed(seed, "T", i))
            for i, t in enumerate(temperatures)
        ],
        axis=2,
    )  # (frames, copies, temperatures, N, 3)
    shape = made.shape[:3]
    frame, copy, kind = np.unravel_index(np.arange(np.prod(shape)), shape)
    parents = first_parent + kind * COPIES + copy
    positions = made.reshape(-1, *made.shape[3:])
    found = _Frames(positions, parents.astype(np.int64), frame.astype(np.int64))
    return found, np.asarray(temperatures, dtype=np.float64)[kind]


def make_chunk(teacher: Teacher, settings: SamplingSettings, seed: int, chunk: int) -> Chunk:
    """Make one chunk of accepted structures.

    Raises
    ------
    InputError
        If the molecule can have no tier that has a weight.
    MethodError
        If the window rejects nearly everything; with the counts.
    """
    weights, left_out = _feasible(teacher, settings)
    wanted = largest_remainder(settings.chunk_structures, weights)
    made: list[Structures] = []
    rejected: dict[str, dict[str, int]] = {}
    base: _Frames | None = None
    for tier, count in wanted.items():
        accepted, refused, base = _tier(teacher, tier, count, settings, (seed, chunk), base)
        rejected[tier] = refused
        if count:
            made.append(accepted)
    return Chunk(concatenate(made), wanted, rejected, left_out)


def _feasible(
    teacher: Teacher, settings: SamplingSettings
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Weights of the tiers that this molecule can have, thermal first; and those it cannot."""
    tiers = settings.tiers
    weights = {
        "langevin": tiers.langevin.weight,
        "noise": tiers.noise.weight,
        "scan": tiers.scan.weight,
        "clash": tiers.clash.weight,
    }
    impossible = []
    if not teacher.molecule.bonds:
        impossible.append("scan")
    if not clashing_pairs(teacher.molecule):
        impossible.append("clash")
    left_out = tuple(name for name in impossible if weights[name] > 0)
    possible = {n: w for n, w in weights.items() if n not in impossible}
    if not any(possible.values()):
        raise InputError(
            f"{teacher.molecule.name} cannot have the only tiers with a weight: {list(left_out)}",
            "give another tier a weight ([sampling.tiers])",
        )
    return possible, left_out


def _tier(
    teacher: Teacher,
    tier: str,
    count: int,
    settings: SamplingSettings,
    where: tuple[int, int],
    base: _Frames | None,
) -> tuple[Structures, dict[str, int], _Frames]:
    """Accepted structures of one tier, rejections, and the thermal frames that others distort."""
    kept: list[Structures] = []
    rejected: Counter[str] = Counter()
    missing = count
    for attempt in range(MAX_ROUNDS):
        if base is None or (tier == "langevin" and missing > 0):
            candidates, base = _thermal(teacher, max(missing, 256), settings, where, attempt, base)
        if missing <= 0:
            break
        if tier != "langevin":
            number = missing + missing // 2 + 16
            candidates = _distorted(teacher, tier, number, settings, where, attempt, base)
        found, refused = _judged(teacher, candidates, tier, settings)
        rejected.update(refused)
        kept.append(found.slice(0, min(missing, len(found))))
        missing -= len(kept[-1])
    if missing > 0:
        raise MethodError(
            f"tier {tier!r}: after {MAX_ROUNDS} rounds {count - missing} of {count} structures "
            f"were accepted; rejected: {dict(rejected)}",
            "widen the window ([sampling] max_energy_eV_per_atom, min_distance_A) or narrow the "
            f"tier's range ([sampling.tiers] {tier})",
        )
    assert base is not None  # the first round made it
    return concatenate(kept) if kept else _no_structures(teacher), dict(rejected), base


def _no_structures(teacher: Teacher) -> Structures:
    one = teacher.molecule.reference_positions[None]
    return Structures.from_dense(np.array(teacher.molecule.numbers), one)


def _thermal(
    teacher: Teacher,
    count: int,
    settings: SamplingSettings,
    where: tuple[int, int],
    attempt: int,
    base: _Frames | None,
) -> tuple[_Frames, _Frames]:
    """Thermal candidates, and those of the cooler half of the temperatures (of round one)."""
    seed, chunk = where
    langevin = settings.tiers.langevin
    per_round = COPIES * len(langevin.temperatures_K)
    first = chunk * _PARENTS_PER_CHUNK + attempt * per_round
    found, temperatures = thermal_batch(
        teacher, count, langevin, stream_seed(seed, "sample", chunk, attempt), first
    )
    cool = np.flatnonzero(temperatures <= np.median(langevin.temperatures_K))
    return found, base or found.take(cool)


def _distorted(
    teacher: Teacher,
    tier: str,
    count: int,
    settings: SamplingSettings,
    where: tuple[int, int],
    attempt: int,
    base: _Frames,
) -> _Frames:
    rng = stream(where[0], "sample", where[1], tier, attempt)
    chosen = base.take(rng.integers(len(base.positions), size=count))
    molecule, tiers = teacher.molecule, settings.tiers
    if tier == "noise":
        positions = add_noise(chosen.positions, tiers.noise, rng)
    elif tier == "scan":
        positions = scan_bonds(molecule, chosen.positions, tiers.scan, rng)
    else:
        positions = pull_together(molecule, chosen.positions, tiers.clash, rng)
    return _Frames(positions, chosen.parents, chosen.frames)


def _judged(
    teacher: Teacher, candidates: _Frames, tier: str, settings: SamplingSettings
) -> tuple[Structures, dict[str, int]]:
    numbers = np.array(teacher.molecule.numbers)
    energies, forces = teacher.energies_and_forces(candidates.positions)
    accepted, rejected = accept(numbers, candidates.positions, energies, forces, settings)
    rows = np.flatnonzero(accepted)
    structures = Structures.from_dense(
        numbers,
        candidates.positions[rows].astype(np.float32),
        energies=energies[rows],
        forces=forces[rows].astype(np.float32),
        charge=teacher.molecule.charge,
        multiplicity=teacher.molecule.multiplicity,
        tiers=TIER_CODES[tier],
        parents=candidates.parents[rows],
        frames=candidates.frames[rows],
    )
    return structures, rejected
