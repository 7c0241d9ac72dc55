"""Settings of the potential: which architecture, how large, how far it sees, on what prior."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["PotentialSettings"]


class PotentialSettings(BaseModel):
    """The ``[potential]`` table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str = "painn"
    """Name in the registry of potentials: painn, or one of a package (docs/extending.md)."""

    size: Literal["small", "medium", "large"] = "small"
    """How many features and layers; what that means is the architecture's business."""

    cutoff_A: float = Field(default=5.0, gt=1.0, le=20.0)
    """Distance beyond which atoms do not see each other, in Å."""

    prior: Literal["none", "zbl"] = "none"
    """What is added to the network in all arms: nothing, or the screened repulsion of nuclei of
    Ziegler, Biersack and Littmark at distances shorter than bonds (`apps.potential.zbl`)."""
