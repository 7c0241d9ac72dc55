"""The same training as `benchmarks.front`'s, of a peer: what its core-minutes are worth.

Usage, from the root of the repository, in the peers' environment, on one thread::

    OMP_NUM_THREADS=1 PEERS_BENCH=../shared/bench PEERS_DIR=~/.cache/mlip-peers PYTHONPATH=. \
        $PEERS_DIR/venv/bin/python -m benchmarks.front_peers TRAIN TEST PEER [CORE_MINUTES [RATE]]

The peer's model is that of its harness (`peer_bench.py`: cutoff 5 Å, float32, its own neighbour
lists). Frames, loss, Adam, warm-up, half cosine, average of weights, and the choice of weights by
50 frames are as ours; batches are of 5. The learning rate is the better, by those 50 frames, of two
in trials of a twelfth of the time each: the one its authors train small molecules with, and four
times that.
Lists are made once, in eight deals of batches, and not counted; nor are the trials. Energies are
taken without their mean and forces over their root mean square, as each package's own trainer does
in its way. Prints a line of JSON like `benchmarks.front`'s.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from ase.io import read
from torch import Tensor

sys.path.insert(0, os.environ["PEERS_BENCH"])
import peer_bench

_TRAIN, _VALIDATION, _BATCH, _DEALS = 950, 50, 5, 8
_WARM_UP, _EMA, _ENERGY_WEIGHT, _CLIP, _LAST = 500, 0.999, 0.05, 10.0, 0.001
_TRIAL_SHARE = 1 / 12
_RATES = {
    "nequip": 5e-3, "newtonnet": 1e-3, "schnetpack": 5e-4, "graph-pes": 1e-3, "mace": 1e-2,
    "mace-small": 1e-2, "tensornet": 1e-3,
}  # fmt: skip


class Batch(NamedTuple):
    """What a peer takes, with scaled labels."""

    given: Any
    energies: Tensor
    forces: Tensor
    structures: int


class Scale(NamedTuple):
    """Of labels: E = mean + rms * e, F = rms * f."""

    mean_eV: float
    rms_eV_per_A: float


def main() -> None:
    train, test, name, *more = sys.argv[1:]
    minutes = float(more[0]) if more else 60.0
    rates = [float(more[1])] if len(more) > 1 else [_RATES[name], 4.0 * _RATES[name]]
    torch.set_num_threads(1)
    frames, tests = read(train, ":"), read(test, ":")
    known, held_out = frames[:_TRAIN], frames[_TRAIN : _TRAIN + _VALIDATION]
    scale = _scale_of(known)
    peer = _peer(name)
    deals = list(_deals(peer, known, scale))
    validation = list(_batches(peer, held_out, scale))
    seconds_per_step = _seconds_per_step(name, deals)
    if len(rates) > 1:
        trial = round(60.0 * minutes * _TRIAL_SHARE / seconds_per_step)
        tried = {r: _trained(_peer(name), deals, validation, r, trial)[1] for r in rates}
        print({rate: scale.rms_eV_per_A * score for rate, score in tried.items()}, file=sys.stderr)
        rates = [min(tried, key=lambda rate: tried[rate])]
    began, steps = time.process_time(), round(60.0 * minutes / seconds_per_step)
    peer, score, best = _trained(_peer(name), deals, validation, rates[0], steps)
    taken = time.process_time() - began
    forces, energies = _errors(peer, list(_batches(peer, tests, scale)))
    atoms = len(known[0])
    print(json.dumps({
        "model": f"{name} {peer.version()}",
        "parameters": sum(p.numel() for p in peer.parameters()),
        "core_minutes": round(taken / 60.0, 1), "steps": steps, "batch": _BATCH,
        "learning_rate": rates[0], "best_step": best,
        "structures_per_s": round(_BATCH * steps / taken, 1), "evaluation": "its own",
        "validation_force_mae_meV_per_A": round(1e3 * scale.rms_eV_per_A * score, 2),
        "test_force_mae_meV_per_A": round(1e3 * scale.rms_eV_per_A * forces, 2),
        "test_energy_mae_meV_per_atom": round(1e3 * scale.rms_eV_per_A * energies / atoms, 3),
    }))  # fmt: skip


def _peer(name: str) -> Any:
    """Fresh, with the same weights each time."""
    side = peer_bench.SIDE_DIRS.get(name.split("-")[0], "")
    if side and side not in sys.path:
        sys.path.insert(0, side)
    torch.manual_seed(0)
    asked = argparse.Namespace(
        peer=name, torch=torch, torch_dtype=torch.float32, torch_device=torch.device("cpu"),
        dtype="float32", cutoff=5.0, compile=False, kind="train",
    )  # fmt: skip
    return peer_bench.PEERS[name](asked)


def _scale_of(frames: list[Any]) -> Scale:
    forces = np.concatenate([frame.get_forces() for frame in frames])
    mean = float(np.mean([frame.get_potential_energy() for frame in frames]))
    return Scale(mean, float(np.sqrt((forces**2).mean())))


def _batches(peer: Any, frames: list[Any], scale: Scale) -> Iterator[Batch]:
    for first in range(0, len(frames), _BATCH):
        some = frames[first : first + _BATCH]
        energies = np.array([frame.get_potential_energy() for frame in some]) - scale.mean_eV
        forces = np.concatenate([frame.get_forces() for frame in some])
        bare = [frame.copy() for frame in some]
        yield Batch(
            peer.batch(bare),
            torch.tensor(energies / scale.rms_eV_per_A, dtype=torch.float32),
            torch.tensor(forces / scale.rms_eV_per_A, dtype=torch.float32),
            len(some),
        )


def _deals(peer: Any, frames: list[Any], scale: Scale) -> Iterator[list[Batch]]:
    """Batches of an epoch, dealt anew each time."""
    rng = np.random.default_rng(0)
    for _ in range(_DEALS):
        order = rng.permutation(len(frames))
        yield list(_batches(peer, [frames[i] for i in order], scale))


def _in_turn(deals: list[list[Batch]]) -> Iterator[Batch]:
    rng = np.random.default_rng(1)
    while True:
        deal = deals[rng.integers(len(deals))]
        yield from (deal[i] for i in rng.permutation(len(deal)))


def _seconds_per_step(name: str, deals: list[list[Batch]]) -> float:
    peer, steps = _peer(name), 40
    _trained(peer, deals, [], 1e-6, 4)
    began = time.process_time()
    _trained(peer, deals, [], 1e-6, steps)
    return (time.process_time() - began) / steps


def _trained(
    peer: Any, deals: list[list[Batch]], validation: list[Batch], rate: float, steps: int
) -> tuple[Any, float, int]:
    """The peer with the averaged weights of least error on the validation frames."""
    weights = [p for p in peer.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(weights, lr=rate)
    average = [p.detach().clone() for p in weights]
    best, score, best_step = average, math.inf, 0
    coming, every = _in_turn(deals), max(1, min(1000, steps // 20))
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * _share(step, steps)
        optimiser.zero_grad(set_to_none=True)
        _loss(peer, next(coming)).backward()
        torch.nn.utils.clip_grad_norm_(weights, _CLIP)
        optimiser.step()
        decay = min(_EMA, (1.0 + step) / (10.0 + step))
        for kept, weight in zip(average, weights, strict=True):
            kept.lerp_(weight.detach(), 1.0 - decay)
        if validation and ((step + 1) % every == 0 or step + 1 == steps):
            found = _with(weights, average, lambda: _errors(peer, validation)[0])
            if found < score:
                best, score, best_step = copy.deepcopy(average), found, step + 1
    _put(weights, best)
    return peer, score, best_step


def _loss(peer: Any, batch: Batch) -> Tensor:
    energies, forces = peer.ef(batch.given, train=True)
    force = torch.linalg.vector_norm(forces - batch.forces, dim=-1).mean()
    loss: Tensor = force + _ENERGY_WEIGHT * (energies - batch.energies).abs().mean()
    return loss


def _share(step: int, steps: int) -> float:
    warm_up = min(_WARM_UP, steps // 2)
    if step < warm_up:
        return (step + 1) / warm_up
    done = (step - warm_up) / max(1, steps - 1 - warm_up)
    return _LAST + (1.0 - _LAST) * 0.5 * (1.0 + math.cos(math.pi * done))


def _errors(peer: Any, batches: list[Batch]) -> tuple[float, float]:
    """Mean absolute errors of scaled force components and energies."""
    force, energy, components, structures = 0.0, 0.0, 0, 0
    for batch in batches:
        energies, forces = peer.ef(batch.given)
        force += float((forces.detach() - batch.forces).abs().sum())
        energy += float((energies.detach() - batch.energies).abs().sum())
        components += batch.forces.numel()
        structures += batch.structures
    return force / components, energy / structures


def _with(weights: list[Tensor], other: list[Tensor], way: Any) -> Any:
    mine = [w.detach().clone() for w in weights]
    _put(weights, other)
    found = way()
    _put(weights, mine)
    return found


def _put(weights: list[Tensor], values: list[Tensor]) -> None:
    with torch.no_grad():
        for weight, value in zip(weights, values, strict=True):
            weight.copy_(value)


if __name__ == "__main__":
    main()
