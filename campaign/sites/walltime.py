"""Walltimes as Slurm writes them, in seconds; and back, as Parsl renders them.

Parsl reads ``H:M:S`` alone and drops the seconds; here are all forms of sbatch's ``--time``.
"""

from __future__ import annotations

import re

__all__ = ["seconds_of_walltime", "walltime_of_seconds"]

_FORMS = (
    re.compile(r"(?P<minutes>\d+)", re.ASCII),
    re.compile(r"(?P<minutes>\d+):(?P<seconds>\d+)", re.ASCII),
    re.compile(r"(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+)", re.ASCII),
    re.compile(r"(?P<days>\d+)-(?P<hours>\d+)(:(?P<minutes>\d+)(:(?P<seconds>\d+))?)?", re.ASCII),
)
_UNIT_S = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}


def seconds_of_walltime(text: str | int) -> int:
    """Seconds of a walltime in any of Slurm's forms.

    Parameters
    ----------
    text : str or int
        ``minutes``, ``minutes:seconds``, ``hours:minutes:seconds``, ``days-hours``,
        ``days-hours:minutes`` or ``days-hours:minutes:seconds``.

    Raises
    ------
    ValueError
        If it is none of them, or no time at all.
    """
    for form in _FORMS:
        found = form.fullmatch(str(text).strip())
        if found:
            parts = {name: int(value or 0) for name, value in found.groupdict().items()}
            seconds = sum(_UNIT_S[name] * value for name, value in parts.items())
            if seconds >= 60:
                return seconds
            raise ValueError(f"a walltime of at least a minute, not {text!r}")
    raise ValueError(
        f"a walltime in one of Slurm's forms (30, 30:00, 02:30:00, 2-00, 2-00:00:00), not {text!r}"
    )


def walltime_of_seconds(seconds: int) -> str:
    """``HHH:MM:00``, rounded down to the minute: the only form that Parsl takes, without loss."""
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours:02d}:{minutes:02d}:00"
