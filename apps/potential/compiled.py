r"""Long computations on one architecture: traced once, compiled, fed in chunks of a fixed shape.

The potential stays the one definition of its energy. A function of it (energies and forces, or a
training step's gradient) is run once under a tracer that writes down every tensor operation, those
of differentiation included, as one graph of its weights, buffers and arguments; Inductor turns that
graph into a few fused loops and matrix products. Weights are arguments, so that one graph serves
all models of an architecture, and Inductor keeps it on disk for the other processes of a machine.

The graph holds for one shape. Batches are therefore cut into chunks of equal rows, the last one
filled up; a chunk is sized to stay in a core's cache, and to fill a GPU. Who is in a batch changes
neither the graph nor the rounding of the others' results.

On a GPU the compiled kernels of a chunk are recorded as one CUDA graph, so that a small chunk does
not wait for their launches.

Compiling takes half a minute to a minute, so that short work is done as defined (`repays`); so is
work on a machine without a compiler, and of potentials that do not say that they can be traced
(`Potential.traceable`). What was compiled is compared with the original on its first chunk before
it is used. Which of both was done, and why, is said by `Evaluation` and recorded by the callers.
"""

from __future__ import annotations

import copy
import math
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from apps.potential.protocol import Potential
from data_store.fingerprints import canonical_json

__all__ = [
    "Case",
    "Evaluation",
    "Stateless",
    "compare",
    "compiled",
    "first_line",
    "flat_weights",
    "repays",
    "rows_of_chunk",
]

_CHUNK_ATOMS = {"cpu": 168, "cuda": 43_008}
"""Most atoms of a chunk, unless one structure has more: on a core 8 structures of 21, where
larger ones gained nothing; on a GPU 2,048 of them, where 4,096 gained 3 % of speed and waste more
of a batch that has shrunk (`benchmarks.gpu`)."""

_REPAYING_ATOM_EVALUATIONS = {"cpu": 1_000_000, "cuda": 20_000_000}
"""Energies and forces of atoms from which on compiling is repaid: about half a minute's work. The
like of it mostly follows, and finds the graph compiled."""

_AGREEMENT = 1e-4
"""Largest difference from the original, relative to its largest entry (or to 1 where smaller)."""

Compiled = Callable[..., tuple[Tensor, ...]]


@dataclass(frozen=True)
class Evaluation:
    """How a potential is evaluated.

    Parameters
    ----------
    compiled : bool
    why_not : str
        Empty where it is.
    native : bool
        Whether sums over pairs are made by code of our own (`apps.potential.native`).
    """

    compiled: bool
    why_not: str = ""
    native: bool = False

    def __str__(self) -> str:
        if not self.compiled:
            return f"as defined ({self.why_not})"
        return "compiled, pairs by C++" if self.native else "compiled"


@dataclass(frozen=True)
class Case:
    """What one graph belongs to; equal cases share it.

    Parameters
    ----------
    kind : str
        Which function of the potential.
    potential : Potential
        Any of the architecture: its weights do not matter.
    rows, atoms : int
        Shape of a chunk.
    details : tuple
        What else is fixed in the graph.
    like : tuple of Tensor
        Arguments of the graph's shapes and types to trace it with: their values do not matter.
    """

    kind: str
    potential: Potential = field(compare=False)
    rows: int
    atoms: int
    details: tuple[Any, ...] = ()
    like: tuple[Tensor, ...] = field(default=(), compare=False)
    identity: tuple[Any, ...] = field(init=False)

    def __post_init__(self) -> None:
        p = self.potential
        more = canonical_json(p.hyperparameters)
        settings = (p.architecture, p.size, p.species, p.cutoff_A, more, p.prior)
        machine = (p.dtype, p.device, torch.get_num_threads())
        object.__setattr__(self, "identity", (type(p), *settings, *machine))


class Stateless:
    """A module's forward as a function of its weights in one vector, its buffers and arguments.

    Parameters
    ----------
    module : nn.Module
        Copied; only its structure is used.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.shapes = {name: p.shape for name, p in self.module.named_parameters()}
        self.buffers = [name for name, _ in self.module.named_buffers()]

    def __call__(self, weights: Tensor, buffers: Sequence[Tensor], *arguments: Any) -> Any:
        """What the module gives with this state."""
        pieces = weights.split([shape.numel() for shape in self.shapes.values()])
        state = {
            name: piece.view(shape)
            for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)
        }
        state |= dict(zip(self.buffers, buffers, strict=True))
        return functional_call(self.module, state, arguments)


def flat_weights(potential: Potential) -> Tensor:
    """Its parameters end to end, as `Stateless` takes them."""
    return torch.cat([p.detach().reshape(-1) for p in potential.parameters()])


def rows_of_chunk(count: int, atoms: int, device: torch.device, *, times: int = 1) -> int:
    """Structures of a chunk, such that `count` of them fill as few and as even chunks as may be.

    `times` as many where as much less is kept of each.
    """
    most = max(1, times * _CHUNK_ATOMS[device.type] // atoms)
    return math.ceil(count / math.ceil(count / most))


def repays(potential: Potential, device: torch.device, atom_evaluations: float) -> Evaluation:
    """Whether to compile work of so many evaluations of an atom's energy and force."""
    if device.type not in _REPAYING_ATOM_EVALUATIONS:
        return Evaluation(False, f"on a {device.type} device")
    if not potential.traceable:
        return Evaluation(False, f"{potential.architecture} is not traceable")
    if atom_evaluations < _REPAYING_ATOM_EVALUATIONS[device.type]:
        return Evaluation(False, "short work")
    return Evaluation(True)


def compiled(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Compiled:
    """Trace a function on arguments and compile what it did.

    Parameters
    ----------
    function : callable
        Of tensors and sequences of tensors; gives tensors. It may differentiate.
    arguments : tuple
        Of the shapes and types that it will be called with.

    Raises
    ------
    RuntimeError
        If it cannot be traced, there is no C++ compiler, or compilation failed.
    """
    with warnings.catch_warnings():
        # Torch's own: importing parts of its compiler warns of torch.jit.
        warnings.simplefilter("ignore", DeprecationWarning)
        return _compiled(function, arguments)


def _compiled(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Compiled:
    with torch.enable_grad():
        graph = _without_detours(make_fx(function)(*arguments))
    on_gpu = any(tensor.is_cuda for tensor in _leaves(arguments))
    options: dict[str, str | int | bool | Callable[..., Any]] = {
        # A GPU's kernels are compiled one by one, each for seconds; a core's share one file.
        "compile_threads": len(os.sched_getaffinity(0)) if on_gpu else 1,
        "cpp.threads": torch.get_num_threads(),
    }
    found = torch.compile(graph, fullgraph=True, options=options)

    def run(*given: Any) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return tuple(found(*given))

    run(*arguments)
    return _recorded(run, arguments) if on_gpu else run


def _recorded(run: Compiled, arguments: tuple[Any, ...]) -> Compiled:
    """The same, its kernels launched as one CUDA graph on tensors of its own."""
    held = tuple([t.clone() for t in a] if isinstance(a, list) else a.clone() for a in arguments)
    own = _leaves(held)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # what is set up at first use must not be recorded
        run(*held)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = run(*held)

    def replay(*given: Any) -> tuple[Tensor, ...]:
        for mine, theirs in zip(own, _leaves(given), strict=True):
            mine.copy_(theirs)
        graph.replay()
        return tuple(result.clone() for result in results)

    return replay


def _leaves(arguments: Sequence[Any]) -> list[Tensor]:
    """Tensors of arguments that are tensors or lists of them."""
    return [t for a in arguments for t in (a if isinstance(a, list) else [a])]


def _without_detours(graph: GraphModule) -> GraphModule:
    """The graph without `detach`, which has no meaning in it and stands in the way of fusion."""
    for node in list(graph.graph.nodes):
        if node.target is torch.ops.aten.detach.default:
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def first_line(error: Exception) -> str:
    """What an error of the compiler says first."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def compare(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """Refuse results of a graph that are not those of the original.

    Raises
    ------
    RuntimeError
        If any differs by more than rounding.
    """
    for ours, theirs in zip(found, expected, strict=True):
        difference = float((ours - theirs).abs().max())
        allowed = _AGREEMENT * max(1.0, float(theirs.abs().max()))
        if not difference <= allowed:
            raise RuntimeError(
                f"the compiled graph differs by {difference:.2e}, more than {allowed:.2e}"
            )
