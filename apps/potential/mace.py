"""MACE (Batatia et al. 2022, arXiv:2206.07697) as a potential of this project, by mace-torch.

The network is mace-torch's own `ScaleShiftMACE`, given vectors of pairs instead of positions, so
that differences are taken in the precision of the positions. Its energies of isolated atoms are 0,
its scale 1 and its shift 0: those of this project are used instead. Needs the extra `mace`, and
imports it when a network is made, not before.

Models that come from a file of MACE (`apps.potential.mace_file`) have hyperparameters of their own;
those made here have the ones of their size.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import import_module, metadata
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from apps.potential.batch import Batch, DenseBatch
from apps.potential.protocol import Potential
from data_store.errors import InputError, unknown_name

__all__ = ["FROM_FILE", "MACE", "SIZES", "MaceLibrary", "is_installed", "mace_library"]

FROM_FILE = "file"
"""Size of a model whose hyperparameters came with it."""

_COMMON: dict[str, Any] = {
    "num_bessel": 8,
    "num_polynomial_cutoff": 5,
    "max_ell": 3,
    "interaction_cls": "RealAgnosticResidualInteractionBlock",
    "interaction_cls_first": "RealAgnosticInteractionBlock",
    "num_interactions": 2,
    "MLP_irreps": "16x0e",
    "gate": "silu",
    "avg_num_neighbors": 20.0,
    "correlation": 3,
}

SIZES: dict[str, dict[str, Any]] = {
    "small": {**_COMMON, "hidden_irreps": "64x0e"},
    "medium": {**_COMMON, "hidden_irreps": "128x0e"},
    "large": {**_COMMON, "hidden_irreps": "128x0e+128x1o"},
}
"""Hyperparameters by MACE's own names: two layers of four-body messages, of 64 or 128 scalars, in
the largest with as many vectors. The number of neighbours is a normalisation, no limit."""

_IRREPS = ("hidden_irreps", "MLP_irreps", "edge_irreps")
_SWITCH = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


class MaceLibrary(NamedTuple):
    """What is used of mace-torch and of e3nn, on which it rests."""

    modules: Any
    scripts_utils: Any
    e3nn: Any


def is_installed() -> bool:
    """Whether mace-torch is; nothing is imported."""
    try:
        metadata.distribution("mace-torch")
    except metadata.PackageNotFoundError:
        return False
    return True


@lru_cache(maxsize=1)
def mace_library() -> MaceLibrary:
    """Import mace-torch.

    It sets a variable that lets every later `torch.load` run code, which e3nn's tables of constants
    need: the variable is put back as it was.

    Raises
    ------
    InputError
        If it is not installed, or cannot be imported.
    """
    if not is_installed():
        raise InputError(
            "the potential 'mace' needs the package mace-torch, which is not installed",
            "pip install 'mlip-campaign[mace]', wherever workers run too",
        )
    kept = os.environ.get(_SWITCH)
    try:
        # Warnings and lines on standard output are of parts that are not used here.
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            modules = import_module("mace.modules")  # first: it sets the variable
            scripts_utils = import_module("mace.tools.scripts_utils")
            e3nn = import_module("e3nn")
    except Exception as error:
        raise InputError(
            f"mace-torch cannot be imported: {error!r}",
            "install it anew, in the version that the extra `mace` asks for",
        ) from error
    finally:
        os.environ.pop(_SWITCH, None)
        if kept is not None:
            os.environ[_SWITCH] = kept
    return MaceLibrary(modules, scripts_utils, e3nn)


class MACE(Potential):
    """A MACE with fresh weights.

    Parameters
    ----------
    size : {"small", "medium", "large", "file"}
        "file": as its hyperparameters say.
    species : sequence of int
    cutoff_A : float
    **hyperparameters
        By the names of MACE's own constructor, plain JSON (blocks, gates and irreps as text); for
        size "file" alone.

    Raises
    ------
    InputError
        If mace-torch is not installed, there is no such size, or MACE cannot be built like that.
    """

    traceable = True

    def __init__(
        self, size: str, species: Sequence[int], cutoff_A: float, **hyperparameters: Any
    ) -> None:
        if (size != FROM_FILE and size not in SIZES) or (size == FROM_FILE) != bool(
            hyperparameters
        ):
            raise unknown_name("size of potential", size, list(SIZES))
        super().__init__("mace", size, species, cutoff_A)
        self.hyperparameters = hyperparameters
        network = _network(hyperparameters or SIZES[size], self.species, self.cutoff_A)
        # All its buffers are constants. Rounded ones would break symmetries in float64 after a
        # stay in float32, so that they are laid in anew whenever the precision changes.
        self._exact = {name: b.clone() for name, b in network.named_buffers()}
        self.network: nn.Module = network.to(torch.get_default_dtype())

    def network_energy(self, batch: Batch) -> Tensor:
        """See `Potential.network_energy`."""
        if isinstance(batch, DenseBatch):
            return self.scale * self._dense(batch)
        x, (centre, neighbour) = batch.positions, batch.pairs
        vectors = x[neighbour] + batch.shifts - x[centre]
        energies = self._atomic_energies(batch.numbers, centre, neighbour, vectors)
        total = energies.new_zeros(batch.n_structures)
        return self.scale * total.index_add(0, batch.structure, energies)

    def _dense(self, batch: DenseBatch) -> Tensor:
        """All pairs; those of padding are so long that nothing comes of them."""
        count, atoms = batch.numbers.shape
        numbers, x = batch.numbers.reshape(-1), batch.positions.reshape(-1, 3)
        pair = torch.arange(atoms * (atoms - 1), device=x.device)
        here = pair // max(1, atoms - 1)
        there = pair % max(1, atoms - 1)
        there = there + (there >= here)
        first = atoms * torch.arange(count, device=x.device).unsqueeze(1)
        centre, neighbour = (first + here).reshape(-1), (first + there).reshape(-1)
        absent = (numbers[centre] == 0) | (numbers[neighbour] == 0)
        vectors = (x[neighbour] - x[centre]).masked_fill(absent.unsqueeze(1), 2.0 * self.cutoff_A)
        energies = self._atomic_energies(numbers, centre, neighbour, vectors)
        return energies.masked_fill(numbers == 0, 0.0).reshape(count, atoms).sum(1)

    def _atomic_energies(
        self, numbers: Tensor, centre: Tensor, neighbour: Tensor, vectors: Tensor
    ) -> Tensor:
        """Energy of each atom before the scale; vectors (pairs, 3) from centre to neighbour."""
        kinds = torch.arange(len(self.species), device=numbers.device)
        shifts = -vectors.to(self.dtype)
        data = {
            "positions": shifts.new_zeros(len(numbers), 3),
            "edge_index": torch.stack([neighbour, centre]),  # MACE's sender and receiver
            "shifts": shifts,
            "unit_shifts": shifts,
            "cell": shifts.new_zeros(1, 3, 3),
            "node_attrs": (self.species_index[numbers].unsqueeze(1) == kinds).to(self.dtype),
            "batch": torch.zeros_like(numbers),
            "ptr": kinds.new_zeros(2),
        }
        found: Tensor = self.network(data, compute_force=False)["node_energy"]
        return found.to(self.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        for name, buffer in self.network.named_buffers():
            buffer.copy_(self._exact[name])
        return self


def _network(
    hyperparameters: Mapping[str, Any], species: Sequence[int], cutoff_A: float
) -> nn.Module:
    """MACE's own network, in float64, with its weights from torch's generator."""
    library = mace_library()
    modules, given = library.modules, dict(hyperparameters)
    try:
        for key in _IRREPS:
            if given.get(key) is not None:
                given[key] = library.e3nn.o3.Irreps(given[key])
        for key in ("interaction_cls", "interaction_cls_first"):
            given[key] = modules.interaction_classes[given[key]]
        if "readout_cls" in given:
            given["readout_cls"] = modules.readout_classes[given["readout_cls"]]
        given["gate"] = modules.gate_dict[given["gate"]]
        with _as_written(library.e3nn):
            network: nn.Module = modules.ScaleShiftMACE(
                r_max=cutoff_A, num_elements=len(species), atomic_numbers=list(species),
                atomic_energies=np.zeros(len(species)), atomic_inter_scale=1.0,
                atomic_inter_shift=0.0, **given,
            )  # fmt: skip
    except Exception as error:
        raise InputError(
            f"MACE cannot be built with {dict(hyperparameters)}: {error!r}",
            "these came with a weights file: convert it anew, or use the mace-torch that wrote it",
        ) from error
    for part in network.modules():
        if hasattr(part, "__codegen__"):
            vars(part)["__codegen__"] = []  # copied by e3nn as TorchScript otherwise
    return network


@contextlib.contextmanager
def _as_written(e3nn: Any) -> Iterator[None]:
    """Build in float64, and as plain torch: TorchScript cannot be traced."""
    precision, kept = torch.get_default_dtype(), e3nn.get_optimization_defaults()["jit_script_fx"]
    torch.set_default_dtype(torch.float64)
    e3nn.set_optimization_defaults(jit_script_fx=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit is deprecated, says torch to mace
            yield
    finally:
        torch.set_default_dtype(precision)
        e3nn.set_optimization_defaults(jit_script_fx=kept)
