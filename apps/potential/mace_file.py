"""Converting a model file of MACE: once, by an explicit act, to weights of this project.

A file of MACE is a pickle of a whole module: opening it runs code that it holds. What comes out
holds numbers alone. Before it is handed out, its energies and forces are compared with those of the
module that was in the file, on random structures of the elements that it knows, in and out of a
periodic box.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from apps.potential.batch import GraphBatch
from apps.potential.evaluate import energies_and_forces, total_energies
from apps.potential.mace import FROM_FILE, MACE, mace_library
from apps.potential.neighbors import graph_batch
from data_store.errors import InputError
from data_store.streams import stream

__all__ = ["TOLERANCE", "Converted", "convert_mace_file", "convert_mace_module"]

TOLERANCE = 1e-5
"""Largest difference allowed: of energies per atom in eV and of forces in eV/Å, or relative to the
largest of them where that is more than 1. In float64; a file in float32 holds MACE's constants
rounded, and ours are not."""

_STRUCTURES = 8
_ATOMS = 12

_KEPT = (
    "num_bessel", "num_polynomial_cutoff", "max_ell", "num_interactions", "correlation",
    "use_reduced_cg", "use_so3", "use_edge_irreps_first", "use_agnostic_product",
    "use_last_readout_only", "radial_type", "apply_cutoff", "radial_MLP", "pair_repulsion",
)  # fmt: skip
"""Of MACE's configuration, what is a number, a word, a choice or a list of numbers already."""

_ELSEWHERE = ("atomic_energies_fn.atomic_energies", "scale_shift.scale", "scale_shift.shift")
"""Buffers whose values go to the potential's own shift and scale."""


@dataclass(frozen=True)
class Converted:
    """A converted model.

    Parameters
    ----------
    potential : MACE
        In float32.
    energy_error, force_error : float
        Largest differences from the module in the file, in float64, as `TOLERANCE` counts them.
    structures : int
        On which they were found.
    """

    potential: MACE
    energy_error: float
    force_error: float
    structures: int


def convert_mace_file(path: Path, head: str | None = None) -> Converted:
    """Convert a file of MACE. Runs code from that file.

    Parameters
    ----------
    path : Path
    head : str, optional
        Which of its heads, where it has more than one.

    Raises
    ------
    InputError
        If it cannot be opened, holds something else, has other heads, or its conversion is not
        what was in it.
    """
    mace_library()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of older torch, about the way it was stored
            module = torch.load(path, map_location="cpu", weights_only=False)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "check the path") from error
    except Exception as error:
        raise InputError(
            f"{path} cannot be opened as a file of MACE: {error!r}",
            "expected what mace-torch saves as ….model; a newer one needs a newer mace-torch",
        ) from error
    return convert_mace_module(module, str(path), head)


def convert_mace_module(module: Any, source: str, head: str | None = None) -> Converted:
    """Convert a module of MACE; see `convert_mace_file`."""
    library = mace_library()
    if type(module).__name__ != "ScaleShiftMACE":
        raise InputError(
            f"{source} holds a {type(module).__name__}, expected a ScaleShiftMACE",
            "models of other kinds (dipoles, long range, compiled ones) cannot be converted",
        )
    original = _of_one_head(module.double(), source, head, library)
    config = library.scripts_utils.extract_config_mace_model(original)
    species = [int(z) for z in original.atomic_numbers]
    if species != sorted(set(species)):
        raise InputError(
            f"{source} lists its elements as {species}", "expected them in order, each once"
        )
    hyperparameters = _hyperparameters(config, library.modules)
    potential = MACE(FROM_FILE, species, float(original.r_max), **hyperparameters).double()
    assert isinstance(potential, MACE)  # `double` returns the same object
    _lay_in(potential, original, source)
    energy_error, force_error = _differences(potential, original)
    if not max(energy_error, force_error) <= TOLERANCE:
        raise InputError(
            f"the conversion of {source} differs from it by {energy_error:.1e} (energies) and "
            f"{force_error:.1e} (forces), more than {TOLERANCE:.0e}",
            "nothing was written; a setting of this MACE is not known here",
        )
    potential.float()
    return Converted(potential, energy_error, force_error, _STRUCTURES)


def _of_one_head(module: Any, source: str, head: str | None, library: Any) -> Any:
    heads = [str(name) for name in getattr(module, "heads", None) or ["Default"]]
    if head is None and len(heads) == 1:
        return module
    if head not in heads:
        raise InputError(
            f"{source} has the heads {', '.join(heads)}, asked for: {head or 'none'}",
            "name one of them by --head",
        )
    if len(heads) == 1:
        return module
    precision = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return library.scripts_utils.remove_pt_head(module, head)
    finally:
        torch.set_default_dtype(precision)


def _hyperparameters(config: Mapping[str, Any], modules: Any) -> dict[str, Any]:
    """MACE's configuration as plain JSON, by the names of its constructor."""
    gates = {id(gate): name for name, gate in modules.gate_dict.items()}
    plain: dict[str, Any] = {key: config[key] for key in _KEPT}
    plain["num_polynomial_cutoff"] = int(config["num_polynomial_cutoff"])
    plain["radial_MLP"] = [int(width) for width in config["radial_MLP"]]
    plain["avg_num_neighbors"] = float(config["avg_num_neighbors"])
    plain["hidden_irreps"] = str(config["hidden_irreps"])
    plain["MLP_irreps"] = str(config["MLP_irreps"])
    edges, transform = config["edge_irreps"], config["distance_transform"]
    plain["edge_irreps"] = None if edges is None else str(edges)
    plain["distance_transform"] = "None" if transform is None else str(transform)
    plain["gate"] = gates.get(id(config["gate"]), "None")
    for key in ("interaction_cls", "interaction_cls_first", "readout_cls"):
        plain[key] = config[key].__name__
    return plain


def _lay_in(potential: MACE, original: nn.Module, source: str) -> None:
    """Give the potential the weights of the original, its shift and its scale."""
    theirs = dict(original.named_parameters())
    ours = dict(potential.network.named_parameters())
    shapes = [{n: tuple(p.shape) for n, p in found.items()} for found in (ours, theirs)]
    if shapes[0] != shapes[1]:
        names = sorted(n for n, _ in shapes[0].items() ^ shapes[1].items())
        raise InputError(
            f"{source} has weights that do not fit its settings: {', '.join(names[:5])}",
            "models in the layouts of cuEquivariance or OpenEquivariance must be converted back "
            "by mace-torch's own tools first",
        )
    constants = dict(original.named_buffers())
    with torch.no_grad():
        for name, parameter in ours.items():
            parameter.copy_(theirs[name])
        for name, buffer in potential.network.named_buffers():
            near = name in _ELSEWHERE or (
                name in constants
                and torch.allclose(buffer.double(), constants[name].double(), atol=1e-5, rtol=1e-5)
            )
            if not near:
                raise InputError(
                    f"{source} has a constant {name!r} of its own", "it cannot be converted"
                )
    energies, scale, shift = (constants[name].double().reshape(-1) for name in _ELSEWHERE)
    potential.scale.fill_(float(scale))
    potential.shift_eV[list(potential.species)] = energies + float(shift)


def _differences(potential: MACE, original: nn.Module) -> tuple[float, float]:
    """Largest difference of energies per atom, and of forces, as `TOLERANCE` counts them."""
    batch = _random_structures(potential.species, potential.cutoff_A)
    network, forces = energies_and_forces(potential, batch)
    found = total_energies(potential, batch, network)
    expected, expected_forces = _by_mace(original, batch, potential.species)
    return (
        _difference(found / _ATOMS, expected / _ATOMS, network / _ATOMS),
        _difference(forces, expected_forces, forces),
    )


def _difference(found: Tensor, expected: Tensor, size: Tensor) -> float:
    return float((found - expected).abs().max()) / max(1.0, float(size.abs().max()))


def _random_structures(species: tuple[int, ...], cutoff_A: float) -> GraphBatch:
    """Atoms of all kinds, not nearer than 0.9 Å; every other structure in a periodic box."""
    rng = stream(0, "mace", "random structures")
    edge_A, boxes = 6.0, np.arange(_STRUCTURES) % 2 == 1
    numbers, positions = [], []
    for _ in range(_STRUCTURES):
        placed: list[Any] = []
        while len(placed) < _ATOMS:
            x = rng.uniform(0.0, edge_A, size=3)
            gaps = [np.abs(x - y) for y in placed]
            if all(np.linalg.norm(np.minimum(gap, edge_A - gap)) > 0.9 for gap in gaps):
                placed.append(x)
        numbers.append(rng.choice(species, size=_ATOMS))
        positions.append(np.array(placed))
    cells = [edge_A * np.eye(3)] * _STRUCTURES
    pbc = [np.full(3, box) for box in boxes]
    return graph_batch(numbers, positions, cells, pbc, cutoff_A)


def _by_mace(
    original: nn.Module, batch: GraphBatch, species: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Energies and forces by the module itself, from positions, its own way."""
    centre, neighbour = batch.pairs
    kinds = torch.tensor(species)
    count = batch.n_structures
    data = {
        "positions": batch.positions.clone(),
        "edge_index": torch.stack([centre, neighbour]),
        "shifts": batch.shifts,
        "unit_shifts": batch.shifts,
        "cell": torch.zeros(3 * count, 3, dtype=torch.float64),
        "node_attrs": (batch.numbers.unsqueeze(1) == kinds).double(),
        "batch": batch.structure,
        "ptr": torch.searchsorted(batch.structure, torch.arange(count + 1)),
        "head": torch.zeros(count, dtype=torch.int64),
    }
    with torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, says torch to mace
        found = original(data, compute_force=True)
    return found["energy"].detach(), found["forces"].detach()
