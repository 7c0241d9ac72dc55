"""The registry of potentials: built in, or brought by a package's entry point.

A package registers ``name = "module:make"`` in the group ``campaign.potentials``; ``make`` takes
``(size, species, cutoff_A)``, and by name any hyperparameters beyond those that a weights file of
its potential holds, and returns a `Potential` (docs/extending.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from apps.plug_ins import PlugIns
from apps.potential import mace
from apps.potential.painn import SIZES, PaiNN
from apps.potential.prior import with_prior
from apps.potential.protocol import Potential
from data_store.errors import InputError, unknown_name

__all__ = ["POTENTIALS", "make_potential", "potential_names"]

Maker = Callable[..., Potential]

POTENTIALS: dict[str, Maker] = {"painn": PaiNN, "mace": mace.MACE}
"""Built-in potentials by name; some need an extra (`_IS_INSTALLED`)."""

_IS_INSTALLED: dict[str, Callable[[], bool]] = {"mace": mace.is_installed}
"""Whether what a built-in potential needs is there, for those that need more than the project."""

_PLUG_INS = PlugIns(
    "campaign.potentials", "potential", "potential.architecture", POTENTIALS,
    "a function of size, species and cutoff_A that returns a Potential",
    lambda loaded, name: callable(loaded),
)  # fmt: skip


def potential_names() -> tuple[str, ...]:
    """Names of all potentials that can be made here: built-in ones, then plug-ins'."""
    built_in = (n for n in POTENTIALS if n not in _IS_INSTALLED or _IS_INSTALLED[n]())
    return (*built_in, *_PLUG_INS.names())


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
    hyperparameters: Mapping[str, Any] | None = None,
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
    hyperparameters : mapping, optional
        `Potential.hyperparameters` of a model that is to be made again.

    Raises
    ------
    InputError
        If there is no such architecture, size or prior (the valid ones are listed), a plug-in
        cannot be loaded or calls itself otherwise, the prior reaches beyond the cutoff, or what the
        architecture needs is not installed.
    """
    make = _maker(architecture)
    if architecture == "painn" and size not in SIZES:
        raise unknown_name("size of potential", size, list(SIZES))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make(size, species, cutoff_A, **(hyperparameters or {}))
    if network.architecture != architecture:
        raise InputError(
            f"the potential {architecture!r} calls itself {network.architecture!r}; its weights "
            "could not be read again",
            "hand the name of its entry point to Potential.__init__",
        )
    return with_prior(network, prior)
