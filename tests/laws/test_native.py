"""Sums over pairs in C++ give what the potential gives on dense batches, whatever they are fed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from apps.potential.batch import DenseBatch, PairBatch
from apps.potential.evaluate import energies_and_forces
from apps.potential.native import library
from apps.potential.painn import SIZES
from apps.potential.registry import make_potential
from apps.potential.tables import all_pairs

NUMBERS = torch.tensor([8, 1, 1, 6, 1, 6, 8])
CUTOFF_A = 4.0


def scattered(rows: int) -> Tensor:
    """Atoms anywhere: on top of each other, far apart, beyond the cutoff."""
    generator = torch.Generator().manual_seed(0)
    return 5.0 * torch.rand(rows, len(NUMBERS), 3, generator=generator, dtype=torch.float64)


def batches(positions: Tensor) -> tuple[DenseBatch, PairBatch]:
    numbers = NUMBERS.repeat(len(positions), 1)
    pairs, shifts = (part.repeat(len(positions), 1, 1) for part in all_pairs(len(NUMBERS)))
    return DenseBatch(numbers, positions), PairBatch(numbers, positions, pairs, shifts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES)
def test_all_sizes_and_precisions_agree_with_the_definition(size: str, dtype: torch.dtype) -> None:
    potential = make_potential("painn", size, [1, 6, 8], CUTOFF_A, 0).to(dtype)
    expected, found = (energies_and_forces(potential, batch) for batch in batches(scattered(5)))
    for ours, theirs in zip(found, expected, strict=True):
        largest = float(theirs.abs().max())
        assert largest > 1e-3
        assert float((ours - theirs).abs().max()) < largest * (
            2e-6 if dtype == torch.float32 else 1e-12
        )


def test_what_is_no_number_stays_none_and_spoils_no_other_structure() -> None:
    potential = make_potential("painn", "small", [1, 6, 8], CUTOFF_A, 0)
    x = scattered(3)
    _, sound = batches(x)
    spoilt = x.clone()
    spoilt[1, 2, 0] = float("nan")
    energies, forces = energies_and_forces(potential, batches(spoilt)[1])
    expected, all_forces = energies_and_forces(potential, sound)
    assert torch.isnan(energies[1])
    assert torch.isnan(forces[1, 2]).any()
    assert torch.equal(energies[[0, 2]], expected[[0, 2]])
    assert torch.equal(forces[[0, 2]], all_forces[[0, 2]])


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.library_for.cache_clear()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RuntimeError, match="no-such-compiler"):
        library.library_for(16, 8)
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(RuntimeError, match="false failed"):
        library.library_for(16, 8)
    assert not list((tmp_path / "campaign" / "native").iterdir())


def test_a_library_is_built_once_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = []
    for _ in range(2):
        library.library_for.cache_clear()
        library.library_for(16, 8)
        (made,) = (tmp_path / "campaign" / "native").iterdir()
        found.append(made.stat().st_mtime_ns)
    library.library_for.cache_clear()
    assert found[0] == found[1]
