"""A potential on top of a prior: what is known beforehand is added, the network learns the rest.

The sum is a `Potential` like any other, so that training, dynamics, files and the ASE calculator
see the prior without knowing of it. It has no parameters and no scale: the scale is the network's
alone, and at scale 0 the prior is what is left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from apps.potential.batch import Batch
from apps.potential.protocol import Potential
from apps.potential.zbl import ZBL
from data_store.errors import InputError, unknown_name

__all__ = ["PRIORS", "WithPrior", "with_prior"]

PRIORS: dict[str, Callable[[], Any]] = {"zbl": ZBL}
"""Energy terms by name: modules of a batch and a precision, with a reach."""


class WithPrior(Potential):
    """Scaled network plus prior.

    Parameters
    ----------
    network : Potential
        With fresh weights; its own scale stays 1 and its own shift 0.
    prior : str
        Name in `PRIORS`.

    Raises
    ------
    InputError
        If the prior reaches further than the network's cutoff, to which neighbours are listed.
    """

    def __init__(self, network: Potential, prior: str) -> None:
        super().__init__(network.architecture, network.size, network.species, network.cutoff_A)
        self.prior, self.network, self.term = prior, network, PRIORS[prior]()
        self.traceable, self.tables = network.traceable, network.tables
        self.hyperparameters = network.hyperparameters
        reach = self.term.reach_A(self.species)
        if reach > self.cutoff_A:
            raise InputError(
                f"the prior {prior!r} reaches {reach:.2f} Å between atoms of {list(self.species)}, "
                f"the potential {self.cutoff_A:g} Å",
                "raise potential.cutoff_A",
            )

    def network_energy(self, batch: Batch) -> Tensor:
        """See `Potential.network_energy`; the prior included."""
        prior: Tensor = self.term(batch, self.dtype)
        return self.scale * self.network.network_energy(batch) + prior


def with_prior(network: Potential, prior: str) -> Potential:
    """Potential with the prior of that name; "none": the network as it is.

    Raises
    ------
    InputError
        If there is no such prior; the valid ones are listed.
    """
    if prior == "none":
        return network
    if prior not in PRIORS:
        raise unknown_name("prior", prior, ["none", *PRIORS])
    return WithPrior(network, prior)
