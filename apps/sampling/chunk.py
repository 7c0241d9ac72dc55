"""One chunk of teacher structures: tiers mixed by weight, each filled by what is accepted.

Thermal frames come first; most other tiers distort those of the cooler half of the temperatures.
All is decided by the seed and the chunk's number.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from apps.sampling.acceptance import accept
from apps.sampling.effective import effective_samples
from apps.sampling.field import Field, Teacher
from apps.sampling.frames import COPIES, Frames
from apps.sampling.settings import SamplingSettings, TierSettings
from apps.sampling.tiers import TIERS, Chunkwork
from data_store.errors import InputError, MethodError
from data_store.structures import TIER_CODES, Structures, concatenate

__all__ = ["MAX_ROUNDS", "Chunk", "fill_tier", "judged", "largest_remainder", "make_chunk"]

MAX_ROUNDS = 12
"""Rounds of making candidates before a tier is given up, unless it gets on."""

ROUND = 8_192
"""Structures that a round asks for at most: what a worker holds does not grow with the chunk, but
for the structures that are kept."""

_GETS_ON = 0.05
"""Share of candidates that is accepted where more rounds are worth it."""


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
        Tiers with a weight that this molecule or force field cannot have.
    thermal : list of dict
        Of the first round of dynamics, by temperature: ``temperature_K``, ``frames``, and
        ``effective``, the independent structures that these are worth (`apps.sampling.effective`).
    """

    structures: Structures
    tiers: dict[str, int]
    rejected: dict[str, dict[str, int]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    thermal: list[dict[str, float]] = field(default_factory=list)


def largest_remainder(total: int, weights: dict[str, float]) -> dict[str, int]:
    """Whole numbers that add up to `total`, in proportion to weights."""
    exact = {name: total * w / sum(weights.values()) for name, w in weights.items()}
    counts = {name: int(value) for name, value in exact.items()}
    order = sorted(exact, key=lambda name: (counts[name] - exact[name], name))
    for name in order[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def make_chunk(teacher: Teacher, settings: SamplingSettings, seed: int, chunk: int) -> Chunk:
    """Make one chunk of accepted structures.

    Raises
    ------
    InputError
        If molecule and force field can have none of the tiers that have a weight.
    MethodError
        If the window rejects nearly everything; with the counts.
    """
    fields, left_out = _feasible(teacher, settings.tiers)
    weights = {tier: float(getattr(settings.tiers, tier).weight) for tier in fields}
    wanted = largest_remainder(settings.chunk_structures, weights)
    work = Chunkwork(teacher, settings, (seed, chunk), wanted.get("langevin", 0))
    made: list[Structures] = []
    rejected: dict[str, dict[str, int]] = {}
    for tier, count in wanted.items():
        accepted, rejected[tier] = fill_tier(work, tier, fields[tier], count)
        made.extend(accepted)
    return Chunk(concatenate(made), wanted, rejected, left_out, _thermal(work))


def _thermal(work: Chunkwork) -> list[dict[str, float]]:
    """What the first round of dynamics is worth, where it was run."""
    if "hot" not in vars(work):
        return []
    temperatures = work.settings.tiers.langevin.temperatures_K
    positions = work.hot[0].positions
    energies = np.concatenate(
        [
            work.teacher.energies_and_forces(positions[start : start + ROUND])[0]
            for start in range(0, len(positions), ROUND)
        ]
    ).reshape(-1, COPIES, len(temperatures))
    return [
        {
            "temperature_K": t,
            "frames": energies[:, :, kind].size,
            "effective": round(effective_samples(energies[:, :, kind]), 3),
        }
        for kind, t in enumerate(temperatures)
    ]


def _feasible(teacher: Teacher, settings: TierSettings) -> tuple[dict[str, Field], tuple[str, ...]]:
    """Tiers with a weight that molecule and force field can have, and what evaluates each.

    And those that they cannot.
    """
    asked = [name for name in TIERS if getattr(settings, name).weight > 0.0]
    fields = {}
    for name in asked:
        found = TIERS[name].field(teacher) if TIERS[name].possible(teacher.molecule) else None
        if found is not None:
            fields[name] = found
    if not fields:
        raise InputError(
            f"{teacher.molecule.formula} with {teacher.name} can have none of the tiers that have "
            f"a weight: {', '.join(asked)}",
            "give another one a weight ([sampling.tiers])",
        )
    return fields, tuple(name for name in asked if name not in fields)


def fill_tier(
    work: Chunkwork, tier: str, evaluator: Field, count: int
) -> tuple[list[Structures], dict[str, int]]:
    """Accepted structures of one tier, in batches, and rejections by reason.

    Raises
    ------
    MethodError
        If the window rejects nearly everything.
    """
    kept: list[Structures] = []
    rejected: Counter[str] = Counter()
    missing, attempt, accepted = count, 0, 0
    while missing > 0 and (
        attempt < MAX_ROUNDS or accepted > _GETS_ON * (accepted + rejected.total())
    ):
        candidates = TIERS[tier].candidates(work, min(missing, ROUND), attempt)
        found, refused = judged(evaluator, candidates, tier, work.settings)
        rejected.update(refused)
        kept.append(found.slice(0, min(missing, len(found))))
        missing -= len(kept[-1])
        accepted, attempt = accepted + len(found), attempt + 1
    if missing > 0:
        raise MethodError(
            f"tier {tier!r}: after {attempt} rounds {count - missing} of {count} structures "
            f"were accepted; rejected: {dict(rejected)}",
            "widen the window ([sampling] max_energy_eV_per_atom, min_distance_A) or narrow the "
            f"tier's range ([sampling.tiers] {tier})",
        )
    return kept, dict(rejected)


def judged(
    evaluator: Field, candidates: Frames, tier: str, settings: SamplingSettings
) -> tuple[Structures, dict[str, int]]:
    """Candidates that are accepted, labelled; and how many were not, by reason."""
    molecule = evaluator.molecule
    numbers = np.array(molecule.numbers)
    energies, forces = evaluator.energies_and_forces(candidates.positions)
    accepted, rejected = accept(numbers, candidates.positions, energies, forces, settings)
    rows = np.flatnonzero(accepted)
    structures = Structures.from_dense(
        numbers,
        candidates.positions[rows].astype(np.float32),
        energies=energies[rows],
        forces=forces[rows].astype(np.float32),
        charge=molecule.charge,
        multiplicity=molecule.multiplicity,
        tiers=TIER_CODES[tier],
        parents=candidates.parents[rows],
        frames=candidates.frames[rows],
    )
    return structures, rejected
