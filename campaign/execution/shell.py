"""Commands of a batch system, run by the shell within a time: one that hangs leaves nothing behind.

Parsl's own leaves a command that hangs running, and its pipes open.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

__all__ = ["TIMED_OUT", "answer_of"]

TIMED_OUT = 124
"""Exit code of a command that was ended since it hung, as of timeout(1)."""


def answer_of(command: str, timeout_s: float) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a shell command.

    Parameters
    ----------
    command : str
    timeout_s : float
        After this it and all its children are killed; the exit code is `TIMED_OUT`.
    """
    with subprocess.Popen(
        command, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, encoding="utf-8", errors="replace", start_new_session=True,
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return TIMED_OUT, "", f"{command.split()[0]}: no answer in {timeout_s:g} s"
        return process.returncode, out, err
