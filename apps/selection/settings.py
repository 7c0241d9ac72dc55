"""Settings of active learning, the old way of finding what a potential lacks: by failing.

All science: each key is part of the identity of what is made from it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["ActiveLearningSettings"]

_Positive = Annotated[float, Field(gt=0.0)]


class ActiveLearningSettings(BaseModel):
    """The ``[active_learning]`` table: with it the arm `active_learning` is made.

    One chain for each of ``finetuning.seeds``. A round trains a committee on all labels so far,
    explores with its first member, picks frames, and has them labelled.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    initial_labels: int | None = Field(default=None, ge=2)
    """Labels that each chain begins with: one of ``finetuning.pools``, by default the smallest."""

    label_budget: int | None = Field(default=None, ge=3)
    """Expert calls that a chain may make, the initial labels and failed calls among them; by
    default the largest of ``finetuning.pools``. There are as many rounds as it takes."""

    labels_per_round: int = Field(default=10, ge=1)
    """Frames that are labelled after a round, at most."""

    committee: int = Field(default=3, ge=2, le=20)
    """Models trained in each round, from fresh weights."""

    replicas: int = Field(default=16, ge=1)
    """Replicas that explore at each of ``dynamics.temperatures_K``, from the initial labels'
    structures; at most ``dynamics.block_replicas``."""

    length_ps: float = Field(default=1.0, gt=0.0)
    """Longest a replica explores, in ps; all else of its dynamics is as in ``[dynamics]``."""

    disagreement_eV_per_A: tuple[_Positive, _Positive] = (0.3, 10.0)
    """A frame is picked where the committee disagrees by at least the first (frames at failure:
    whatever it is) and at most the second, beyond which no frame is one that an expert should see.
    The largest over atoms of the standard deviation of the force, in eV/Å."""

    least_distance_A: float = Field(default=0.5, gt=0.0)
    """Frames with two atoms nearer than this are not picked."""

    distinct_per_A: float = Field(default=0.003, ge=0.0)
    """A frame nearer than this to a label or to another pick is left out: root mean square, over
    all pairs of atoms, of the difference of sorted inverse distances, in 1/Å. The default is about
    what a displacement of all atoms by 0.01 Å makes; unrelated thermal structures of aspirin are
    some 0.014 apart."""

    stop_rate_per_ns: float | None = Field(default=None, gt=0.0)
    """A chain is over when exploration shows, at each temperature, that it fails more seldom: when
    the exact one-sided 95 % upper bound of the rate is below this. None: only the budget ends
    it."""

    examine: Literal["end", "each_round"] = "end"
    """Which models the dynamics of ``[dynamics]`` examines: those at the end, or of all rounds."""

    @model_validator(mode="after")
    def _in_order(self) -> ActiveLearningSettings:
        least, most = self.disagreement_eV_per_A
        if least >= most:
            raise ValueError(
                f"disagreement_eV_per_A = [{least:g}, {most:g}]: the first must be the smaller"
            )
        return self
