"""Settings of dynamics: which ensemble, how long, and what counts as a failure.

Everything here is science and part of a result's identity, but for `checkpoint_every_s`, which the
planner leaves out of it. `block_replicas` is the size of an item; a replica's noise belongs to its
block and its place in it, so that changing it changes the random numbers (not their law).
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["CRITERIA", "Criterion", "DynamicsSettings", "Ensemble"]

Ensemble = Literal["langevin", "nve"]
"""Langevin dynamics at a temperature, or Newton's equations from a thermal start."""

Criterion = Literal["not_finite", "bond_stretch", "close_contact", "hot", "large_force"]
"""Names of the failure criteria (`apps.dynamics.criteria`)."""

CRITERIA: tuple[Criterion, ...] = (
    "not_finite",
    "bond_stretch",
    "close_contact",
    "hot",
    "large_force",
)
"""The order in which they are asked: the first that fires names the cause."""

_Temperature = Annotated[float, Field(gt=0.0, le=1e5)]


class DynamicsSettings(BaseModel):
    """One ensemble per temperature and model.

    Raises
    ------
    pydantic.ValidationError
        If a stride is no multiple of the time step, or a name comes twice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperatures_K: tuple[_Temperature, ...] = Field(default=(500.0, 1000.0), min_length=1)
    """Temperatures, K."""

    replicas: int = Field(default=64, ge=1)
    """Independent replicas per model and temperature."""

    block_replicas: int = Field(default=32, ge=1)
    """Replicas that one item simulates in one batch."""

    ensemble: Ensemble = "langevin"
    """How replicas move; both start from Maxwell–Boltzmann velocities at the temperature."""

    length_ps: float = Field(default=10.0, gt=0.0)
    """Time after which a replica has survived, ps."""

    timestep_fs: float = Field(default=0.5, gt=0.0, le=10.0)
    """Time step, fs."""

    friction_per_ps: float = Field(default=2.0, gt=0.0)
    """Friction of Langevin dynamics, 1/ps."""

    criteria: tuple[Criterion, ...] = Field(
        default=("bond_stretch", "close_contact", "hot", "not_finite"), min_length=1
    )
    """What counts as a failure; they are asked in one fixed order, whatever their order here."""

    check_stride_fs: float = Field(default=5.0, gt=0.0)
    """Time between checks, fs: the resolution of failure times, and part of each criterion."""

    stretch_A: float = Field(default=0.5, gt=0.0)
    """bond_stretch: largest change of a bond from its mean length in the labels, Å."""

    contact_fraction: float = Field(default=0.5, gt=0.0, lt=1.0)
    """close_contact: smallest distance over the sum of covalent radii, atoms not bonded."""

    contact_HH_A: float = Field(default=0.4, gt=0.0)
    """close_contact: smallest distance of two hydrogen atoms, Å (in place of the fraction)."""

    max_force_eV_per_A: float = Field(default=100.0, gt=0.0)
    """large_force: largest force on an atom, eV/Å."""

    hot_tail: float = Field(default=1e-12, gt=0.0, lt=0.5)
    """hot: probability with which a sound replica is called hot by one check."""

    compact_every_steps: int = Field(default=200, ge=1)
    """Steps between compactions, which drop failed replicas from the batch."""

    keep_frames: int = Field(default=20, ge=1)
    """Frames before the end of a failed replica that are kept."""

    keep_stride_fs: float = Field(default=5.0, gt=0.0)
    """Time between the kept frames, fs."""

    save_stride_ps: float = Field(default=0.1, gt=0.0)
    """Time between saved positions and observables, ps."""

    checkpoint_every_s: float = Field(default=60.0, gt=0.0)
    """Seconds of computing between checkpoints: what a kill can lose."""

    @model_validator(mode="after")
    def _strides_are_steps(self) -> DynamicsSettings:
        spans = {
            "length_ps": 1000.0 * self.length_ps,
            "check_stride_fs": self.check_stride_fs,
            "keep_stride_fs": self.keep_stride_fs,
            "save_stride_ps": 1000.0 * self.save_stride_ps,
        }
        for name, span_fs in spans.items():
            steps = span_fs / self.timestep_fs
            if steps < 0.5 or not math.isclose(steps, round(steps), rel_tol=1e-6):
                raise ValueError(
                    f"{name} spans {span_fs:g} fs, which is no multiple of "
                    f"timestep_fs = {self.timestep_fs:g}"
                )
        if len(set(self.criteria)) != len(self.criteria):
            raise ValueError("criteria: each name once")
        return self

    def steps_in(self, span_fs: float) -> int:
        """Time steps in a span of time (fs)."""
        return round(span_fs / self.timestep_fs)

    @property
    def steps(self) -> int:
        """Time steps of a replica that survives."""
        return self.steps_in(1000.0 * self.length_ps)
