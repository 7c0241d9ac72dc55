"""Settings of training: pre-training on the teacher's structures, fine-tuning on labels.

Everything here is science and part of a result's identity, but for `checkpoint_every_s` and
`ranks`, which the planner leaves out of it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["Arm", "FinetuningSettings", "PretrainingSettings", "TrainingSettings"]

Arm = Literal["pretrained", "scratch", "scratch_long"]
"""Who is compared: with the teacher, without, and without but with as many optimiser steps."""

_Rate = Annotated[float, Field(gt=0.0, le=1.0)]


class TrainingSettings(BaseModel):
    """What both kinds of training share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=2000, ge=1)
    """Optimiser steps."""

    batch_size: int = Field(default=16, ge=1)
    """Structures per step, over all ranks together."""

    warmup_steps: int = Field(default=100, ge=0)
    """Steps over which the learning rate rises linearly to its peak."""

    final_lr_fraction: float = Field(default=0.01, ge=0.0, le=1.0)
    """Learning rate at the last step over its peak; a half cosine leads there."""

    weight_decay: float = Field(default=0.0, ge=0.0, le=1.0)
    """Decoupled weight decay of AdamW."""

    ema_decay: float = Field(default=0.995, ge=0.0, lt=1.0)
    """Decay per step of the moving average of the weights, which is what is validated and kept."""

    clip_norm: float = Field(default=10.0, gt=0.0)
    """Largest norm of the gradient (loss units); a longer one is shortened to it."""

    force_weight: float = Field(default=1.0, ge=0.0)
    """Weight of the mean force error (eV/Å)."""

    energy_weight: float = Field(default=0.2, ge=0.0)
    """Weight of the mean energy error (eV per structure)."""

    force_robust_eV_per_A: float | None = Field(default=None, gt=0.0)
    """F0: a force error counts 1/(1 + |F|/F0), so that extreme structures do not rule; None: 1."""

    energy_robust_eV: float | None = Field(default=None, gt=0.0)
    """E0: an energy error counts 1/(1 + |E|/E0), E the label without the shift; None: 1."""

    validate_every: int = Field(default=100, ge=1)
    """Steps between validations."""

    checkpoint_every_s: float = Field(default=30.0, gt=0.0)
    """Seconds between checkpoints. A matter of resources: the result does not depend on it."""


class PretrainingSettings(TrainingSettings):
    """The ``[pretraining]`` table."""

    steps: int = Field(default=20_000, ge=1)
    """Optimiser steps."""

    batch_size: int = Field(default=32, ge=1)
    """Structures per step, over all ranks together."""

    learning_rate: _Rate = 2e-3
    """Peak learning rate."""

    warmup_steps: int = Field(default=300, ge=0)
    """Steps over which the learning rate rises linearly to its peak."""

    ema_decay: float = Field(default=0.998, ge=0.0, lt=1.0)
    """Decay per step of the moving average of the weights, which is what is validated and kept."""

    energy_weight: float = Field(default=0.05, ge=0.0)
    """Weight of the mean energy error (eV per structure)."""

    force_robust_eV_per_A: float | None = Field(default=5.0, gt=0.0)
    """F0: a force error counts 1/(1 + |F|/F0), so that extreme structures do not rule; None: 1."""

    energy_robust_eV: float | None = Field(default=5.0, gt=0.0)
    """E0: an energy error counts 1/(1 + |E|/E0), E the label without the shift; None: 1."""

    validate_every: int = Field(default=500, ge=1)
    """Steps between looks at the held-out structures."""

    held_out: int = Field(default=640, ge=1)
    """Structures of the teacher kept aside to measure the error; there must be more in all."""

    scramble_labels: bool = False
    """Negative control: each structure is taught the labels of another. Held-out structures keep
    theirs, so that their error shows that nothing was learned."""

    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0,), min_length=1)
    """One pre-training for each, on the same structures; the model of fine-tuning seed s starts
    from number s modulo how many there are. One that no model starts from is not made."""

    ranks: int = Field(default=2, ge=1, le=4096)
    """Processes that share each batch. A matter of resources, up to rounding."""

    data_memory_MB: float = Field(default=4000.0, gt=0.0)
    """Memory that each rank may take for structures. More of them stay on disk, and those of many
    steps at a time are read ahead. A matter of resources: batches are the same; scale and shift
    that the training starts from are, up to rounding."""

    @model_validator(mode="after")
    def _each_once(self) -> PretrainingSettings:
        _refuse_repeated("seeds", self.seeds)
        return self


class FinetuningSettings(TrainingSettings):
    """The ``[finetuning]`` table."""

    arms: tuple[Arm, ...] = Field(default=("pretrained", "scratch"), min_length=1)
    """Which models are made and compared."""

    pools: tuple[Annotated[int, Field(ge=2)], ...] = Field(default=(25, 50, 100, 300), min_length=1)
    """Label budgets, validation included."""

    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0, 1, 2, 3, 4), min_length=1)
    """One model per seed, arm and budget."""

    learning_rates: tuple[_Rate, ...] = Field(default=(1e-3, 3e-3), min_length=1)
    """Grid of peak learning rates; each model takes the one with the least validation force MAE."""

    scratch_long_pools: Annotated[tuple[int, ...], Field(min_length=1)] | None = None
    """Label budgets at which `scratch_long` is made, by default all: it is by far the dearest."""

    keep_scale: bool = False
    """Ablation: leave the pre-trained scale as it is instead of refitting it to the labels."""

    @model_validator(mode="after")
    def _each_once(self) -> FinetuningSettings:
        for name in ("arms", "pools", "seeds", "learning_rates"):
            _refuse_repeated(name, getattr(self, name))
        unknown = sorted(set(self.scratch_long_pools or ()) - set(self.pools))
        if unknown:
            raise ValueError(f"scratch_long_pools holds {unknown}, pools only {list(self.pools)}")
        return self

    def pools_of(self, arm: Arm) -> tuple[int, ...]:
        """Label budgets at which an arm is made."""
        chosen = self.scratch_long_pools if arm == "scratch_long" else None
        return self.pools if chosen is None else tuple(p for p in self.pools if p in chosen)


def _refuse_repeated(name: str, values: tuple[object, ...]) -> None:
    if len(set(values)) != len(values):
        raise ValueError(f"{name} = {list(values)}: each value once")
