"""Settings of the probes: what counts as too low."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ProbeSettings"]


class ProbeSettings(BaseModel):
    """Settings of the stage `probe`; a campaign file has no table of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low_fraction: float = Field(default=0.5, gt=0.0, le=1.0)
    """A distorted structure is taken to lie in a hole where its energy is below this share of the
    teacher's."""
