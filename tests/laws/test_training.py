"""Training adds up over ranks, goes on where it stopped, bit for bit, and hands over exactly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from apps.potential.weights import save_bytes
from apps.training.accuracy import accuracy
from apps.training.distributed import World
from apps.training.labelled_set import LabelledSet, rows_of_step
from apps.training.loop import TrainingOutcome, train
from apps.training.mpi import find_mpiexec
from apps.training.refit import refit
from data_store.work import load_item
from tests.laws.training_ranks import COUNTS
from tests.laws.training_toys import (
    toy_gradient,
    toy_potential,
    toy_set,
    toy_training,
)

ROOT = Path(__file__).parents[2]
ALONE = World(0, 1, torch.device("cpu"))


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def by_ranks(tmp_path: Path, mode: str) -> np.ndarray:
    output = tmp_path / "gradient.npy"
    script = str(ROOT / "tests/laws/training_ranks.py")
    command = [find_mpiexec(), "-n", "2", sys.executable, script, str(output), mode]
    subprocess.run(command, check=True, env=_environment(), timeout=120)
    return np.asarray(np.load(output))


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_two_ranks_have_the_gradient_of_one(tmp_path: Path) -> None:
    expected = toy_gradient(ALONE).numpy()
    assert relative_error(by_ranks(tmp_path, "right"), expected) < 1e-5


def test_averaging_the_means_of_ranks_is_wrong_and_is_caught(tmp_path: Path) -> None:
    expected = toy_gradient(ALONE).numpy()
    assert relative_error(by_ranks(tmp_path, "wrong"), expected) > 1e-3


def test_two_ranks_find_the_errors_that_one_finds(tmp_path: Path) -> None:
    for found, count in zip(by_ranks(tmp_path, "errors"), COUNTS, strict=True):
        expected = accuracy(toy_potential(toy_set(7)), toy_set(count, 9))
        assert found[0] == pytest.approx(expected.force_mae_eV_per_A, rel=1e-5)
        assert found[1] == pytest.approx(expected.energy_mae_meV_per_atom, rel=1e-5)


def run(folder: Path, stop_after: int | None, steps: int = 12) -> tuple[bytes, TrainingOutcome]:
    labelled = toy_set(23)
    potential = toy_potential(labelled)
    asked = iter(range(10**6))
    outcome = train(
        potential, toy_training(steps), labelled, toy_set(5, 9), ALONE, (folder, "checkpoint"),
        1e9, lambda: stop_after is not None and next(asked) == stop_after,
    )  # fmt: skip
    return save_bytes(potential), outcome


@pytest.mark.parametrize("stop_after", [0, 4, 10])
def test_stopping_leaves_no_trace(tmp_path: Path, stop_after: int) -> None:
    whole, expected = run(tmp_path / "whole", None)
    _, stopped = run(tmp_path / "parts", stop_after)
    assert not stopped.finished
    resumed, outcome = run(tmp_path / "parts", None)
    assert outcome.finished
    assert resumed == whole
    assert [row["step"] for row in outcome.metrics] == [4, 8, 12]
    for before, after in zip(expected.metrics, outcome.metrics, strict=True):
        assert {k: v for k, v in before.items() if k != "elapsed_s"} == {
            k: v for k, v in after.items() if k != "elapsed_s"
        }


def _victim(folder: Path, pause_s: float) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    script = str(ROOT / "tests/laws/training_victim.py")
    return subprocess.Popen([sys.executable, script, str(folder), str(pause_s)], env=_environment())


def test_a_killed_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    victim = _victim(tmp_path / "killed", 0.05)
    while load_item(tmp_path / "killed", "checkpoint") is None:
        assert victim.poll() is None
        time.sleep(0.01)
    time.sleep(0.3)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    found = load_item(tmp_path / "killed", "checkpoint")
    assert found is not None
    assert 0 < found[1]["step"] < 60, "it was killed in the middle"
    for folder in ("killed", "whole"):
        assert _victim(tmp_path / folder, 0.0).wait(timeout=120) == 0
    finals = [(tmp_path / folder / "final").read_bytes() for folder in ("killed", "whole")]
    assert finals[0] == finals[1]


def test_every_epoch_has_every_row_once() -> None:
    rows = np.concatenate([rows_of_step(step, 5, 7, seed=1) for step in range(14)])
    for epoch in range(10):
        np.testing.assert_array_equal(np.sort(rows[7 * epoch : 7 * epoch + 7]), np.arange(7))
    assert not np.array_equal(rows[:7], rows[7:14])


def test_refit_finds_the_scale_and_the_shift_that_were_put_in() -> None:
    labelled = toy_set(30)
    potential = toy_potential(labelled).double()
    positions = LabelledSet(
        labelled.numbers, labelled.positions.double(), labelled.forces.double(), labelled.energies
    )
    from apps.training.accuracy import predict

    potential.scale.fill_(1.0)
    potential.shift_eV.zero_()
    energies, forces = predict(potential, positions)
    target = LabelledSet(
        positions.numbers, positions.positions, 3.0 * forces, 3.0 * energies - 70.0
    )
    found = refit(potential, target, None)
    assert found.scale_after == pytest.approx(3.0, rel=1e-9)
    assert sum(found.shift_eV[str(z)] for z in (8, 1, 1)) == pytest.approx(-70.0, abs=1e-8)
    error = accuracy(potential, target)
    assert error.force_mae_eV_per_A < 1e-10
    assert error.energy_mae_meV_per_atom < 1e-6


def test_training_learns(tmp_path: Path) -> None:
    labelled, test = toy_set(23), toy_set(40, 11)
    before = accuracy(toy_potential(labelled), test)
    data, outcome = run(tmp_path, None, steps=150)
    assert outcome.finished
    from apps.potential.weights import load_potential

    after = accuracy(load_potential(data), test)
    assert after.force_mae_eV_per_A < 0.4 * before.force_mae_eV_per_A
