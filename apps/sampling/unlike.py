"""Pairs of two unlike molecules of a mixture, in contact in any orientation.

Each has its own energy from its own teacher, which may be another's; what they do to each other is
that of one force field that knows both, the first of MMFF94, GFN-FF and UFF: what it gives both
together beyond both far apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from apps.sampling import gfnff, mmff94, uff
from apps.sampling.chunk import MAX_ROUNDS, Chunk, judged
from apps.sampling.copies import joined
from apps.sampling.field import Field, Teacher
from apps.sampling.frames import Frames
from apps.sampling.rdkit_field import RDKitField
from apps.sampling.settings import SamplingSettings
from apps.sampling.strategies.pair import first_contact, turned
from apps.sampling.tiers import Chunkwork
from data_store.errors import InputError, MethodError
from data_store.molecules import Molecule
from data_store.streams import stream, stream_seed
from data_store.structures import Structures, concatenate
from data_store.units import COVALENT_RADII_A

__all__ = ["UnlikePair", "interaction_of", "make_unlike_chunk"]

Array = NDArray[np.float64]

_FAR_A = 1e6


def _by_mmff94(first: Molecule, second: Molecule) -> Field | None:
    bound = [mmff94.MMFF94(molecule) for molecule in (first, second)]
    if any(one.pair() is None for one in bound):
        return None  # its charges are not the molecule's
    return RDKitField(joined(first, second), bound[0]._build)


def _by_uff(first: Molecule, second: Molecule) -> Field:
    return RDKitField(joined(first, second), uff.UFF(first)._build)


_INTERACTIONS: dict[
    str,
    tuple[Callable[[Molecule], list[int]], Callable[[Molecule, Molecule], Field | None]],
] = {
    "mmff94": (mmff94.untyped_atoms, _by_mmff94),
    "gfnff": (gfnff.untyped_atoms, gfnff.together),
    "uff": (uff.untyped_atoms, _by_uff),
}


def interaction_of(first: Molecule, second: Molecule) -> tuple[str, Field]:
    """Name of the force field by which two molecules see each other, and it of both together.

    Raises
    ------
    InputError
        If none knows both.
    """
    for name, (untyped, build) in _INTERACTIONS.items():
        if not untyped(first) and not untyped(second):
            field = build(first, second)
            if field is not None:
                return name, field
    raise InputError(
        f"no force field knows both {first.formula} and {second.formula}, so that pairs of them "
        "cannot be made",
        "set the weight of the tier pair to 0",
    )


class UnlikePair:
    """Two molecules: each by its own teacher, and their interaction by another force field.

    Parameters
    ----------
    one, other : Teacher
    both : Field
        Of both together, the second one's atoms after the first one's; its zero does not matter.
    """

    def __init__(self, one: Teacher, other: Teacher, both: Field) -> None:
        self.molecule = joined(one.molecule, other.molecule)
        self._one, self._other, self._both = one, other, both

    def energies_and_forces(self, positions: Array) -> tuple[Array, Array]:
        """Energies (S,) in eV above both minima far apart, and forces (S, N + M, 3) in eV/Å."""
        count = len(self._one.molecule.numbers)
        apart = positions.copy()
        apart[:, count:, 0] += _FAR_A
        energies, forces = self._both.energies_and_forces(positions)
        far_energies, far_forces = self._both.energies_and_forces(apart)
        first, pull_first = self._one.energies_and_forces(positions[:, :count])
        second, pull_second = self._other.energies_and_forces(positions[:, count:])
        alone = np.concatenate([pull_first, pull_second], axis=1)
        return energies - far_energies + first + second, forces - far_forces + alone


def _in_contact(
    first: tuple[Molecule, Array],
    second: tuple[Molecule, Array],
    contact: tuple[float, float],
    rng: np.random.Generator,
) -> Array:
    """Put a structure of the second next to each of the first, as the tier `pair` does."""
    (one, base), (other, others) = first, second
    rows, count = np.arange(len(base)), len(base)
    beside = turned(others, rng)
    aimed_at = rng.integers(base.shape[1], size=count)
    aiming = rng.integers(others.shape[1], size=count)
    beside += (base[rows, aimed_at] - beside[rows, aiming])[:, None]
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    radii = [COVALENT_RADII_A[list(molecule.numbers)] for molecule in (one, other)]
    distances = rng.uniform(*contact, size=(count, 1, 1)) * (radii[0][:, None] + radii[1][None])
    shift = first_contact(base, beside, direction, distances)
    return np.concatenate([base, beside + (shift[:, None] * direction)[:, None]], axis=1)


def make_unlike_chunk(
    one: Teacher, other: Teacher, settings: SamplingSettings, seed: int, chunk: int
) -> tuple[Chunk, str]:
    """Make one chunk of accepted pairs, and say by which force field they see each other.

    Raises
    ------
    InputError
        If no force field knows both.
    MethodError
        If the window rejects nearly everything; with the counts.
    """
    name, both = interaction_of(one.molecule, other.molecule)
    pair = UnlikePair(one, other, both)
    wanted = settings.chunk_structures
    frames = [
        Chunkwork(teacher, settings, (stream_seed(seed, "pair", which), chunk), wanted).base
        for which, teacher in (("one", one), ("other", other))
    ]
    kept: list[Structures] = []
    rejected: Counter[str] = Counter()
    missing = wanted
    for attempt in range(MAX_ROUNDS):
        rng = stream(seed, "sample", chunk, "pair", attempt)
        count = missing + missing // 2 + 16
        first, second = (
            found.take(rng.integers(len(found.positions), size=count)) for found in frames
        )
        x = _in_contact(
            (one.molecule, first.positions), (other.molecule, second.positions),
            settings.tiers.pair.contact, rng,
        )  # fmt: skip
        found, refused = judged(pair, Frames(x, first.parents, first.frames), "pair", settings)
        rejected.update(refused)
        kept.append(found.slice(0, min(missing, len(found))))
        missing -= len(kept[-1])
        if missing == 0:
            return Chunk(concatenate(kept), {"pair": wanted}, {"pair": dict(rejected)}), name
    raise MethodError(
        f"pairs of {one.molecule.formula} and {other.molecule.formula}: after {MAX_ROUNDS} rounds "
        f"{wanted - missing} of {wanted} were accepted; rejected: {dict(rejected)}",
        "widen the window ([sampling] max_energy_eV_per_atom, min_distance_A) or narrow the "
        "tier's range ([sampling.tiers] pair)",
    )
