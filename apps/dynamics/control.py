"""Settings of the physical control: the same dynamics by a method that knows chemistry.

What fails under it, at the same temperatures and by the same criteria, may be chemistry; what fails
under a network alone is the network's. It costs tens of times a network's dynamics, so that its
replicas are few: its failure rate is a bound. Not an arm: nothing is trained.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ControlSettings"]


class ControlSettings(BaseModel):
    """The ``[control]`` table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["none", "gfn2-xtb"] = "none"
    """Reference method of the control and of a row in the probes, or none. GFN2-xTB wants the
    package tblite (``pip install 'mlip-campaign[xtb]'``)."""

    replicas: int = Field(default=8, gt=0)
    """Replicas at each temperature of the dynamics: from the first of its starts, with all its
    other settings."""

    length_ps: float = Field(default=4.0, gt=0.0)
    """Longest a replica is watched, in ps."""

    block_replicas: int = Field(default=4, gt=0)
    """Replicas of one work item."""
