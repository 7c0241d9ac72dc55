"""Laws of every registered tier of teacher structures; each has a twin that breaks it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from apps.sampling.chunk import make_chunk
from apps.sampling.field import Field
from apps.sampling.frames import Frames
from apps.sampling.mmff94 import MMFF94
from apps.sampling.molecule import molecule_from_smiles
from apps.sampling.settings import LangevinSettings, SamplingSettings, TierSettings
from apps.sampling.tiers import TIERS, Chunkwork, Tier
from data_store.structures import TIER_CODES

QUICK = LangevinSettings(
    weight=0.2, temperatures_K=(300.0, 600.0), equilibration_fs=5.0, stride_fs=1.0
)
COUNT = 20


@cache
def methanol() -> MMFF94:
    return MMFF94(molecule_from_smiles("CO", name="methanol"))


def settings(*names: str) -> SamplingSettings:
    """Settings in which these tiers alone have a weight."""
    weights: dict[str, Any] = {name: {"weight": 0.2 * (name in names)} for name in TIERS}
    weights["langevin"] |= QUICK.model_dump(exclude={"weight"})
    return SamplingSettings(chunk_structures=60, tiers=TierSettings.model_validate(weights))


@cache
def first_round(seed: int, chunk: int) -> tuple[Frames, np.ndarray]:
    return Chunkwork(methanol(), settings(*TIERS), (seed, chunk), COUNT).hot


def work(seed: int = 0, chunk: int = 1) -> Chunkwork:
    """A chunk's work; its first round of dynamics is made once for all laws, and copied."""
    made = Chunkwork(methanol(), settings(*TIERS), (seed, chunk), COUNT)
    vars(made)["hot"] = copy.deepcopy(first_round(seed, chunk))
    return made


def evaluator(tier: Tier) -> Field:
    found = tier.field(methanol())
    assert found is not None
    return found


def law_of_plenty(tier: Tier) -> None:
    """As many as are missing, each with where it comes from, of the right number of atoms."""
    made = tier.candidates(work(), COUNT, 0)
    atoms = len(evaluator(tier).molecule.numbers)
    assert len(made.positions) >= COUNT
    assert made.positions.shape[1:] == (atoms, 3)
    assert made.positions.dtype == np.float64
    assert np.isfinite(made.positions).all()
    assert made.parents.shape == made.frames.shape == (len(made.positions),)


def law_of_seeds(tier: Tier) -> None:
    """Seed, chunk and round decide all."""
    one, again, *others = (
        tier.candidates(work(seed, chunk), COUNT, attempt).positions[:COUNT]
        for seed, chunk, attempt in ((0, 1, 1), (0, 1, 1), (1, 1, 1), (0, 2, 1), (0, 1, 2))
    )
    np.testing.assert_array_equal(one, again)
    for other in others:
        assert not np.array_equal(one, other)


def law_of_purity(tier: Tier) -> None:
    """What others distort too is left as it was."""
    shared = work()
    before = [frames.positions.copy() for frames in (shared.hot[0], shared.base, shared.rest)]
    tier.candidates(shared, COUNT, 0)
    for frames, kept in zip((shared.hot[0], shared.base, shared.rest), before, strict=True):
        np.testing.assert_array_equal(frames.positions, kept)


def law_of_variety(tier: Tier) -> None:
    """No two candidates are the same structure."""
    made = tier.candidates(work(), COUNT, 0).positions[:COUNT]
    assert len({tuple(np.round(x, 9).ravel().tolist()) for x in made}) == COUNT


def breaking(wrong: Callable[[Chunkwork, Frames], Frames]) -> Tier:
    """Noise, spoiled."""

    def candidates(shared: Chunkwork, missing: int, attempt: int) -> Frames:
        return wrong(shared, TIERS["noise"].candidates(shared, missing, attempt))

    return Tier(candidates)


def too_few(shared: Chunkwork, made: Frames) -> Frames:
    return made.take(np.arange(COUNT - 1))


def unseeded(shared: Chunkwork, made: Frames) -> Frames:
    return replace(made, positions=made.positions + np.random.default_rng().normal(scale=1e-3))


def in_place(shared: Chunkwork, made: Frames) -> Frames:
    shared.base.positions[:] += 0.1
    return made


def always_the_same(shared: Chunkwork, made: Frames) -> Frames:
    return made.take(np.zeros(len(made.positions), dtype=np.int64))


LAWS: dict[str, tuple[Callable[[Tier], None], Tier]] = {
    "plenty": (law_of_plenty, breaking(too_few)),
    "seeds": (law_of_seeds, breaking(unseeded)),
    "purity": (law_of_purity, breaking(in_place)),
    "variety": (law_of_variety, breaking(always_the_same)),
}
"""Each law, and a tier that breaks it."""


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", TIERS)
def test_laws_hold(name: str, law: str) -> None:
    LAWS[law][0](TIERS[name])


@pytest.mark.parametrize("law", LAWS)
def test_each_law_sees_who_breaks_it(law: str) -> None:
    holds, breaker = LAWS[law]
    with pytest.raises(AssertionError):
        holds(breaker)


@pytest.mark.parametrize("name", TIERS)
def test_a_chunk_is_filled_by_it(name: str) -> None:
    made = make_chunk(methanol(), settings(name), 0, 0)
    assert made.tiers == {name: 60}
    assert set(made.structures.tiers) == {TIER_CODES[name]}
    tier = evaluator(TIERS[name])
    energies, _ = tier.energies_and_forces(made.structures.dense_positions().astype(np.float64))
    # Positions are stored in single precision: some 1e-7 Å against forces of 100 eV/Å.
    np.testing.assert_allclose(made.structures.labelled_energies(), energies, atol=1e-3)


def test_every_tier_has_settings_and_a_code_to_be_stored_under() -> None:
    assert set(TIERS) == set(TierSettings.model_fields)
    assert set(TIERS) < set(TIER_CODES)
