"""The registry of strategies: by what order candidates are labelled.

A strategy is a pure function from candidates and a seed to an order of all of them. Whoever labels
k takes the first k, so that a campaign that grows its label budget keeps the labels it has. Nothing
here asks a trained model: what is selected is the same for all arms.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from apps.selection.energy_stratified import energy_stratified
from apps.selection.farthest_point import farthest_point
from apps.selection.random import random_selection
from data_store.errors import unknown_name
from data_store.structures import Structures

__all__ = ["STRATEGIES", "Strategy", "find_strategy"]

Strategy = Callable[[Structures, int], NDArray[np.int64]]

STRATEGIES: dict[str, Strategy] = {
    "random": random_selection,
    "energy_stratified": energy_stratified,
    "farthest_point": farthest_point,
}
"""Strategies of selection by name."""


def find_strategy(name: str) -> Strategy:
    """Strategy by its name.

    Raises
    ------
    InputError
        If there is none of that name; the valid ones are listed.
    """
    if name not in STRATEGIES:
        raise unknown_name("strategy of selection", name, list(STRATEGIES))
    return STRATEGIES[name]
