"""The registry of potentials: built in, or brought by a package's entry point.

A package registers ``name = "module:make"`` in the group ``campaign.potentials``; ``make`` takes
``(size, species, cutoff_A)`` and returns a `Potential` (docs/extending.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from apps.plug_ins import PlugIns
from apps.potential.painn import SIZES, PaiNN
from apps.potential.prior import with_prior
from apps.potential.protocol import Potential
from data_store.errors import InputError, unknown_name

__all__ = ["POTENTIALS", "make_potential", "potential_names"]

Maker = Callable[[str, Sequence[int], float], Potential]

POTENTIALS: dict[str, Maker] = {"painn": PaiNN}
"""Built-in potentials by name."""

_PLUG_INS = PlugIns(
    "campaign.potentials", "potential", "potential.architecture", POTENTIALS,
    "a function of size, species and cutoff_A that returns a Potential",
    lambda loaded, name: callable(loaded),
)  # fmt: skip


def potential_names() -> tuple[str, ...]:
    """Names of all potentials: built-in ones, then plug-ins'."""
    return (*POTENTIALS, *_PLUG_INS.names())


def _maker(architecture: str) -> Maker:
    if architecture in POTENTIALS:
        return POTENTIALS[architecture]
    maker: Maker = _PLUG_INS.load(architecture)
    return maker


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
        If there is no such architecture, size or prior (the valid ones are listed), a plug-in
        cannot be loaded or calls itself otherwise, or the prior reaches beyond the cutoff.
    """
    make = _maker(architecture)
    if architecture == "painn" and size not in SIZES:
        raise unknown_name("size of potential", size, list(SIZES))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make(size, species, cutoff_A)
    if network.architecture != architecture:
        raise InputError(
            f"the potential {architecture!r} calls itself {network.architecture!r}; its weights "
            "could not be read again",
            "hand the name of its entry point to Potential.__init__",
        )
    return with_prior(network, prior)
