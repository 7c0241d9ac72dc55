"""How well each strategy of selection covers the candidates: energies and geometries.

Pools of thermal candidates by the MMFF94 teacher; in each, every strategy selects with a seed of
its own, and the same figures are taken. Tells nothing about the model that is trained on the
selection: for that, run campaigns that differ in `labels.select`.

    python -m benchmarks.selection --smiles CCO --pools 30 --candidates 200 --selected 20
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from apps.sampling.molecule import molecule_from_smiles
from apps.sampling.settings import LangevinSettings
from apps.sampling.teacher import make_teacher
from apps.sampling.thermal import thermal_frames
from apps.selection.descriptors import inverse_distances
from apps.selection.registry import STRATEGIES
from data_store.streams import stream
from data_store.structures import Structures

__all__ = ["FIGURES", "coverage", "thermal_pools"]

Indices = NDArray[np.int64]

DYNAMICS = LangevinSettings(equilibration_fs=500.0, stride_fs=40.0)
COPIES = 100


def thermal_pools(
    smiles: str, pools: int, candidates: int, temperature_K: float, seed: int
) -> list[Structures]:
    """Disjoint pools of thermal structures with the teacher's energies, drawn from one long run."""
    teacher = make_teacher("mmff94", molecule_from_smiles(smiles, name=smiles))
    frames = -(-pools * candidates // COPIES)
    made = thermal_frames(teacher, temperature_K, COPIES, frames, DYNAMICS, seed)
    positions = made.reshape(frames * COPIES, -1, 3)
    drawn = stream(seed, "pools").permutation(len(positions))[: pools * candidates]
    return [
        Structures.from_dense(
            teacher.molecule.numbers, x, energies=teacher.energies_and_forces(x)[0]
        )
        for x in positions[drawn].reshape(pools, candidates, -1, 3)
    ]


def energy_gap(pool: Structures, chosen: Indices) -> float:
    """Largest share of the candidates, by energy, that has none of the chosen in it."""
    ranks = np.argsort(np.argsort(pool.labelled_energies()))[chosen]
    edges = np.concatenate([[-1], np.sort(ranks), [len(pool)]])
    return float(np.max(np.diff(edges) - 1)) / len(pool)


def energy_span(pool: Structures, chosen: Indices) -> float:
    """Range of the energies of the chosen over the range of all."""
    energies = pool.labelled_energies()
    return float(np.ptp(energies[chosen]) / np.ptp(energies))


def _nearest(pool: Structures, chosen: Indices) -> NDArray[np.float64]:
    points = inverse_distances(pool)
    return np.asarray(cdist(points, points[chosen]).min(axis=1))


def mean_distance(pool: Structures, chosen: Indices) -> float:
    """Mean distance of a candidate to the nearest chosen, in 1/Å of the descriptor."""
    return float(_nearest(pool, chosen).mean())


def max_distance(pool: Structures, chosen: Indices) -> float:
    """Largest distance of a candidate to the nearest chosen, in 1/Å of the descriptor."""
    return float(_nearest(pool, chosen).max())


FIGURES: dict[str, Callable[[Structures, Indices], float]] = {
    "energy_gap": energy_gap,
    "energy_span": energy_span,
    "mean_distance": mean_distance,
    "max_distance": max_distance,
}
"""Figures of coverage: of `energy_span` more is better, of the others less."""


def coverage(
    pools: list[Structures], strategy: str, selected: int, figure: str, first_seed: int = 0
) -> NDArray[np.float64]:
    """One figure of one strategy, a value per pool; pool i is selected from by its own seed."""
    return np.array(
        [
            FIGURES[figure](pool, STRATEGIES[strategy](pool, first_seed + i)[:selected])
            for i, pool in enumerate(pools)
        ]
    )


def _rows(pools: list[Structures], selected: int) -> Iterator[str]:
    yield f"{'strategy':<20}" + "".join(f"{name:>24}" for name in FIGURES)
    for strategy in STRATEGIES:
        cells = []
        for figure in FIGURES:
            low, middle, high = np.quantile(
                coverage(pools, strategy, selected, figure), [0.1, 0.5, 0.9]
            )
            cells.append(f"{middle:>9.3f} [{low:.3f}, {high:.3f}]")
        yield f"{strategy:<20}" + "".join(f"{cell:>24}" for cell in cells)


def main() -> None:
    """Print medians and, in brackets, the 10 % and 90 % quantiles over pools."""
    options = argparse.ArgumentParser(description=main.__doc__)
    options.add_argument("--smiles", default="CCO")
    options.add_argument("--pools", type=int, default=30)
    options.add_argument("--candidates", type=int, default=200)
    options.add_argument("--selected", type=int, default=20)
    options.add_argument("--temperature_K", type=float, default=500.0)
    given = options.parse_args()
    pools = thermal_pools(given.smiles, given.pools, given.candidates, given.temperature_K, seed=0)
    print(
        f"{given.smiles}, {given.temperature_K:g} K: {given.selected} of {given.candidates}, "
        f"median [10 %, 90 %] over {given.pools} pools"
    )
    print("\n".join(_rows(pools, given.selected)))


if __name__ == "__main__":
    main()
