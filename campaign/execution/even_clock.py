"""A clock that goes on evenly, for Parsl's own processes.

Parsl reckons by the wall clock whether a heartbeat is overdue, in its interchange and in the
manager of each block. Set forward, that takes all tasks for lost; set back, it ends blocks and does
not notice that their tasks are lost, for as long as the clock was set back. So both are started by

    python -P -m campaign.execution.even_clock SCRIPT ARGUMENT ...

in which `time.time` starts at the wall clock and goes on by the monotonic one. Workers are spawned
anew by the manager: tasks see the wall clock as it is. They are given their tasks through queues
that outlive a worker killed while it waits (`campaign.execution.lasting_queue`).
"""

from __future__ import annotations

import multiprocessing.queues
import runpy
import shutil
import sys
import time

from campaign.execution.lasting_queue import LastingQueue
from data_store.errors import InputError

__all__ = ["START", "main"]

START = (sys.executable, "-P", "-m", "campaign.execution.even_clock")
"""Command that a script of Parsl and its arguments follow."""


def main(arguments: list[str]) -> None:
    """Run a script that is found on the path as the main program, by an even clock.

    Raises
    ------
    InputError
        If there is no such script.
    """
    script = shutil.which(arguments[0])
    if script is None:
        raise InputError(f"{arguments[0]} is not on PATH", "install parsl beside this interpreter")
    started_unix = time.time() - time.monotonic()
    time.time = lambda: started_unix + time.monotonic()
    multiprocessing.queues.Queue = LastingQueue  # type: ignore[misc, assignment]
    sys.argv = [script, *arguments[1:]]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
