"""One GPU: forces, ensemble dynamics and training of aspirin, beside what the card can do.

Usage, from the root of the repository, on a machine with a CUDA device::

    python -m benchmarks.gpu [roofline] [forces] [dynamics] [training]

PaiNN `small` (or `SIZE=medium`) with fresh weights. Everything runs through the project's own code:
`force_function_for`, `simulate_block` with the default criteria, the trainer's step. Dynamics runs
at 0.01 K on energies scaled by 1e-6, so that geometry and cost stay fixed. Times are by
a clock read after synchronising; medians of rounds, with the 10th and 90th percentile.
Operations are counted by torch's own counter on the potential as defined.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from apps.dynamics import forces as forces_module
from apps.dynamics.engine import start_block
from apps.dynamics.ensemble import simulate_block
from apps.dynamics.forces import compiled_force_function
from apps.potential import compiled as compiled_module
from apps.potential.evaluate import molecular_force_function
from apps.potential.protocol import Potential
from apps.training.distributed import World
from apps.training.flat_model import FlatModel
from apps.training.gradient import compiled_gradient, plain_gradient
from apps.training.loop import _fresh, _step
from benchmarks.aspirin import NUMBERS, shaken
from benchmarks.workloads import LOSS, block_of, labelled_of, potential_of, training_of

DEVICE = torch.device("cuda")
_SIZE = os.environ.get("SIZE", "small")
_PRECISIONS = {"highest": "float32", "high": "tf32"}


def main() -> None:
    parts = {"roofline": roofline, "forces": forces, "dynamics": dynamics, "training": training}
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, size {_SIZE}")
    for name in sys.argv[1:] or list(parts):
        parts[name]()


def roofline() -> None:
    """Copy bandwidth and rates of matrix products, of this card, now."""
    source = torch.randn(2**29, device=DEVICE)
    target = torch.empty_like(source)
    seconds = _median_s(partial(target.copy_, source))[0]
    print(f"copy: {2 * 4 * source.numel() / seconds / 1e12:.2f} TB/s, read and written")
    side = 8192
    for name, dtype, precision in (
        ("float32", torch.float32, "highest"),
        ("tf32", torch.float32, "high"),
        ("bfloat16", torch.bfloat16, "highest"),
    ):
        torch.set_float32_matmul_precision(precision)
        a, b = (torch.randn(side, side, device=DEVICE, dtype=dtype) for _ in range(2))
        seconds = _median_s(partial(torch.matmul, a, b))[0]
        print(f"matrix product {name}: {2 * side**3 / seconds / 1e12:.0f} TFLOP/s")
    torch.set_float32_matmul_precision("highest")


def forces() -> None:
    """Energies and forces by batch and chunk, as defined and compiled; their errors."""
    potential, numbers = _potential(), torch.tensor(NUMBERS, device=DEVICE)
    plain = molecular_force_function(potential, numbers)
    exact = molecular_force_function(_potential().double(), numbers)
    sample = shaken(64, 0.2).to(DEVICE)
    with FlopCounterMode(display=False) as counter:
        plain(sample)
    operations = counter.get_total_flops() / 64
    print(f"operations of matrix products: {operations / 1e6:.2f} MFLOP an aspirin")
    reference = exact(sample)[1]
    for rows in (64, 512, 4096):
        _say(f"as defined, batch {rows}", rows, _median_s(partial(plain, shaken(rows).to(DEVICE))))
    for precision, rows in (
        ("highest", 64),
        *((p, 1024 * n) for n in (1, 2, 4) for p in _PRECISIONS),
    ):
        torch.set_float32_matmul_precision(precision)
        batch = max(4096, rows) if rows > 64 else 64
        _clear(rows)
        began = time.perf_counter()
        fast = compiled_force_function(potential, numbers, rows)
        took = time.perf_counter() - began
        error = _relative(fast(sample)[1], reference)
        seconds = _median_s(partial(fast, shaken(batch).to(DEVICE)))
        what = (
            f"compiled in {took:.0f} s, {_PRECISIONS[precision]}, chunks of {rows}, batch {batch}"
        )
        _say(f"{what}, force error {error:.1e}", batch, seconds, operations)
    torch.set_float32_matmul_precision("highest")


def dynamics() -> None:
    """Replica-steps per second of whole blocks, criteria, saved frames and noise included."""
    for replicas in (64, 1024, 4096):
        block = block_of(_SIZE, replicas, 1000, DEVICE)
        state = start_block(block, shaken(replicas, 0.0))
        ends: list[float] = []

        def end_of_segment(ends: list[float] = ends) -> bool:
            torch.cuda.synchronize()
            ends.append(time.perf_counter())
            return False

        simulate_block(block, state, lambda _: None, 1e9, end_of_segment)
        if state.failures:
            raise RuntimeError("replicas failed: the benchmark does not measure what it says")
        steps = block.settings.compact_every_steps
        _say(f"dynamics, {replicas} replicas", replicas * steps, _summary(np.diff(ends)))


def training() -> None:
    """Structures per second of whole training steps: batch, gradient, clip, AdamW, average."""
    labelled, world = labelled_of(20_000, DEVICE), World(0, 1, DEVICE)
    for batch in (32, 256, 1024, 4096):
        for name in ("as defined", "compiled"):
            model = FlatModel(_potential())
            fast = name == "compiled"
            way = compiled_gradient(model.potential, LOSS, batch) if fast else plain_gradient(LOSS)
            state, settings = _fresh(model.weights), training_of(batch)
            step = partial(_step, model, way, state, settings, labelled, world, lambda: False)
            _say(f"training, {name}, batch {batch}", batch, _median_s(step))


def _clear(rows: int) -> None:
    """Chunks of so many rows, and no graph of others."""
    compiled_module._CHUNK_ATOMS["cuda"] = rows * len(NUMBERS)
    forces_module._graph.cache_clear()
    torch._dynamo.reset()


def _relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def _potential() -> Potential:
    return potential_of(_SIZE, DEVICE)


def _median_s(way: Callable[[], object], rounds: int = 30) -> tuple[float, float, float]:
    for _ in range(3):
        way()
    times = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        began = time.perf_counter()
        way()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return _summary(times)


def _summary(times: Sequence[float] | NDArray[Any]) -> tuple[float, float, float]:
    low, middle, high = np.percentile(times, [10, 50, 90])
    return float(middle), float(low), float(high)


def _say(
    what: str, count: int, times: tuple[float, float, float], operations: float | None = None
) -> None:
    rates = [count / seconds for seconds in times]
    words = f"{what}: {rates[0]:.4g}/s (10 to 90 %: {rates[2]:.4g} to {rates[1]:.4g})"
    if operations is not None:
        words += f", {rates[0] * operations / 1e12:.1f} TFLOP/s"
    print(words, flush=True)


if __name__ == "__main__":
    main()
