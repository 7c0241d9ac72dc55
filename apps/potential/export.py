r"""A potential as one graph that other programs run: atoms and pairs in, energy and forces out.

`torch.export` cannot differentiate. The energy and its gradient are therefore first written down,
operation by operation, under a tracer whose numbers of atoms and pairs are symbols; what comes out
holds no differentiation any more, and is exported with these two sizes left free. Weights, shift,
scale and prior are in it. Files of it are made in `apps.potential.package`.

The graph refuses what it cannot answer, by assertions that are operations of it: atoms of elements
that the potential was not made for, and lists that hold a pair in one direction alone. No tracer
can promise that a potential takes the same path at all sizes, so that the graph is compared with
the potential on structures of several before it is handed out; so is what is compiled from it.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.proxy_tensor import make_fx

from apps.potential.batch import GraphBatch
from apps.potential.compiled import first_line
from apps.potential.evaluate import energies_and_forces, total_energies
from apps.potential.neighbors import graph_batch
from apps.potential.protocol import Potential
from data_store.elements import SYMBOLS
from data_store.errors import InputError
from data_store.streams import stream

__all__ = ["INPUTS", "EnergyAndForces", "check_same", "example", "export_program"]

INPUTS = ("numbers", "positions", "pairs", "shifts")
"""Arguments in their order; shapes and units are those of `EnergyAndForces`."""

Arguments = tuple[Tensor, Tensor, Tensor, Tensor]
Runner = Callable[..., tuple[Tensor, Tensor]]

_AGREEMENT = {torch.float32: 1e-5, torch.float64: 1e-10}
"""Largest difference from the potential that is rounding, relative to the network's energy and to
the largest force (1 eV and 1 eV/Å where smaller)."""

_PROBES = ((1, False), (2, False), (9, False), (40, False), (60, True))
"""Atoms of the structures on which a graph is compared, and whether they are periodic."""

_EXAMPLE = 40
"""Atoms of the structure that is traced. More than 8, below which torch's compiler assumes few."""

_SPACING_A = 1.6
"""Mean distance of neighbours in these structures: some at bond length, some closer."""


class EnergyAndForces(nn.Module):
    """Total energy and forces of one structure.

    Parameters
    ----------
    potential : Potential
        Copied.
    """

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = copy.deepcopy(potential).requires_grad_(False)
        self.known = " ".join(SYMBOLS[z] for z in potential.species)

    def forward(
        self, numbers: Tensor, positions: Tensor, pairs: Tensor, shifts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Energy and forces.

        Parameters
        ----------
        numbers : Tensor of int64, shape (N,)
            Atomic numbers.
        positions : Tensor of float64, shape (N, 3)
            In Å.
        pairs : Tensor of int64, shape (2, P)
            Centre and neighbour of all pairs closer than the cutoff, in both directions. Pairs
            beyond the cutoff add nothing.
        shifts : Tensor of float64, shape (P, 3)
            Added to the neighbour's position to reach the right periodic image, in Å.

        Returns
        -------
        energy : Tensor of float64, shape ()
            In eV, with the shift of each element.
        forces : Tensor of float64, shape (N, 3)
            In eV/Å.

        Raises
        ------
        RuntimeError
            If an atom is of an element that the potential does not know, or there are not as many
            pairs from each atom as to it, as far as a sum can tell. On a GPU these end the process.
        """
        numbers = self._known(numbers)
        torch._assert_async(
            pairs[0].sum() == pairs[1].sum(),
            "the neighbour list must hold each pair in both directions (a full list)",
        )
        batch = GraphBatch(numbers, positions, torch.zeros_like(numbers), pairs, shifts, 1)
        network, forces = energies_and_forces(self.potential, batch)
        return total_energies(self.potential, batch, network)[0], forces

    def _known(self, numbers: Tensor) -> Tensor:
        """The numbers themselves; none of them can point outside a table."""
        index = self.potential.species_index
        inside = (numbers > 0) & (numbers < len(index))
        known = inside & (index[torch.where(inside, numbers, 0)] >= 0)
        torch._assert_async(
            known.all(),
            f"an atom is of none of the elements that the potential knows: {self.known}",
        )
        return torch.where(known, numbers, self.potential.species[0])


def export_program(potential: Potential) -> ExportedProgram:
    """The graph of a potential, with free numbers of atoms and pairs, on the potential's device.

    Parameters
    ----------
    potential : Potential

    Raises
    ------
    InputError
        If it cannot be written down as one sequence of tensor operations, or what was written down
        is not the potential at another size.
    """
    try:
        program = _exported(potential)
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        raise InputError(
            f"the potential {potential.architecture!r} cannot be exported: {first_line(error)}",
            "its network_energy must be one sequence of tensor operations for any numbers of atoms "
            "and pairs, with no branch on what they are (docs/models.md)",
        ) from error
    check_same(program.module(), potential)
    return program


def _exported(potential: Potential) -> ExportedProgram:
    arguments = example(potential)
    with warnings.catch_warnings():
        # Torch's own, of its compiler and of its trees of arguments.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        graph = make_fx(
            EnergyAndForces(potential), tracing_mode="symbolic", _allow_non_fake_inputs=True
        )(*arguments)
        placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
        for node, name in zip(placeholders, INPUTS, strict=True):
            node.target = node.name = name
        graph.recompile()
        atoms, pairs = Dim("atoms", min=1), Dim("pairs", min=0)
        shapes = ({0: atoms}, {0: atoms}, {1: pairs}, {0: pairs})
        return torch.export.export(graph, arguments, dynamic_shapes=shapes)


def example(potential: Potential) -> Arguments:
    """Arguments of the size that a graph is traced and compiled on."""
    return _probe(potential, _EXAMPLE, periodic=False)


def check_same(run: Runner, potential: Potential) -> None:
    """Compare a graph with its potential on structures of several sizes.

    Raises
    ------
    InputError
        If any energy or force differs by more than rounding.
    """
    defined = EnergyAndForces(potential)
    allowed = _AGREEMENT[potential.dtype]
    for arguments in _probes(potential):
        (energy, forces), (found, found_forces) = defined(*arguments), run(*arguments)
        network = energy - potential.shift_eV[arguments[0]].sum()
        of_energy = float((found - energy).abs() / network.abs().clamp(min=1.0))
        of_forces = float((found_forces - forces).abs().max() / forces.abs().max().clamp(min=1.0))
        if not max(of_energy, of_forces) <= allowed:
            raise InputError(
                f"the graph of the potential {potential.architecture!r} is not the potential: for "
                f"{len(arguments[0])} atoms energies differ by {of_energy:.1e} and forces by "
                f"{of_forces:.1e}, relative, and {allowed:.0e} would be rounding",
                "its network_energy must do the same at all numbers of atoms and pairs",
            )


def _probes(potential: Potential) -> Iterator[Arguments]:
    for atoms, periodic in _PROBES:
        yield _probe(potential, atoms, periodic=periodic)


def _probe(potential: Potential, atoms: int, *, periodic: bool) -> Arguments:
    """Atoms of all its elements about the points of a lattice."""
    random = stream(0, "exported potential", atoms)
    side = int(np.ceil(atoms ** (1 / 3)))
    lattice = np.stack(np.unravel_index(np.arange(atoms), (side,) * 3), axis=1)
    positions = _SPACING_A * lattice + 0.2 * random.normal(size=(atoms, 3))
    batch = graph_batch(
        [random.choice(potential.species, atoms)],
        [positions],
        [side * _SPACING_A * np.eye(3)],
        [np.full(3, periodic)],
        potential.cutoff_A,
    )
    arguments = (batch.numbers, batch.positions, batch.pairs, batch.shifts)
    numbers, *others = (tensor.to(potential.device) for tensor in arguments)
    return (numbers, others[0], others[1], others[2])
