"""Settings of the potential: which architecture, how large, how far it sees, on what prior."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["PotentialSettings"]


class PotentialSettings(BaseModel):
    """The ``[potential]`` table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str = "painn"
    """Name in the registry of potentials: painn, mace (extra `mace`), or one of a package
    (docs/extending.md)."""

    size: Literal["small", "medium", "large", "file"] = "small"
    """How many features and layers; what that means is the architecture's business. "file": as in
    the file of `start_from`, whose hyperparameters are its own."""

    cutoff_A: float = Field(default=5.0, gt=1.0, le=20.0)
    """Distance beyond which atoms do not see each other, in Å."""

    prior: Literal["none", "zbl"] = "none"
    """What is added to the network in all arms: nothing, or the screened repulsion of nuclei of
    Ziegler, Biersack and Littmark at distances shorter than bonds (`apps.potential.zbl`)."""

    start_from: str | None = None
    """Weights file of this project that all arms start from, instead of from fresh weights
    (`campaign convert` makes one of a MACE file). Its content is part of a result's identity, its
    path is not; architecture, size, cutoff and prior must be the file's."""

    @model_validator(mode="after")
    def _size_of_what(self) -> PotentialSettings:
        if self.size == "file" and self.start_from is None:
            raise ValueError('size = "file" is the size of a file: name it by start_from')
        return self
