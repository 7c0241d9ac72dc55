"""Laws of forces within memory: parts change nothing, and what cannot be had is a loss."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from apps.contract import Result
from apps.dynamics.memory import FittingForces, most_rows
from apps.memory import ran_out_of_memory
from data_store.errors import LostError
from tests.laws.dynamics_systems import anharmonic_chain

CPU = torch.device("cpu")


class Short:
    """Forces of a chain, for which there is memory up to so many replicas."""

    def __init__(self, most: int) -> None:
        self.most, self.asked = most, list[int]()

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.asked.append(len(x))
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return anharmonic_chain(x)


def scattered(replicas: int) -> Tensor:
    generator = torch.Generator().manual_seed(replicas)
    return 3.0 * torch.rand(replicas, 4, 3, generator=generator, dtype=torch.float64)


@given(replicas=st.integers(1, 40), most=st.integers(1, 50))
def test_parts_change_nothing(replicas: int, most: int) -> None:
    x, short = scattered(replicas), Short(most)
    fitting = FittingForces(short, CPU)
    for _ in range(2):
        for found, expected in zip(fitting(x), anharmonic_chain(x), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    refused = [rows for rows in short.asked if rows > most]
    assert len(refused) == fitting.backed_off <= 6, "what did not fit is not asked for again"
    assert fitting.most_at_once <= most
    assert 2 * fitting.most_at_once >= min(most, replicas) // 2, "nor is it cut into crumbs"


def test_no_memory_for_one_replica_is_a_loss() -> None:
    with pytest.raises(LostError, match="one replica of 4 atoms") as told:
        FittingForces(Short(0), CPU)(scattered(5))
    assert Result.failed(told.value).outcome == "lost"


def test_other_errors_are_not_taken_for_it() -> None:
    def broken(x: Tensor) -> tuple[Tensor, Tensor]:
        raise RuntimeError("shapes do not match")

    fitting = FittingForces(broken, CPU)
    with pytest.raises(RuntimeError, match="shapes"):
        fitting(scattered(5))
    assert fitting.backed_off == 0


@given(
    fixed=st.integers(0, 10**9), each=st.integers(1, 10**8), few=st.integers(1, 100),
    more=st.integers(1, 100), free=st.integers(10**6, 10**11),
)  # fmt: skip
def test_the_model_is_exact_where_memory_is_linear(
    fixed: int, each: int, few: int, more: int, free: int
) -> None:
    measured = {n: fixed + each * n for n in (few + more, few)}
    most = most_rows(measured, free)
    assert most is not None
    assert most == 1 or fixed + each * most <= free * (1 + 1e-9)
    assert fixed + each * (most + 2) > free


def test_memory_that_does_not_grow_sets_no_limit() -> None:
    assert most_rows({16: 5000, 48: 5000}, 10) is None
    assert most_rows({16: 0}, 10) is None
    assert most_rows({16: 1600}, 16_000) == 160, "of one size, all is taken to grow"


REAL = """
import resource, torch
from apps.dynamics.memory import FittingForces

ROOM = 600 * 2**20

def forces(x):
    wide = torch.ones(len(x), 4_000_000)  # 16 MB a replica
    return wide[:, 0].double() * x.sum((1, 2)), -x

taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM, taken + ROOM))
x = torch.rand(64, 4, 3, dtype=torch.float64)
fitting = FittingForces(forces, torch.device("cpu"))
energies, found = fitting(x)
assert torch.equal(found, -x) and torch.allclose(energies, x.sum((1, 2)))
print(fitting.backed_off, fitting.most_at_once)
"""


def test_memory_of_a_real_process_that_runs_out() -> None:
    done = subprocess.run(
        [sys.executable, "-c", REAL], cwd=Path(__file__).parents[2], capture_output=True, text=True,
        check=False, env={"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    backed_off, most = map(int, done.stdout.split())
    assert backed_off >= 1
    assert 8 <= most <= 36, "16 MB a replica, 600 MB of room"


@pytest.mark.parametrize(
    ("error", "expected"),
    [(MemoryError(), True), (torch.OutOfMemoryError("CUDA out of memory"), True),
     (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
     (RuntimeError("memory format option is not supported"), False), (OSError("full"), False)],
)  # fmt: skip
def test_what_says_that_memory_ran_out(error: Exception, expected: bool) -> None:
    assert ran_out_of_memory(error) == expected
    result = Result.failed(error)
    assert (result.outcome == "lost") == expected
    assert ("out_of_memory" in result.counts) == expected
