"""A rank of a real pre-training is lost at whatever moment: the job ends, is told as lost, goes on.

Two ranks train on toy structures, started as a worker starts them. One is killed with ``kill -9``
at a moment drawn beforehand, or while the other waits for it in a sum, or is stopped and never
heard of again. What goes on from the checkpoint ends with the bits of a run that nobody disturbed.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from apps.contract import Request, Result
from apps.training.mpi import run_ranks
from data_store.parts import write_part
from data_store.streams import stream
from data_store.structure_parts import structures_to_columns
from data_store.work import load_item
from tests.laws.training_toys import toy_structures

STEPS = 400
ENDS_WITHIN_S = 60.0
RANK, IMPATIENT = "apps.training.rank", "tests.integration.impatient_rank"


@pytest.fixture(autouse=True)
def _ranks_find_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def request_in(folder: Path) -> Request:
    """A pre-training by two ranks, with its own teacher structures."""
    columns = structures_to_columns(toy_structures(80))
    teacher = write_part(folder / "parts", "sample", "a" * 64, columns, {})
    pretraining = {
        "steps": STEPS, "batch_size": 6, "held_out": 16, "warmup_steps": 5, "validate_every": 100,
        "checkpoint_every_s": 0.1, "ranks": 2,
    }  # fmt: skip
    return Request(
        str(folder / "parts"), str(folder / "work"), "pretrain", "b" * 64,
        {"pretraining": pretraining, "potential": {"cutoff_A": 4.0}}, 5,
        inputs={"teacher": [str(teacher.path)]},
    )  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Digest of a run that nobody disturbed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        result = run_ranks(request_in(tmp_path_factory.mktemp("undisturbed")), RANK, 2)
    assert result.outcome == "done", result
    assert result.digest is not None
    return result.digest


class Attack(threading.Thread):
    """Wait until two ranks train and have left a checkpoint; strike; note when, and who was there.

    Parameters
    ----------
    work_dir : Path
    strike : callable
        Gets the processes of the ranks.
    """

    def __init__(self, work_dir: Path, strike: Callable[[list[psutil.Process]], None]) -> None:
        super().__init__(daemon=True)
        self.work_dir, self.strike = work_dir, strike
        self.before = set(psutil.Process().children(recursive=True))  # of other tests
        self.job: list[psutil.Process] = []
        self.struck = float("nan")

    def run(self) -> None:
        while load_item(self.work_dir, "checkpoint") is None:
            time.sleep(0.01)
        here = psutil.Process().children(recursive=True)
        self.job = [process for process in here if process not in self.before]
        marks = (json.loads((self.work_dir / f"rank-{r}.json").read_text()) for r in range(2))
        self.strike([psutil.Process(mark["pid"]) for mark in marks])
        self.struck = time.monotonic()


def kill_one(number: int) -> Callable[[list[psutil.Process]], None]:
    """Kill either rank at some moment."""

    def strike(ranks: list[psutil.Process]) -> None:
        rng = stream(number, "lost rank")
        time.sleep(float(rng.uniform(0.0, 0.8)))
        ranks[int(rng.integers(2))].kill()

    return strike


def stop_one(ranks: list[psutil.Process]) -> None:
    """Stop the second rank, until the first does nothing but wait for it."""
    ranks[1].suspend()
    used, still = -1.0, 0
    while still < 20:
        now = sum(ranks[0].cpu_times()[:2])
        still = still + 1 if now == used else 0
        used = now
        time.sleep(0.02)


def kill_one_that_is_waited_for(ranks: list[psutil.Process]) -> None:
    """Kill the second rank while the first waits in a sum."""
    stop_one(ranks)
    os.kill(ranks[1].pid, signal.SIGKILL)


def struck(req: Request, module: str, strike: Callable[[list[psutil.Process]], None]) -> Result:
    """What a worker hears of a job of which one rank was struck; that it ended, and wholly."""
    attack = Attack(req.work_dir, strike)
    attack.start()
    result = run_ranks(req, module, 2)
    ended = time.monotonic()
    attack.join(timeout=10.0)
    assert ended - attack.struck < ENDS_WITHIN_S
    assert len(attack.job) >= 3, "mpiexec and two ranks"
    _, alive = psutil.wait_procs(attack.job, timeout=5.0)
    assert not alive, "somebody was left behind"
    return result


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("module", "strike"),
    [
        pytest.param(RANK, kill_one(0), id="killed"),
        pytest.param(RANK, kill_one(1), id="killed-again"),
        pytest.param(RANK, kill_one_that_is_waited_for, id="killed-in-the-sum"),
        pytest.param(IMPATIENT, stop_one, id="stopped"),
    ],
)
def test_a_lost_rank_ends_the_job_which_goes_on_with_the_same_bits(
    tmp_path: Path, undisturbed: str, module: str, strike: Any
) -> None:
    req = request_in(tmp_path)
    result = struck(req, module, strike)
    assert result.outcome == "lost", result
    found = load_item(req.work_dir, "checkpoint")
    assert found is not None
    assert 0 < found[1]["step"] < STEPS, "it was struck in the middle"
    again = run_ranks(req, RANK, 2)
    assert (again.outcome, again.counts["world_size"]) == ("done", 2.0)
    assert again.digest == undisturbed
