"""Locks and queues that outlive a process killed while it holds or waits."""

from __future__ import annotations

import multiprocessing
import multiprocessing.queues
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from campaign.execution.lasting_queue import KernelLock, LastingQueue

SPAWN = multiprocessing.get_context("spawn")


def hold(lock: Any, held: Any) -> None:
    lock.acquire()
    held.set()
    time.sleep(600.0)


def take(queue: Any, up: Any) -> None:
    up.set()
    queue.get(timeout=600.0)


def copy(source: Any, target: Any, count: int) -> None:
    for _ in range(count):
        target.put(source.get(timeout=60.0))


@contextmanager
def running(function: Callable[..., None], *arguments: Any) -> Iterator[BaseProcess]:
    process = SPAWN.Process(target=function, args=arguments)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize(("make", "free"), [(KernelLock, True), (SPAWN.Lock, False)])
def test_the_kernel_takes_a_lock_back_from_the_dead(make: Callable[[], Any], free: bool) -> None:
    lock, held = make(), SPAWN.Event()
    with running(hold, lock, held) as holder:
        assert held.wait(60.0)
        assert not lock.acquire(timeout=0.2)
        assert not lock.acquire(block=False)
    assert holder.exitcode == -signal.SIGKILL
    assert lock.acquire(timeout=1.0) == free


@pytest.mark.parametrize(("lasting", "goes_on"), [(True, True), (False, False)])
def test_a_queue_outlives_who_waits_for_it(lasting: bool, goes_on: bool) -> None:
    queue, up = LastingQueue(ctx=SPAWN) if lasting else SPAWN.Queue(), SPAWN.Event()
    with running(take, queue, up):
        assert up.wait(60.0)
        time.sleep(1.0)
    queue.put("task")
    if goes_on:
        assert queue.get(timeout=10.0) == "task"
    else:
        with pytest.raises(multiprocessing.queues.Empty):  # type: ignore[attr-defined]
            queue.get(timeout=1.0)
    queue.close()
    queue.join_thread()


def test_what_several_take_comes_to_each_once() -> None:
    source, target = LastingQueue(ctx=SPAWN), LastingQueue(ctx=SPAWN)
    for number in range(40):
        source.put(number)
    with running(copy, source, target, 20), running(copy, source, target, 20):
        assert sorted(target.get(timeout=60.0) for _ in range(40)) == list(range(40))
    for queue in (source, target):
        queue.close()
        queue.join_thread()


def test_the_file_goes_with_the_lock() -> None:
    lock = KernelLock()
    path = Path(lock.__reduce__()[1][0])
    with lock as taken:
        assert taken
        assert path.exists()
    del lock
    assert not path.exists()
