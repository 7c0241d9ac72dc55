r"""How often the interval of the headline rate ratio holds the true ratio, by simulation.

    python benchmarks/coverage.py [--trials 2000]

Two tables in Markdown, for docs/statistics.md. The first is over fixed scatters between models
(standard deviation of log rates within an arm), the second over the prior that the interval
assumes, which is where a Bayesian interval promises its 95 %. Beside the interval that is used
stand the one with the bounds of Clopper and Pearson in place of mid-p, and the naive one that pools
replicas of all models as if they were of one. Several minutes on one core.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from campaign.statistics.comparison import RATIO_SCATTER, ratio_interval
from campaign.statistics.design import simulated_counts
from campaign.statistics.random_effects import confidence_distributions, quantile
from data_store.streams import stream

Array = NDArray[np.float64]
Counts = tuple[Array, Array, Array, Array]

LENGTH_PS, REPLICAS, CHUNK = 4.0, 32, 20
SEEDS, SCATTERS = (2, 3, 5), (0.0, 0.3, 0.7, 1.0)
RATES = {
    "none": (0.0003, 0.03),
    "rare": (0.003, 0.03),
    "apart": (0.05, 0.4),
    "equal": (0.1, 0.1),
}
"""Failures per ps of the two arms; "none": the first arm mostly has no failure at all."""


def used(counts: Counts) -> tuple[Array, Array]:
    return ratio_interval(*counts)


def one_more(counts: Counts) -> tuple[Array, Array]:
    """Bounds as Clopper and Pearson's: each with a failure added to the arm it speaks against."""
    mu, below, above = confidence_distributions(*counts, RATIO_SCATTER)
    low, high = np.exp(quantile(mu, below, 0.025)), np.exp(quantile(mu, above, 0.975))
    none, none_other = counts[0].sum(axis=-1) == 0.0, counts[2].sum(axis=-1) == 0.0
    return np.where(none_other, 0.0, low), np.where(none, np.inf, high)


def naive(counts: Counts) -> tuple[Array, Array]:
    """Replicas of all models as if of one: the exact conditional binomial of the sums."""
    k, e, k_other, e_other = (c.sum(axis=-1, keepdims=True) for c in counts)
    return ratio_interval(k, e, k_other, e_other)


Method = Callable[[Counts], tuple[Array, Array]]
BOTH: dict[str, Method] = {"used": used, "pooled": naive}
ALL: dict[str, Method] = {"used": used, "Clopper–Pearson": one_more, "pooled": naive}


def simulate(
    rng: np.random.Generator, rates: tuple[float, float], scatter: Array, censored: bool, seeds: int
) -> Counts:
    """Counts and exposures of both arms, (T, S); `scatter` (T, 1) within an arm."""
    found: list[Array] = []
    for rate in rates:
        models = rate * np.exp(scatter * rng.normal(size=(len(scatter), seeds)))
        ends = np.full((len(scatter), seeds, REPLICAS), LENGTH_PS)
        if censored:  # half of the replicas, each at a time of its own
            ends[..., ::2] *= rng.uniform(size=ends[..., ::2].shape)
        found += simulated_counts(rng, models, ends)
    return found[0], found[1], found[2], found[3]


def coverage(
    seeds: int,
    rates: str,
    censored: bool,
    scatter: float | None,
    trials: int,
    methods: dict[str, Method],
) -> dict[str, float]:
    """Share of trials in which each interval holds the ratio; scatter from the prior where None."""
    rng = stream(0, "coverage", seeds, rates, int(censored), repr(scatter))
    true, hits = RATES[rates][1] / RATES[rates][0], dict.fromkeys(methods, 0)
    for start in range(0, trials, CHUNK):
        size = min(CHUNK, trials - start)
        drawn = RATIO_SCATTER / math.sqrt(2.0) * np.abs(rng.normal(size=(size, 1)))
        within = drawn if scatter is None else np.full((size, 1), scatter)
        counts = simulate(rng, RATES[rates], within, censored, seeds)
        for name, interval in methods.items():
            low, high = interval(counts)
            hits[name] += int(((low <= true) & (true <= high)).sum())
    return {name: hit / trials for name, hit in hits.items()}


def _rows(
    scatters: tuple[float | None, ...], trials: int, methods: dict[str, Method]
) -> Iterator[str]:
    for rates in RATES:
        for censored in (False, True):
            for seeds in SEEDS:
                cells = [coverage(seeds, rates, censored, s, trials, methods) for s in scatters]
                shown = [" / ".join(f"{100 * v:.1f}" for v in cell.values()) for cell in cells]
                name = f"{rates}{', half censored' if censored else ''}"
                yield f"| {name} | {seeds} | {' | '.join(shown)} |"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="Coverage of the headline interval.")
    parser.add_argument("--trials", type=int, default=2000)
    trials, began = parser.parse_args().trials, time.monotonic()
    print(f"{REPLICAS} replicas of {LENGTH_PS:g} ps")
    print(f"\n% of {trials} trials: {' / '.join(BOTH)}\n")
    print("| rates | seeds |", " | ".join(f"scatter {s:g}" for s in SCATTERS), "|")
    print("|---|---|" + "---|" * len(SCATTERS))
    for row in _rows(SCATTERS, trials, BOTH):
        print(row, flush=True)
    print(f"\n% of {2 * trials} trials, scatter from the prior: {' / '.join(ALL)}\n")
    print("| rates | seeds | coverage |\n|---|---|---|")
    for row in _rows((None,), 2 * trials, ALL):
        print(row, flush=True)
    print(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
