"""What a step of dynamics of aspirin costs on one core: time, operations and bytes of an atom.

Usage, from the root of the repository, on one thread; for peers with `benchmarks.peers`' setting::

    OMP_NUM_THREADS=1 python -m benchmarks.front_costs [small | medium | large | PEER …]

Time is processor time of an atom's step in whole blocks of dynamics: ours of 64 replicas (noise,
criteria and saved frames included), a peer's of the fastest of its harness's ways (ASE, TorchSim
with 8 and 32 replicas, where it has them), each in a process of its own. Operations are those of
matrix products in energies and forces as the potential is defined, bytes those that its tensor
operations read and write where nothing is fused; of a training step three times the operations. The
core's own rates, of products of 512 x 512 float32 matrices and of copying 256 MB, are measured
in the same run: a share of the first says how far from the machine's limit a step is, with the
operations that the definition needs. Prints a line of JSON for each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from apps.potential.batch import DenseBatch
from apps.potential.evaluate import energies_and_forces
from apps.potential.painn import SIZES
from benchmarks.aspirin import NUMBERS, shaken
from benchmarks.peers import replica_steps_per_s, told
from benchmarks.workloads import block_of, potential_of, processor_s

_CPU = torch.device("cpu")
_ATOMS, _ROUNDS, _COUNTED = len(NUMBERS), 3, 16
_WAYS = (
    ("--engine", "ase"),
    ("--engine", "torchsim", "--replicas", "8"),
    ("--engine", "torchsim", "--replicas", "32"),
)
_VIEWS = {
    "view", "_unsafe_view", "expand", "transpose", "t", "permute", "unsqueeze", "squeeze", "slice",
    "select", "split", "split_with_sizes", "detach", "alias", "as_strided", "unbind", "empty",
    "new_empty", "empty_like", "lift_fresh", "_reshape_alias",
}  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["ours"]:
        print(replica_steps_per_s(block_of(sys.argv[2], 64, 1000, _CPU), shaken(64, 0.0)))
        return
    matrix, copying = _core()
    for name in sys.argv[1:] or SIZES:
        rates = [_ours(name) if name in SIZES else _theirs(name) for _ in range(_ROUNDS)]
        seconds = [1.0 / (rate * _ATOMS) for rate in rates]
        operations, moved = _counted(name) if name in SIZES else _counted_by_harness(name)
        print(json.dumps({
            "model": f"painn {name}" if name in SIZES else name,
            "replica_steps_per_s": round(median(rates), 1),
            "us_per_atom_step": [
                round(1e6 * s, 2) for s in (median(seconds), min(seconds), max(seconds))
            ],
            "MFLOP_per_atom": round(operations / 1e6, 3), "MB_per_atom": round(moved / 1e6, 3),
            "core_GFLOP_per_s": round(matrix / 1e9, 1), "core_GB_per_s": round(copying / 1e9, 1),
            "share_of_matrix_rate": round(operations / median(seconds) / matrix, 3),
        }), flush=True)  # fmt: skip


def _core() -> tuple[float, float]:
    """Operations of matrix products, and bytes copied, in a second."""
    a, b = torch.randn(512, 512), torch.randn(512, 512)
    source = torch.randn(32 * 2**20)
    target = torch.empty_like(source)

    def seconds(way: Any) -> float:
        way()
        return median(processor_s(way) for _ in range(20))

    copied = 2.0 * source.numel() * source.element_size()
    return 2.0 * 512**3 / seconds(lambda: a @ b), copied / seconds(lambda: target.copy_(source))


def _ours(size: str) -> float:
    command = [sys.executable, "-m", "benchmarks.front_costs", "ours", size]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _theirs(peer: str) -> float:
    rates = []
    for way in _WAYS:
        try:
            rates.append(told(peer, ("--task", "aspirin_md", *way), "replica_steps_per_s"))
        except (subprocess.CalledProcessError, KeyError):
            print(f"{peer}: not by {' '.join(way)}", file=sys.stderr)
    return max(rates)


class _Moved(TorchDispatchMode):
    """Counts bytes that operations read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._schema.name.split("::")[-1] not in _VIEWS:
            leaves = torch.utils._pytree.tree_leaves((args, kwargs, out))
            self.bytes += sum(_stored(leaf) for leaf in leaves if isinstance(leaf, Tensor))
        return out


def _stored(tensor: Tensor) -> int:
    """Bytes of a tensor in memory: one that is expanded is read once."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def _counted(size: str) -> tuple[float, float]:
    potential, positions = potential_of(size, _CPU), shaken(_COUNTED)
    batch = DenseBatch(torch.tensor(NUMBERS).repeat(_COUNTED, 1), positions)
    operations, moved = FlopCounterMode(display=False), _Moved()
    with operations:
        energies_and_forces(potential, batch)
    with moved:
        energies_and_forces(potential, batch)
    atoms = _COUNTED * _ATOMS
    return operations.get_total_flops() / atoms, moved.bytes / atoms


def _counted_by_harness(peer: str) -> tuple[float, float]:
    python = Path(os.environ["PEERS_DIR"]).expanduser() / "venv/bin/python"
    lines = subprocess.run(
        [str(python), "counts.py", peer], check=True, capture_output=True, text=True,
        cwd=os.environ["PEERS_BENCH"],
    ).stdout.splitlines()  # fmt: skip
    found = [json.loads(line) for line in lines if line.startswith("{")]
    (row,) = [r for r in found if (r["system"], r["kind"]) == ("aspirin", "ef")]
    return 1e6 * row["matmul_MFLOP_per_atom"], 1e6 * row["eager_MB_per_atom"]


if __name__ == "__main__":
    main()
