"""What a campaign's replicas can tell, said before any of them runs.

Pure arithmetic over the campaign file: the ``[comparison]`` table states a ratio of failure rates
and a guess of how often the other arm fails; the answer is how many replicas and models per arm
tell it with 80 % power, beside how many there are. Rates are taken as constant over a run.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from campaign.spec.model import CampaignSpec
from campaign.statistics.power import design_effect, fraction_at_ratio, replicas_needed

__all__ = ["Power", "power_of"]


@dataclass(frozen=True)
class Power:
    """Replicas per arm, pool and temperature: needed and there.

    Parameters
    ----------
    rate_ratio : float
        Ratio of failure rates that is to be told from 1.
    failed_fractions : tuple of float
        Guessed share of failing replicas of the other arm, and what the ratio makes of it.
    replicas, models : int
        There are so many, over all models of an arm.
    replicas_needed, models_needed : int
        For 80 % power at 95 % confidence, with the campaign's replicas per model.
    """

    rate_ratio: float
    failed_fractions: tuple[float, float]
    replicas: int
    models: int
    replicas_needed: int
    models_needed: int

    @property
    def enough(self) -> bool:
        """Whether the campaign has what it needs."""
        return self.replicas >= self.replicas_needed

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "enough": self.enough}


def power_of(spec: CampaignSpec) -> Power:
    """What the replicas of this campaign can tell.

    Parameters
    ----------
    spec : CampaignSpec
    """
    goal, per_model = spec.comparison, spec.dynamics.replicas
    fractions = (
        goal.failed_fraction,
        fraction_at_ratio(goal.failed_fraction, goal.rate_ratio),
    )
    needed = replicas_needed(*fractions, design_effect=design_effect(per_model, goal.correlation))
    models = len(spec.finetuning.seeds)
    return Power(
        rate_ratio=goal.rate_ratio,
        failed_fractions=fractions,
        replicas=models * per_model,
        models=models,
        replicas_needed=needed,
        models_needed=math.ceil(needed / per_model),
    )
