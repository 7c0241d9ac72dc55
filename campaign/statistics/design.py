r"""Power of a design, by simulating the very analysis that will judge it.

A formula for independent replicas does not know that replicas of one model share its fate, nor that
the headline is an interval over seeds. Here arms are drawn whose models scatter and whose replicas
fail at constant rates, and `ratio_interval` is asked whether it lies above 1. Not here: what a
campaign file says (`campaign.plan.power`) and closed forms (`campaign.statistics.power`).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtri

from campaign.statistics.comparison import ratio_interval
from data_store.errors import InputError
from data_store.streams import stream

__all__ = [
    "Design",
    "Guess",
    "Powered",
    "guess_of",
    "power_of_design",
    "simulated_counts",
    "smallest",
]

Array = NDArray[np.float64]

TARGET = 0.8
"""Power that a design should have."""
_CHUNK = 20  # cases at a time: more do not fit into a processor's cache
_LARGEST_SCATTER = 20.0


@dataclass(frozen=True)
class Design:
    """What one arm of a comparison is made of.

    Parameters
    ----------
    seeds : int
        Models.
    replicas : int
        Per model.
    length_ps : float
        Of each replica.
    """

    seeds: int
    replicas: int
    length_ps: float

    @property
    def simulated_ps(self) -> float:
        """Time that an arm runs, at most."""
        return self.seeds * self.replicas * self.length_ps


@dataclass(frozen=True)
class Guess:
    """What is taken to be true of the two arms.

    Parameters
    ----------
    rate_per_ps : float
        Failure rate of the other arm's median model.
    rate_ratio : float
        By which the base arm's is lower.
    scatter : float
        Standard deviation of the log rate between models of an arm.
    """

    rate_per_ps: float
    rate_ratio: float
    scatter: float


@dataclass(frozen=True)
class Powered:
    """A design and how often it tells what is guessed.

    Parameters
    ----------
    design : Design
    power : float
    trials : int
        That the power was estimated from.
    """

    design: Design
    power: float
    trials: int

    @property
    def error(self) -> float:
        """Standard error of the power (one trial is added to each outcome)."""
        share = (self.power * self.trials + 1.0) / (self.trials + 2.0)
        return math.sqrt(share * (1.0 - share) / self.trials)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            **asdict(self.design),
            "simulated_ps": self.design.simulated_ps,
            "power": self.power,
            "power_error": self.error,
        }


def guess_of(
    failed_fraction: float, length_ps: float, rate_ratio: float, correlation: float
) -> Guess:
    r"""Rates and scatter that give a failed fraction and a correlation within models.

    .. math::
        p = \mathrm{E}[q],\quad \rho = \frac{\mathrm{Var}[q]}{p (1 - p)},\quad
        q = 1 - \exp(-\lambda t\, e^{\sigma z}),\quad z \sim N(0, 1)

    Parameters
    ----------
    failed_fraction : float
        ``p`` of the other arm.
    length_ps : float
        ``t``.
    rate_ratio : float
    correlation : float
        ``ρ``.

    Raises
    ------
    InputError
        If no scatter gives this correlation.
    """
    scores = ndtri((np.arange(2000) + 0.5) / 2000)

    def failing(scatter: float, log_hazard: float) -> Array:
        return np.asarray(-np.expm1(-np.exp(np.minimum(log_hazard + scatter * scores, 700.0))))

    def log_hazard_of(scatter: float) -> float:
        reach = 50.0 + 10.0 * scatter
        excess = partial(lambda s, h: float(failing(s, h).mean()) - failed_fraction, scatter)
        return float(brentq(excess, -reach, reach))

    def excess_correlation(scatter: float) -> float:
        variance = float(failing(scatter, log_hazard_of(scatter)).var())
        return variance / (failed_fraction * (1.0 - failed_fraction)) - correlation

    if excess_correlation(_LARGEST_SCATTER) < 0.0:
        raise InputError(
            f"comparison.correlation = {correlation:g}: models that differ so much either always "
            "fail or never",
            "give a smaller one; 0.1 to 0.3 is usual",
        )
    scatter = float(brentq(excess_correlation, 0.0, _LARGEST_SCATTER)) if correlation else 0.0
    return Guess(math.exp(log_hazard_of(scatter)) / length_ps, rate_ratio, scatter)


def simulated_counts(
    rng: np.random.Generator, rates_per_ps: Array, ends_ps: Array
) -> tuple[Array, Array]:
    """Failures and time watched of models whose replicas fail at constant rates.

    Parameters
    ----------
    rng : Generator
    rates_per_ps : ndarray, shape (..., S)
        Of each model.
    ends_ps : ndarray, shape (R,) or (..., S, R)
        When each replica is ended at the latest.

    Returns
    -------
    counts, exposures_ps : ndarray, shape (..., S)
    """
    shape = np.broadcast_shapes((*rates_per_ps.shape, 1), ends_ps.shape)
    times = rng.exponential(size=shape) / rates_per_ps[..., None]
    failures = (times < ends_ps).sum(axis=-1).astype(np.float64)
    return failures, np.minimum(times, ends_ps).sum(axis=-1)


def power_of_design(
    design: Design, guess: Guess, trials: int, *, until_clear: bool = False
) -> Powered:
    """Share of simulated campaigns whose headline interval lies above 1.

    Parameters
    ----------
    design : Design
    guess : Guess
    trials : int
        At most.
    until_clear : bool
        Stop as soon as it is clear (2.6 standard errors) on which side of 80 % the power is.
    """
    rng = stream(0, "power", repr(design), repr(guess))
    hits = done = 0
    while done < trials:
        size = min(_CHUNK, trials - done)
        counts = _simulated_pair(rng, design, guess, size)
        hits, done = hits + int((ratio_interval(*counts)[0] > 1.0).sum()), done + size
        error = math.sqrt(TARGET * (1.0 - TARGET) / done)
        if until_clear and abs(hits / done - TARGET) > 2.6 * error:
            break
    return Powered(design, hits / done, done)


def _simulated_pair(
    rng: np.random.Generator, design: Design, guess: Guess, trials: int
) -> tuple[Array, Array, Array, Array]:
    found: list[Array] = []
    for rate in (guess.rate_per_ps / guess.rate_ratio, guess.rate_per_ps):
        models = rate * np.exp(guess.scatter * rng.normal(size=(trials, design.seeds)))
        found += simulated_counts(rng, models, np.full(design.replicas, design.length_ps))
    return found[0], found[1], found[2], found[3]


def smallest(designs: Sequence[Design], guess: Guess, trials: int) -> Powered | None:
    """First of designs, in order of rising power, that tells the ratio with 80 % power.

    Parameters
    ----------
    designs : sequence of Design
    guess : Guess
    trials : int
        At most, for each design that is looked at; found by bisection.

    Returns
    -------
    Powered or None
        None where the last does not either.
    """

    @lru_cache
    def powered(place: int) -> Powered:
        return power_of_design(designs[place], guess, trials, until_clear=True)

    places = range(len(designs))
    place = bisect_left(places, True, key=lambda place: powered(place).power >= TARGET)
    return powered(place) if place < len(designs) else None
