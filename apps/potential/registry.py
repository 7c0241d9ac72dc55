"""The registry of potentials: built in, or brought by a package's entry point.

A package registers ``name = "module:make"`` in the group ``campaign.potentials``; ``make`` takes
``(size, species, cutoff_A)`` and returns a `Potential`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import metadata

import torch

from apps.potential.painn import SIZES, PaiNN
from apps.potential.prior import with_prior
from apps.potential.protocol import Potential
from data_store.errors import unknown_name

__all__ = ["ENTRY_POINT_GROUP", "make_potential", "potentials"]

ENTRY_POINT_GROUP = "campaign.potentials"

Maker = Callable[[str, Sequence[int], float], Potential]


def potentials() -> dict[str, Callable[[], Maker]]:
    """Loader of each registered potential, by name; built-in names cannot be taken over."""
    found: dict[str, Callable[[], Maker]] = {
        entry.name: entry.load for entry in metadata.entry_points(group=ENTRY_POINT_GROUP)
    }
    return {**found, "painn": lambda: PaiNN}


def make_potential(
    architecture: str,
    size: str,
    species: Sequence[int],
    cutoff_A: float,
    seed: int,
    prior: str = "none",
) -> Potential:
    """Potential with fresh weights.

    Parameters
    ----------
    architecture : str
        Name in the registry.
    size : str
    species : sequence of int
        Atomic numbers it shall know.
    cutoff_A : float
    seed : int
        Decides the weights, together with nothing else; the global generator is left as it was.
    prior : str
        Name of what is added to the network (`apps.potential.prior`), or "none".

    Raises
    ------
    InputError
        If there is no such architecture, size or prior (the valid ones are listed), or the prior
        reaches beyond the cutoff.
    """
    known = potentials()
    if architecture not in known:
        raise unknown_name("potential", architecture, list(known))
    if architecture == "painn" and size not in SIZES:
        raise unknown_name("size of potential", size, list(SIZES))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = known[architecture]()(size, species, cutoff_A)
    return with_prior(network, prior)
