"""`Histogram`: many numbers in constant memory; quantiles to the width of a bin."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Histogram", "linear", "logarithmic"]

Array = NDArray[np.float64]

QUANTILES = {"p5": 0.05, "median": 0.5, "p95": 0.95}


@dataclass
class Histogram:
    """Counts between edges, with what lies below and beyond; smallest and largest value exact.

    Parameters
    ----------
    edges : ndarray, shape (B + 1,)
        Ascending.
    """

    edges: Array
    counts: NDArray[np.int64] = field(init=False)
    least: float = field(init=False, default=np.inf)
    most: float = field(init=False, default=-np.inf)

    def __post_init__(self) -> None:
        # The first and last count are of values outside the edges.
        self.counts = np.zeros(len(self.edges) + 1, dtype=np.int64)

    def add(self, values: Array) -> None:
        """Count values; what is infinite or no number is left out."""
        found = np.asarray(values, dtype=np.float64).ravel()
        found = found[np.isfinite(found)]
        if not len(found):
            return
        places = np.searchsorted(self.edges, found, side="right")
        self.counts += np.bincount(places, minlength=len(self.counts))
        self.least = min(self.least, float(found.min()))
        self.most = max(self.most, float(found.max()))

    def merge(self, other: Histogram) -> None:
        """Count what another one of the same edges counted."""
        self.counts += other.counts
        self.least = min(self.least, other.least)
        self.most = max(self.most, other.most)

    @property
    def total(self) -> int:
        """Values counted."""
        return int(self.counts.sum())

    def quantile(self, share: float) -> float:
        """Value that a share of all lies below, taken as even within a bin.

        Raises
        ------
        ValueError
            If nothing was counted.
        """
        if not self.total:
            raise ValueError("a quantile of nothing")
        below = np.concatenate([[0], np.cumsum(self.counts)])
        wanted = share * self.total
        place = min(int(np.searchsorted(below, wanted, side="left")), len(self.counts))
        place = max(place - 1, 0)
        while self.counts[place] == 0:
            place += 1
        low = self.edges[place - 1] if place > 0 else self.least
        high = self.edges[place] if place < len(self.edges) else self.most
        low, high = max(low, self.least), min(high, self.most)
        part = (wanted - below[place]) / self.counts[place]
        return float(low + np.clip(part, 0.0, 1.0) * (high - low))

    def summary(self) -> dict[str, float] | None:
        """Smallest, 5 %, median, 95 %, largest; None of nothing."""
        if not self.total:
            return None
        return {
            "min": self.least,
            **{name: self.quantile(share) for name, share in QUANTILES.items()},
            "max": self.most,
        }


def linear(low: float, high: float, bins: int) -> Histogram:
    """Bins of equal width."""
    return Histogram(np.linspace(low, high, bins + 1))


def logarithmic(low: float, high: float, per_decade: int = 100) -> Histogram:
    """Bins of equal ratio: by default 2.3 %."""
    return Histogram(np.geomspace(low, high, round(np.log10(high / low) * per_decade) + 1))
