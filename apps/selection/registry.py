"""The registry of strategies: by what order candidates are labelled.

A strategy is a pure function from candidates and a seed to an order of all of them. Whoever labels
k takes the first k, so that a campaign that grows its label budget keeps the labels it has. Some
ask models that were pre-trained on the teacher. None asks a model that was trained on labels: what
is selected is the same for all arms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from apps.selection.committee import committee
from apps.selection.d_optimal import d_optimal
from apps.selection.energy_stratified import energy_stratified
from apps.selection.farthest_point import farthest_point
from apps.selection.random import random_selection
from data_store.errors import InputError, unknown_name
from data_store.structures import Structures

if TYPE_CHECKING:
    from apps.potential.protocol import Potential

__all__ = [
    "MODEL_STRATEGIES",
    "STRATEGIES",
    "ModelStrategy",
    "Strategy",
    "ordered",
    "strategy_names",
]

Strategy = Callable[[Structures, int], NDArray[np.int64]]

STRATEGIES: dict[str, Strategy] = {
    "random": random_selection,
    "energy_stratified": energy_stratified,
    "farthest_point": farthest_point,
}
"""Strategies that look at the candidates alone, by name."""


@dataclass(frozen=True)
class ModelStrategy:
    """A strategy that asks pre-trained models.

    Parameters
    ----------
    order : callable
        From candidates, a seed and the models to an order of all candidates.
    models : int
        How many it asks, at least.
    """

    order: Callable[[Structures, int, Sequence[Potential]], NDArray[np.int64]]
    models: int


MODEL_STRATEGIES: dict[str, ModelStrategy] = {
    "d_optimal": ModelStrategy(d_optimal, models=1),
    "committee": ModelStrategy(committee, models=2),
}
"""Strategies that ask pre-trained models, by name."""


def strategy_names() -> list[str]:
    """Names of all strategies."""
    return [*STRATEGIES, *MODEL_STRATEGIES]


def ordered(
    name: str, candidates: Structures, seed: int, models: Sequence[Potential] = ()
) -> NDArray[np.int64]:
    """Order of the candidates by a strategy, shape (S,).

    Raises
    ------
    InputError
        If there is no strategy of that name (the valid ones are listed), it asks more models, or it
        cannot order these candidates.
    """
    if name in STRATEGIES:
        return STRATEGIES[name](candidates, seed)
    if name not in MODEL_STRATEGIES:
        raise unknown_name("strategy of selection", name, strategy_names())
    strategy = MODEL_STRATEGIES[name]
    if len(models) < strategy.models:
        raise InputError(
            f'select = "{name}" asks {strategy.models} pre-trained models, and {len(models)} came',
            "pre-train with more seeds (pretraining.seeds, finetuning.seeds)",
        )
    return strategy.order(candidates, seed, models)
