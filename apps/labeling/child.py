"""`ChildLabeler`: a labeler in a process of its own, which is ended where a label takes too much.

An SCF in C listens to nobody; its process can be killed. The process serves all labels of a task
and is started anew after it was killed. Limits are of wall time and of resident memory, which is
looked at ten times a second: a limit of courtesy, not a wall.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Thread
from types import TracebackType
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from apps.labeling.labeler import Label, make_labeler
from apps.labeling.settings import MethodSettings
from data_store.errors import InputError, LostError

__all__ = ["ChildLabeler", "Limits", "main"]

_LOOK_EVERY_S = 0.1


@dataclass(frozen=True)
class Limits:
    """What one label may take; None for no limit."""

    wall_s: float | None = None
    memory_MB: float | None = None

    def times(self, factor: float) -> Limits:
        """Limits so many times as large."""
        wall, memory = (None if x is None else x * factor for x in (self.wall_s, self.memory_MB))
        return Limits(wall, memory)


class ChildLabeler:
    """Labels from a child process; a context manager that ends it.

    Parameters
    ----------
    method : MethodSettings
    threads : int
    command : sequence of str, optional
        What to start; it reads a JSON line for each structure and answers with one.
    """

    def __init__(
        self, method: MethodSettings, threads: int = 1, command: Sequence[str] | None = None
    ) -> None:
        code = "from apps.labeling.child import main; main()"
        self._command = list(command or (sys.executable, "-c", code))
        self._first = json.dumps({"method": method.model_dump(mode="json"), "threads": threads})
        self._process: subprocess.Popen[str] | None = None
        self._answers: Queue[str] = Queue()

    def __enter__(self) -> ChildLabeler:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def label(
        self,
        numbers: NDArray[Any],
        positions: NDArray[np.float64],
        charge: int,
        multiplicity: int,
        limits: Limits,
    ) -> Label:
        """Label one structure within limits.

        Raises
        ------
        LostError
            If it took more, or the process died.
        InputError
            What the labeler refuses.
        """
        process = self._started()
        asked = [numbers.tolist(), positions.tolist(), charge, multiplicity]
        try:
            _send(process, json.dumps(asked))
        except BrokenPipeError as error:
            self.close()
            raise LostError("the process that labels is gone") from error
        answer = json.loads(self._awaited(process, limits))
        if "refused" in answer:
            raise InputError(*answer["refused"])
        answer["forces"] = np.asarray(answer["forces"], dtype=np.float64).reshape(positions.shape)
        return Label(**answer)

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            self._answers = Queue()
            Thread(target=_listen, args=(self._process, self._answers), daemon=True).start()
            _send(self._process, self._first)
        return self._process

    def _awaited(self, process: subprocess.Popen[str], limits: Limits) -> str:
        began, looked_at = time.monotonic(), psutil.Process(process.pid)
        while True:
            try:
                line = self._answers.get(timeout=_LOOK_EVERY_S)
            except Empty:
                over = _over(looked_at, time.monotonic() - began, limits)
                if over:
                    self.close()
                    raise LostError(over, "it is tried again with twice as much") from None
                continue
            if not line:
                self.close()
                raise LostError(f"the process that labels ended with code {process.returncode}")
            return line


def _send(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _listen(process: subprocess.Popen[str], answers: Queue[str]) -> None:
    """Hand over lines, and an empty one at the end."""
    assert process.stdout is not None
    try:
        for line in process.stdout:
            answers.put(line)
    except ValueError:  # closed by `close`
        return
    answers.put("")


def _over(process: psutil.Process, passed_s: float, limits: Limits) -> str:
    if limits.wall_s is not None and passed_s > limits.wall_s:
        return f"a label took more than {limits.wall_s:g} s and was stopped"
    try:
        used_MB = process.memory_info().rss / 1e6
    except psutil.Error:
        return ""
    if limits.memory_MB is not None and used_MB > limits.memory_MB:
        return f"a label took more than {limits.memory_MB:g} MB of memory and was stopped"
    return ""


def main() -> None:
    """Label what comes by standard input; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    first = json.loads(sys.stdin.readline())
    from pyscf import lib

    lib.num_threads(first["threads"])
    answer: dict[str, Any]
    for line in sys.stdin:
        numbers, positions, charge, multiplicity = json.loads(line)
        try:
            labeler = make_labeler(MethodSettings(**first["method"]))
            found = labeler.label(np.array(numbers), np.array(positions), charge, multiplicity)
            answer = vars(found) | {"forces": found.forces.tolist()}
        except InputError as error:
            answer = {"refused": [error.message, error.hint]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
