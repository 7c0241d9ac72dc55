"""The exception tree: every failure that this project raises on purpose derives from one root.

It sits in the lowest layer so that all three packages can derive from it. An error carries its
message and a hint (what to do next), and survives the pickling by which Parsl carries exceptions
home. It is not a logging facility, and it is never raised for a bug of ours: those surface as they
are.
"""

from __future__ import annotations

__all__ = [
    "CampaignError",
    "InputError",
    "LostError",
    "MethodError",
    "Stopped",
    "StoreError",
    "WorkspaceError",
    "unknown_name",
]


class CampaignError(Exception):
    """Root of all errors raised on purpose.

    Parameters
    ----------
    message : str
        What was expected, what came, and where from.
    hint : str
        What to do about it; empty where nothing sensible can be said.

    Attributes
    ----------
    exit_code : int
        What the command line exits with when this error ends it.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        # All fields go to Exception.args, so that pickling (Parsl) restores them.
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class InputError(CampaignError):
    """The user's input cannot be used: campaign file, molecule, labels, option."""

    exit_code = 2


class LostError(CampaignError):
    """A process that this one works with is gone: no fault of the work, which is done again."""


class StoreError(CampaignError):
    """Stored data are absent, damaged, of another schema or of another unit."""


class MethodError(CampaignError):
    """A method gave no usable result (an SCF that will not converge): an outcome, never retried."""


class WorkspaceError(CampaignError):
    """The workspace cannot be written now; what it holds is intact and a later launch goes on."""

    exit_code = 3


class Stopped(CampaignError):
    """The user or the system asked to stop; a later launch goes on from what is there."""

    exit_code = 3


def unknown_name(kind: str, name: str, valid: list[str] | tuple[str, ...]) -> InputError:
    """Error for a name that no registry knows, listing the valid ones and the nearest.

    Parameters
    ----------
    kind : str
        What was asked for, in words ("force field", "criterion").
    name : str
        What came.
    valid : sequence of str
        What would have been accepted.
    """
    import difflib

    near = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    hint = f"valid: {', '.join(sorted(valid))}" + (f"; did you mean {near[0]!r}?" if near else "")
    return InputError(f"unknown {kind} {name!r}", hint)
