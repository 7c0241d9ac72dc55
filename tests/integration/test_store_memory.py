"""A million structures in parts of any size, read as one data set by a process of little memory.

The limit is the kernel's (RLIMIT_DATA), on what the process takes beyond what it has when all is
imported. So are they made one part. Reading all into memory is the twin that must fail.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_store.datasets import Dataset
from data_store.parts import Part, write_part
from data_store.structure_parts import structures_to_columns
from data_store.structures import Structures

SIZES = (1, 30, 2_047, 2_049, 100_000, 400_000, 1, 300_000, 195_872)
LIMIT_MB = {"batches": 48, "blocks": 48, "cached": 72, "consolidated": 72}


def made(root: Path, first: int, count: int) -> Part:
    rng = np.random.default_rng(first)
    values = rng.normal(size=(count, 5, 3)).astype(np.float32)
    structures = Structures.from_dense(
        np.array([6, 1, 1, 1, 1]), values, energies=rng.normal(size=count), forces=values,
        parents=np.arange(first, first + count),
    )  # fmt: skip
    return write_part(root, "sample", f"{first:064d}", structures_to_columns(structures), {})


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("million")
    firsts = np.concatenate([[0], np.cumsum(SIZES)])
    assert firsts[-1] == 1_000_000
    parts = [made(root, int(first), size) for first, size in zip(firsts, SIZES, strict=False)]
    structure = Dataset(parts).read(999_999, 1_000_000)
    arrays = [value for value in vars(structure).values() if value is not None]
    assert (
        sum(value.nbytes for value in arrays) * 1_000_000 > 3 * max(LIMIT_MB.values()) * 1_000_000
    )
    return root / "sample"


def read(folder: Path, how: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.integration.limited_reader", folder, LIMIT_MB[how], how]
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=240, check=False,
        preexec_fn=small_stacks,
    )  # fmt: skip


def small_stacks() -> None:
    """Stacks of threads count as taken whole, 8 MB each, of which kilobytes are used."""
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, hard))


@pytest.mark.parametrize("how", ["batches", "blocks", "consolidated"])
def test_a_million_structures_are_read_in_little_memory(million: Path, how: str) -> None:
    ended = read(million, how)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["structures"] == 1_000_000
    assert found["sum_of_parents"] == sum(range(1_000_000)), "each once"


def test_all_of_them_at_once_do_not_fit(million: Path) -> None:
    assert read(million, "cached").returncode != 0
