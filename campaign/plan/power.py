"""What a campaign's replicas can tell, said before any of them runs.

The ``[comparison]`` table states a ratio of failure rates and guesses how often the other arm fails
and how much its models differ. `power_of` answers at once, by a formula for proportions with a
design effect; `study_of` in some seconds, by simulating the headline analysis, for the campaign as
it is and for other numbers of seeds, replicas and ps. Rates are taken as constant over a run.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from campaign.spec.model import CampaignSpec

if TYPE_CHECKING:  # scipy takes half a second, which every verb but two can do without
    from campaign.statistics.design import Guess, Powered

__all__ = ["Option", "Power", "Quiet", "Study", "power_of", "study_of"]

_SEEDS = (2, 3, 4, 5, 6, 8, 10)
_REPLICAS: tuple[int, ...] = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_LENGTHS: tuple[float, ...] = (0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0)
"""Of the campaign's length."""
_TRIALS, _TRIALS_OF_SEARCH = 1000, 300


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
    from campaign.statistics.power import design_effect, fraction_at_ratio, replicas_needed

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


@dataclass(frozen=True)
class Quiet:
    """What will be known of an arm if none of its replicas fails.

    Parameters
    ----------
    replicas : int
    watched_ps : float
    failed_fraction_bound, rate_per_ns_bound : float
        Upper ends of the exact two-sided 95 % intervals, conditional on the models.
    """

    replicas: int
    watched_ps: float
    failed_fraction_bound: float
    rate_per_ns_bound: float


@dataclass(frozen=True)
class Option:
    """What so many seeds need for 80 % power.

    Parameters
    ----------
    seeds : int
    replicas : Powered or None
        Fewest replicas per model at the campaign's length; None where 512 are too few.
    length : Powered or None
        Shortest length at the campaign's replicas; None where 16 times the campaign's is too short.
    """

    seeds: int
    replicas: Powered | None
    length: Powered | None


@dataclass(frozen=True)
class Study:
    """Power by simulation, for a pool and temperature.

    Parameters
    ----------
    guess : Guess
        Rates and scatter behind the ``[comparison]`` table.
    campaign : Powered
        As the campaign file has it.
    options : tuple of Option
    quiet_model, quiet_arm : Quiet
        If nothing fails: of one model, and of all of an arm together.
    """

    guess: Guess
    campaign: Powered
    options: tuple[Option, ...]
    quiet_model: Quiet
    quiet_arm: Quiet

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "guess": asdict(self.guess),
            "campaign": self.campaign.to_json(),
            "options": [
                {
                    "seeds": option.seeds,
                    "fewest_replicas": option.replicas.to_json() if option.replicas else None,
                    "shortest_length": option.length.to_json() if option.length else None,
                }
                for option in self.options
            ],
            "if_nothing_fails": {"model": asdict(self.quiet_model), "arm": asdict(self.quiet_arm)},
        }


def study_of(spec: CampaignSpec) -> Study:
    """Power of this campaign and of others like it, by simulation; reproducible.

    Parameters
    ----------
    spec : CampaignSpec

    Raises
    ------
    InputError
        If no scatter between models gives the guessed correlation.
    """
    from campaign.statistics.design import Design, guess_of, power_of_design

    goal, dynamics = spec.comparison, spec.dynamics
    seeds, replicas, length = len(spec.finetuning.seeds), dynamics.replicas, dynamics.length_ps
    guess = guess_of(goal.failed_fraction, length, goal.rate_ratio, goal.correlation)
    return Study(
        guess,
        power_of_design(Design(seeds, replicas, length), guess, _TRIALS),
        _options(guess, replicas, length),
        _quiet(replicas, length),
        _quiet(seeds * replicas, length),
    )


def _options(guess: Guess, replicas: int, length_ps: float) -> tuple[Option, ...]:
    """For each number of seeds; more seeds never need more, so each search ends where the last."""
    from campaign.statistics.design import Design, smallest

    numbers, lengths = _REPLICAS, tuple(factor * length_ps for factor in _LENGTHS)
    options = []
    for seeds in _SEEDS:
        enough = smallest([Design(seeds, n, length_ps) for n in numbers], guess, _TRIALS_OF_SEARCH)
        long = smallest([Design(seeds, replicas, t) for t in lengths], guess, _TRIALS_OF_SEARCH)
        options.append(Option(seeds, enough, long))
        if enough:
            numbers = tuple(n for n in numbers if n <= enough.design.replicas)
        if long:
            lengths = tuple(t for t in lengths if t <= long.design.length_ps)
    return tuple(options)


def _quiet(replicas: int, length_ps: float) -> Quiet:
    from campaign.statistics.rates import failed_fraction, failure_rate

    fraction, rate = failed_fraction(0, replicas), failure_rate(0, replicas * length_ps)
    return Quiet(replicas, replicas * length_ps, fraction.high or 1.0, rate.high or math.inf)
